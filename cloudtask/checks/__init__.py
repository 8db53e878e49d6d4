"""System checks: what would go wrong with the first task, told beforehand."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.apps import apps
from django.conf import settings as django_settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import constant_time_compare

from cloudtask.auth import make_authenticator
from cloudtask.checks.installation import strangers
from cloudtask.checks.reachability import check_route
from cloudtask.conf import (
    GOOGLE_TRANSPORT,
    Settings,
    environment,
    get_backend_settings,
    get_settings,
)
from cloudtask.dispatch.kinds import find_backends
from cloudtask.dispatch.workers import GREEN_THREADS_STOP, green_threads
from cloudtask.enqueue import registry
from cloudtask.exceptions import ConfigurationError, InvalidTask

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Bytes of the shortest secret that is not guessed.
MIN_SECRET_BYTES = 24
_HOW_TO_MAKE_ONE = (
    "Make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
)


@register(Tags.security)
def check_cloudtask(**kwargs: Any) -> list[CheckMessage]:
    """All checks of this app. None of them asks the network."""
    try:
        settings = get_settings()
        found = [] if _is_unused(settings) else list(_check_settings(settings))
        return [
            *found,
            *_check_tasks(),
            *_check_installation(),
            *_check_threads(),
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
            *_check_queues(settings, alias, queues),
            *_check_bands(settings),
            *_check_borders(settings),
            *([] if is_installed else _check_app()),
        ]
    except ConfigurationError as error:
        return [Error(str(error), id="cloudtask.E001")]


@register(Tags.security, deploy=True)
def check_deployment(**kwargs: Any) -> list[CheckMessage]:
    """What is fine on a desk, and not in production."""
    found: list[CheckMessage] = []
    try:
        for settings in all_settings():
            found += _check_on_commit(settings)
            found += _check_no_emulator(settings)
            found += _check_signer(settings)
    except ConfigurationError:
        pass  # Told by check_cloudtask, or for the backend.
    return found


def all_settings() -> Iterator[Settings]:
    """CLOUDTASK's, and those of the backends that have their own."""
    yield get_settings()
    for backend in find_backends():
        if backend.settings.backend is not None:
            yield backend.settings


def _check_settings(settings: Settings) -> Iterator[CheckMessage]:
    make_authenticator(settings)
    yield from _check_endpoint(settings)
    yield from _check_secrets(settings)
    yield from _check_sign_keys(settings)
    yield from _check_places(settings)
    yield from _check_url(settings)
    yield from _check_emulator(settings)
    yield from check_route(settings)


def _check_endpoint(settings: Settings) -> Iterator[CheckMessage]:
    if settings.sign or settings.secrets() or settings.sae or environment.is_google():
        return
    if settings.has_own_auth:
        return
    yield Error(
        f"{settings.path_of('SIGN')} is off, and neither {settings.path_of('SECRET')} "
        f"nor {settings.path_of('SAE')} is set: the dispatch view refuses every task.",
        hint="Turn SIGN on, or set SAE to the service account that signs dispatches. "
        "On Google Cloud it is found at run time; silence this check where only the "
        "build runs elsewhere.",
        id="cloudtask.E002",
    )


def _check_secrets(settings: Settings) -> Iterator[CheckMessage]:
    # On a desk a weak secret is no reason to refuse to start.
    level = checks.Warning if django_settings.DEBUG else Error
    for secret in settings.secrets():
        if len(secret) < MIN_SECRET_BYTES or _is_secret_key(secret):
            yield level(
                f"{settings.path_of('SECRET')}, or a fallback, is shorter than "
                f"{MIN_SECRET_BYTES} bytes, or is SECRET_KEY.",
                hint=_HOW_TO_MAKE_ONE,
                id="cloudtask.E003",
            )
            return


def _check_sign_keys(settings: Settings) -> Iterator[CheckMessage]:
    level = checks.Warning if django_settings.DEBUG else Error
    # SECRET_KEY may be among them: none is ever sent.
    if any(len(key) < MIN_SECRET_BYTES for key in settings.sign_keys):
        yield level(
            f"{settings.path_of('SIGN_KEYS')} has a key that is shorter than "
            f"{MIN_SECRET_BYTES} bytes.",
            hint=_HOW_TO_MAKE_ONE,
            id="cloudtask.E003",
        )


def _is_secret_key(secret: str) -> bool:
    try:
        return constant_time_compare(secret, django_settings.SECRET_KEY)
    except ImproperlyConfigured:
        return False  # It is empty, as where an image is built.


def _check_places(settings: Settings) -> Iterator[CheckMessage]:
    if settings.transport != GOOGLE_TRANSPORT or environment.is_google():
        return
    for key, value, example in (
        ("PROJECT", settings.project, "the project's id"),
        ("LOCATION", settings.location, "the queues' region"),
        ("URL", settings.url, "the URL of the dispatch view"),
    ):
        if value is None:
            yield checks.Warning(
                f"{settings.path_of(key)} is not set.",
                hint=f"Set it to {example}. On Google Cloud it is found at run time.",
                id="cloudtask.W004",
            )
    if settings.sae and not settings.audience and not settings.url:
        yield Error(
            f"{settings.path_of('SAE')} is set, and neither AUDIENCE nor URL: no "
            "token can be verified.",
            hint="Set AUDIENCE to what tokens are made for.",
            id="cloudtask.E005",
        )


