"""What uvicorn loads."""

from django.core.asgi import get_asgi_application

from tests.reliability.served.notes import note, watch

asgi = get_asgi_application()
watch()
note("ready")
