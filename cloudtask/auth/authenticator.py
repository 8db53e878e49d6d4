"""Who decides: the Authenticator of the settings, or the project's own."""

from __future__ import annotations

from contextvars import ContextVar
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any

from cloudtask.auth.admission import Admission, check_all, check_any
from cloudtask.auth.credentials import SecretCredential, SignatureCredential
from cloudtask.auth.tokens import RememberedTokenCredential, TokenCredential
from cloudtask.conf import OncePerSettings, load_class
from cloudtask.exceptions import (
    ConfigurationError,
    DispatchRefused,
    InvalidCredentials,
    KeysUnavailable,
    MetadataUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cloudtask.auth.credentials import Credential
    from cloudtask.auth.signing import SignedTask
    from cloudtask.conf import Settings

#: What an authenticator may raise. Anything else is its own failure.
_ERRORS = (DispatchRefused, KeysUnavailable, MetadataUnavailable, ConfigurationError)

#: What the signature that let a request in was made for.
_signed: ContextVar[SignedTask | None] = ContextVar("signed", default=None)


class Authenticator:
    """
    Decides who may dispatch: who has what the settings ask for.

    A project's own class derives from this one, and AUTH names it. It may
    build on `super()`, or on nothing of it.

    Args:
        settings: What is accepted.
        params: AUTH_PARAMS, for classes that take any.
    """

    def __init__(self, settings: Settings, **params: Any) -> None:
        if params:
            raise TypeError(f"takes no {', '.join(map(repr, params))}")
        self.settings = settings
        secret, signature = SecretCredential(settings), SignatureCredential(settings)
        token = TokenCredential(settings)
        remembered = RememberedTokenCredential(token)
        # The quickest come first, and what may have to wait comes last.
        self._quick: Sequence[Credential] = (secret, remembered, signature)
        self._credentials: Sequence[Credential] = (secret, signature, token)
        self._decide = check_all if settings.auth == "all" else check_any

    def authenticate(self, meta: Mapping[str, Any]) -> None:
        """
        Let a request through, or refuse it. May wait for keys.

        Where a signature lets it in, its body has to be the one that was
        signed. That is checked when the body has been read.

        Args:
            meta: The request's META.

        Raises:
            DispatchRefused: It carries no credential, or one that does not
                hold. Any other exception refuses it, too.
            KeysUnavailable, MetadataUnavailable: Nobody can tell now.
        """
        admission = self.recognise(meta)
        if admission is None:
            admission = Admission(self._decide(self._credentials, meta))
        _signed.set(admission.signed)

    def recognise(self, meta: Mapping[str, Any]) -> Admission | None:
        """See the function of this name."""
        try:
            return Admission(self._decide(self._quick, meta))
        except DispatchRefused:
            return None


def make_authenticator(settings: Settings) -> Authenticator:
    """
    What the settings ask for, AUTH above all.

    Raises:
        ConfigurationError: AUTH does not name an Authenticator, or it cannot
            be made, of AUTH_PARAMS or at all.
    """
    made = (
        load_class(settings, "AUTH", Authenticator)
        if settings.has_own_auth
        else Authenticator
    )
    try:
        return made(settings, **settings.auth_params)
    except TypeError as error:
        problem = f"do not fit {made.__qualname__}: {error}."
        raise settings.error("AUTH_PARAMS", problem) from None
    except Exception as error:
        kind = type(error).__qualname__
        problem = f"{settings.auth!r} cannot be made: it raised {kind}."
        raise settings.error("AUTH", problem) from error


_get_authenticator = OncePerSettings(make_authenticator)


def authenticate(meta: Mapping[str, Any], settings: Settings) -> Admission:
    """
    Let a request through, or refuse it. See Authenticator.authenticate().

    Raises:
        DispatchRefused: It carries no credential, or one that does not hold.
        KeysUnavailable: A token looks right, and there are no keys to tell.
        MetadataUnavailable: Nobody can tell yet what is to be asked for.
        ConfigurationError: The audience of tokens is not known, or AUTH does
            not name an Authenticator.
    """
    authenticator: Any = _get_authenticator(settings)
    _signed.set(None)
    try:
        answer = authenticator.authenticate(meta)
    except _ERRORS:
        raise
    except Exception as error:
        # An authenticator of the project has failed. That opens no door.
        name = type(error).__qualname__
        raise InvalidCredentials(f"{settings.auth} raised {name}") from error
    if answer is not None:
        # An authenticator that accepts returns None. False, or a coroutine
        # that was never awaited, must not let anyone in.
        if iscoroutine(answer):
            answer.close()
        name = type(answer).__qualname__
        raise InvalidCredentials(f"{settings.auth} returned a {name}")
    return Admission(_signed.get())


def recognise(meta: Mapping[str, Any], settings: Settings) -> Admission | None:
    """
    Let a request through by what this process knows.

    Never waits for anybody. When it is None, authenticate() decides.
    """
    # A class of the project's may overrule what this one would remember.
    if settings.has_own_auth:
        return None
    return _get_authenticator(settings).recognise(meta)
