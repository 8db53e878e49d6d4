"""What uvicorn loads."""

from django.core.asgi import get_asgi_application

from cloudtask.asgi import guard
from tests.reliability.served.notes import note, watch

# As docs/deployment.md has it.
asgi = guard(get_asgi_application())
watch()
note("ready")