def _check_on_commit(settings: Settings) -> Iterator[CheckMessage]:
    if not settings.on_commit:
        yield checks.Warning(
            f"{settings.path_of('ON_COMMIT')} is off: tasks may run before the data "
            "they need is committed, and although it was rolled back.",
            hint="Leave it on, and pass on_commit=False where it is meant.",
            id="cloudtask.W010",
        )


def _check_signer(settings: Settings) -> Iterator[CheckMessage]:
    if not settings.secrets() or settings.sae or environment.is_google():
        return
    if not (settings.auth == "all" and settings.sign):
        yield checks.Warning(
            f"{settings.path_of('SECRET')} alone lets a dispatch in, and everybody can "
            "read it who may view the queue's tasks.",
            hint="Leave it out where SIGN is on, or set AUTH to 'all', which asks for "
            "both. SIGN and SAE prove more than a secret.",
            id="cloudtask.W012",
        )


def _check_url(settings: Settings) -> Iterator[CheckMessage]:
    parts = urlsplit(settings.url or "")
    if parts.scheme != "http" or django_settings.DEBUG:
        return
    # With an emulator, credentials need not leave the machine.
    if settings.emulator() is None or not _is_local(parts.hostname or ""):
        yield Error(
            f"{settings.path_of('URL')} is no https:// URL: credentials would travel "
            "in clear.",
            id="cloudtask.E006",
        )


def _check_emulator(settings: Settings) -> Iterator[CheckMessage]:
    emulator = settings.emulator()
    if emulator is not None and not _is_local(urlsplit(f"//{emulator}").hostname or ""):
        yield checks.Warning(
            f"The emulator at {emulator} may be on a public network: tasks travel in "
            "clear, and so do the keys that dispatches are verified with.",
            hint="Run the emulator on this machine or in its private network.",
            id="cloudtask.W020",
        )


def _check_no_emulator(settings: Settings) -> Iterator[CheckMessage]:
    if settings.emulator_host is not None and not django_settings.DEBUG:
        yield Error(
            f"{settings.path_of('EMULATOR_HOST')} is set while DEBUG is off: no task "
            "reaches Google, and the one who runs that emulator may dispatch.",
            hint="Leave it out in production. Where it is meant, as in a test of an "
            "image, silence this check.",
            id="cloudtask.E019",
        )


def _is_local(host: str) -> bool:
    """
    Whether a host is this machine, or is in a private network.

    No name is looked up: one without a dot is taken for a container's.
    """
    try:
        return not ip_address(host).is_global
    except ValueError:
        name = host.lower().rstrip(".")
        return "." not in name or name.endswith((".localhost", ".local", ".internal"))


def _check_queues(
    settings: Settings, alias: str, queues: Iterable[str]
) -> Iterator[CheckMessage]:
    names = sorted(queues)
    for name in names:
        try:
            settings.queue_for(name)
        except InvalidTask as error:
            yield Error(f"TASKS[{alias!r}]['QUEUES']: {error}", id="cloudtask.E013")
    unused = sorted(set(settings.queue_aliases) - set(names))
    if names and unused and settings.backend is not None:
        yield checks.Warning(
            f"{settings.path_of('QUEUE_ALIASES')} has aliases that "
            f"TASKS[{alias!r}]['QUEUES'] does not list: {', '.join(unused)}.",
            hint="Tasks that name them are refused. Add them to QUEUES.",
            id="cloudtask.W014",
        )


def _check_bands(settings: Settings) -> Iterator[CheckMessage]:
    beyond = [band for band in settings.priority_queues if not -100 <= band <= 100]
    if beyond:
        yield Error(
            f"{settings.path_of('PRIORITY_QUEUES')} has priorities that no Django task "
            f"can have: {', '.join(map(str, sorted(beyond)))}.",
            hint="They go from -100 to 100.",
            id="cloudtask.E015",
        )


def _check_borders(settings: Settings) -> Iterator[CheckMessage]:
    known = getattr(django_settings, "TASKS", {})
    unknown = [name for name in settings.accepts_tasks_of if name not in known]
    if unknown:
        yield checks.Warning(
            f"{settings.path_of('ACCEPTS_TASKS_OF')} names what TASKS does not have: "
            f"{', '.join(map(repr, unknown))}.",
            hint="List the aliases of backends, as in ['default'].",
            id="cloudtask.W027",
        )


def _check_app() -> Iterator[CheckMessage]:
    yield checks.Warning(
        "'cloudtask' is not in INSTALLED_APPS: a process that has not loaded the "
        "module of a task cannot run it.",
        hint="Add it, so that the tasks.py of every app is loaded at the start.",
        id="cloudtask.W016",
    )


def _check_tasks() -> Iterator[CheckMessage]:
    for conflict in registry.list_conflicts():
        yield Error(str(conflict), id="cloudtask.E011")


def _check_installation() -> Iterator[CheckMessage]:
    for name in strangers():
        yield checks.Warning(
            f"The distribution {name!r} has installed modules in the package "
            "cloudtask, too: each has overwritten files of the other.",
            hint=f"Uninstall {name}, and install dj-cloudtask again.",
            id="cloudtask.W023",
        )


def _check_threads() -> Iterator[CheckMessage]:
    kind = green_threads()
    if kind not in (None, "gevent"):
        yield checks.Warning(
            GREEN_THREADS_STOP % kind,
            hint="Use workers with threads or gevent, or an ASGI server.",
            id="cloudtask.W030",
        )
