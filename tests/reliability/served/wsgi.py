"""What gunicorn loads."""

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

wsgi = get_wsgi_application()
# As preloading servers do: what can be imported before the fork, is.
get_resolver().url_patterns  # noqa: B018 - imports the URLconf
