"""
System checks: what would go wrong with the first task, told beforehand.

Here they are registered, and put together; what each looks at is a module. A
check asks neither the network nor a database. Checks of an optional app are in
the app.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Tags, register

from cloudtask.auth import make_authenticator
from cloudtask.checks.backends import (
    check_app,
    check_bands,
    check_borders,
    check_queues,
)
from cloudtask.checks.credentials import (
    check_endpoint,
    check_secrets,
    check_sign_keys,
    check_signer,
)
from cloudtask.checks.installation import check_installation
from cloudtask.checks.places import (
    check_emulator,
    check_no_emulator,
    check_on_commit,
    check_places,
    check_url,
)
from cloudtask.checks.process import (
    check_schedules,
    check_tasks,
    check_threads,
)
from cloudtask.checks.reachability import check_route
from cloudtask.conf import Settings, get_backend_settings, get_settings
from cloudtask.dispatch.kinds import find_all_settings, find_backends
from cloudtask.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@register(Tags.security)
def check_cloudtask(**kwargs: Any) -> list[CheckMessage]:
    """All checks of this app. None of them asks the network."""
    try:
        settings = get_settings()
        found = [] if _is_unused(settings) else list(_check_settings(settings))
        return [
            *found,
            *check_tasks(),
            *check_installation(),
            *check_schedules(),
            *check_threads(),
        ]
    except ConfigurationError as error:
        return [Error(str(error), id="cloudtask.E001")]


def _is_unused(settings: Settings) -> bool:
    """Whether nothing is set but in the OPTIONS of task backends."""
    backends = list(find_backends())
    has_options = bool(backends) and all(each.options for each in backends)
    return settings == Settings() and has_options


def check_backend(
    alias: str, options: object, queues: Iterable[str]
) -> list[CheckMessage]:
    """
    Check a backend of Django's tasks framework.

    Args:
        alias: Its key in TASKS.
        options: Its OPTIONS.
        queues: Its QUEUES; empty allows any.
    """
    is_installed = apps.is_installed("cloudtask")
    try:
        settings = get_backend_settings(alias, options)
        is_checked = settings.backend is None and is_installed
        return [
            *([] if is_checked else _check_settings(settings)),
            *check_queues(settings, alias, queues),
            *check_bands(settings),
            *check_borders(settings),
            *([] if is_installed else check_app()),
        ]
    except ConfigurationError as error:
        return [Error(str(error), id="cloudtask.E001")]


@register(Tags.security, deploy=True)
def check_deployment(**kwargs: Any) -> list[CheckMessage]:
    """What is fine on a desk, and not in production."""
    found: list[CheckMessage] = []
    try:
        for settings in find_all_settings():
            found += check_on_commit(settings)
            found += check_no_emulator(settings)
            found += check_signer(settings)
    except ConfigurationError:
        pass  # Told by check_cloudtask, or for the backend.
    return found


def _check_settings(settings: Settings) -> Iterator[CheckMessage]:
    make_authenticator(settings)
    yield from check_endpoint(settings)
    yield from check_secrets(settings)
    yield from check_sign_keys(settings)
    yield from check_places(settings)
    yield from check_url(settings)
    yield from check_emulator(settings)
    yield from check_route(settings)
