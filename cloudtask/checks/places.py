"""Whether it is known where tasks go and come back, and is reached safely."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.core import checks
from django.core.checks import Error

from cloudtask.checks.hosts import is_local
from cloudtask.conf import GOOGLE_TRANSPORT, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.core.checks import CheckMessage

    from cloudtask.conf import Settings


def check_places(settings: Settings) -> Iterator[CheckMessage]:
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


def check_url(settings: Settings) -> Iterator[CheckMessage]:
    parts = urlsplit(settings.url or "")
    if parts.scheme != "http" or django_settings.DEBUG:
        return
    # With an emulator, credentials need not leave the machine.
    if settings.emulator() is None or not is_local(parts.hostname or ""):
        yield Error(
            f"{settings.path_of('URL')} is not an https:// URL: credentials would "
            "travel in clear.",
            id="cloudtask.E006",
        )


def check_emulator(settings: Settings) -> Iterator[CheckMessage]:
    emulator = settings.emulator()
    if emulator is not None and not is_local(urlsplit(f"//{emulator}").hostname or ""):
        yield checks.Warning(
            f"The emulator at {emulator} may be on a public network: tasks travel in "
            "clear, and so do the keys that dispatches are verified with.",
            hint="Run the emulator on this machine or in its private network.",
            id="cloudtask.W020",
        )


def check_no_emulator(settings: Settings) -> Iterator[CheckMessage]:
    if settings.emulator_host is not None and not django_settings.DEBUG:
        yield Error(
            f"{settings.path_of('EMULATOR_HOST')} is set while DEBUG is off: no task "
            "reaches Google, and the one who runs that emulator may dispatch.",
            hint="Leave it out in production. Where it is meant, as in a test of an "
            "image, silence this check.",
            id="cloudtask.E019",
        )


def check_on_commit(settings: Settings) -> Iterator[CheckMessage]:
    if not settings.on_commit:
        yield checks.Warning(
            f"{settings.path_of('ON_COMMIT')} is off: tasks may run before the data "
            "they need is committed, and although it was rolled back.",
            hint="Leave it on, and pass on_commit=False where it is meant.",
            id="cloudtask.W010",
        )
