"""What gunicorn loads."""

import os
import resource

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

from tests.reliability.served.notes import watch

wsgi = get_wsgi_application()
# As preloading servers do: what can be imported before the fork, is.
get_resolver().url_patterns  # noqa: B018 - imports the URLconf


def _begin() -> None:
    watch()
    if settings.MEMORY:
        resource.setrlimit(resource.RLIMIT_AS, (settings.MEMORY, settings.MEMORY))


os.register_at_fork(after_in_child=_begin)
