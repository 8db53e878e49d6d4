"""What the servers load."""

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

wsgi = get_wsgi_application()
asgi = get_asgi_application()
# As preloading servers do: what can be imported before the fork, is.
get_resolver().url_patterns  # noqa: B018 - imports the URLconf
