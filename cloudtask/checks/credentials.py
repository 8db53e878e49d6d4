"""Whether a dispatch can prove where it comes from, and how well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings as django_settings
from django.core import checks
from django.core.checks import Error
from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import constant_time_compare

from cloudtask.conf import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.core.checks import CheckMessage

    from cloudtask.conf import Settings

#: Bytes of the shortest secret that is not guessed.
MIN_SECRET_BYTES = 24
_HOW_TO_MAKE_ONE = (
    "Make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
)


def check_endpoint(settings: Settings) -> Iterator[CheckMessage]:
    """Check that there is any way to prove where a dispatch comes from."""
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


def check_secrets(settings: Settings) -> Iterator[CheckMessage]:
    """Check that no secret is short, or is SECRET_KEY."""
    # On a developer's machine a weak secret is only a warning.
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


def check_sign_keys(settings: Settings) -> Iterator[CheckMessage]:
    """Check that no key of SIGN_KEYS is short."""
    level = checks.Warning if django_settings.DEBUG else Error
    # SECRET_KEY may be among them: none is ever sent.
    if any(len(key) < MIN_SECRET_BYTES for key in settings.sign_keys):
        yield level(
            f"{settings.path_of('SIGN_KEYS')} has a key that is shorter than "
            f"{MIN_SECRET_BYTES} bytes.",
            hint=_HOW_TO_MAKE_ONE,
            id="cloudtask.E003",
        )


def check_signer(settings: Settings) -> Iterator[CheckMessage]:
    """Check that a secret is not all that a dispatch needs."""
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


def _is_secret_key(secret: str) -> bool:
    try:
        return constant_time_compare(secret, django_settings.SECRET_KEY)
    except ImproperlyConfigured:
        return False  # It is empty, as where an image is built.
