"""
Who may dispatch: who has the secret, a task's signature, or a token that
Google signed.

A token's claims are looked at before any key is fetched, and whatever is
wrong with a credential is the same refusal.
"""

from __future__ import annotations

import hashlib
import re
import threading
from base64 import urlsafe_b64decode
from contextvars import ContextVar
from inspect import iscoroutine
from time import time
from typing import TYPE_CHECKING, Any

from cloudtask.auth.admission import (
    Admission,
    Credential,
    SecretCredential,
    SignatureCredential,
    check_all,
    check_any,
)
from cloudtask.auth.keys import KeySet
from cloudtask.conf import load_class
from cloudtask.exceptions import (
    ConfigurationError,
    DispatchRefused,
    InvalidCredentials,
    KeysUnavailable,
    MetadataUnavailable,
)
from cloudtask.wire.strict_json import load_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cloudtask.auth.signing import SignedTask
    from cloudtask.conf import Settings

GOOGLE_ISSUERS = frozenset({"https://accounts.google.com", "accounts.google.com"})
GOOGLE_KEYS_URL = "https://www.googleapis.com/oauth2/v1/certs"
#: Issuer of the emulator's tokens. Accepted only where an emulator is set.
EMULATOR_ISSUER = "https://cloudtask-emulator.invalid"

#: Seconds that clocks may differ.
LEEWAY = 10
#: Seconds that a token may live.
MAX_LIFETIME = 3600
#: Characters of the longest token that is looked at.
MAX_TOKEN_LENGTH = 4096
#: Verified tokens that are remembered.
_MAX_REMEMBERED = 1024

#: What an authenticator may raise. Anything else is its own failure.
_TOLD = (DispatchRefused, KeysUnavailable, MetadataUnavailable, ConfigurationError)

#: What Cloud Run puts in place of a token's signature, and what to say of it.
_REMOVED = "SIGNATURE_REMOVED_BY_GOOGLE"
_REMOVED_WORDS = (
    "Cloud Run's own check removed the token's signature, as it does of a token in "
    "X-Serverless-Authorization and of a person's. Send a service account's token in "
    "Authorization, made for the service's URL, or let SIGN or SECRET prove the task"
)
_TOKEN = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")


def authenticate(meta: Mapping[str, Any], settings: Settings) -> Admission:
    """
    Let a request through, or refuse it. See Authenticator.authenticate().

    Raises:
        DispatchRefused: It carries no credential, or one that does not hold.
        KeysUnavailable: A token looks right, and there are no keys to tell.
        MetadataUnavailable: Nobody can tell yet what is to be asked for.
        ConfigurationError: The audience of tokens is not known, or AUTH names
            no class.
    """
    authenticator: Any = _authenticator(settings)
    _signed.set(None)
    try:
        answer = authenticator.authenticate(meta)
    except _TOLD:
        raise
    except Exception as error:
        # An authenticator of the project has failed. That opens no door.
        name = type(error).__qualname__
        raise InvalidCredentials(f"{settings.auth} raised {name}") from error
    if answer is not None:
        # False perhaps, or a coroutine: whoever lets in returns nothing.
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
    return None if settings.has_own_auth else _authenticator(settings).recognise(meta)


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
        token = _Token(settings)
        known = _RememberedToken(token)
        # The quickest come first, and what may have to wait comes last.
        self._quick: Sequence[Credential] = (secret, known, signature)
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
        known = self.recognise(meta)
        _signed.set(known.signed if known else self._decide(self._credentials, meta))

    def recognise(self, meta: Mapping[str, Any]) -> Admission | None:
        """See the function of this name."""
        try:
            return Admission(self._decide(self._quick, meta))
        except DispatchRefused:
            return None


class _Token(Credential):
    name = "token"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._lock = threading.Lock()
        self._remembered: dict[bytes, float] = {}

    def is_configured(self) -> bool:
        return self._settings.service_account() is not None

    def is_sent(self, meta: Mapping[str, Any]) -> bool:
        return _bearer(meta) is not None

    def check(self, meta: Mapping[str, Any]) -> None:
        email = self._settings.service_account()
        if email is None:
            raise InvalidCredentials("a token was sent, and SAE is not set")
        trust, token = _Trust(self._settings, email), str(_bearer(meta))
        try:
            expires = trust.verify(token, time())
        except (InvalidCredentials, KeysUnavailable):
            raise
        except Exception as error:
            # Nothing that a token makes a parser raise is our fault.
            raise InvalidCredentials(
                f"the token is malformed: {type(error).__name__}"
            ) from None
        self._remember(token, expires)

    def is_remembered(self, meta: Mapping[str, Any]) -> bool:
        expires = self._remembered.get(_fingerprint(str(_bearer(meta))))
        return expires is not None and time() <= expires

    def _remember(self, token: str, expires: float) -> None:
        with self._lock:
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[_fingerprint(token)] = expires


class _RememberedToken(Credential):
    """A token, as far as this process knows it. Never waits for anybody."""

    name = "token"

    def __init__(self, token: _Token) -> None:
        self._token = token

    def is_configured(self) -> bool:
        # Perhaps it is not, but that would have to be asked.
        return True

    def is_sent(self, meta: Mapping[str, Any]) -> bool:
        return self._token.is_sent(meta)

    def check(self, meta: Mapping[str, Any]) -> None:
        if not self._token.is_remembered(meta):
            raise InvalidCredentials("the token is not known yet")


class _Trust:
    """Whose tokens are accepted, for whom, and who knows the keys."""

    def __init__(self, settings: Settings, email: str) -> None:
        self._email = email
        self._audiences = settings.accepted_audiences()
        emulator = settings.emulator_http()
        if emulator is None:
            self._issuers, self._keys = GOOGLE_ISSUERS, _keys(GOOGLE_KEYS_URL)
        else:
            # Its keys are pinned by its address, whoever it says to be.
            self._issuers = GOOGLE_ISSUERS | {EMULATOR_ISSUER}
            self._keys = _keys(f"http://{emulator}/certs")

    def verify(self, token: str, now: float) -> float:
        """
        Check a token.

        Returns:
            When it stops being accepted, in seconds since the epoch.

        Raises:
            InvalidCredentials: It does not hold.
            KeysUnavailable: Nobody can tell.
        """
        match = _TOKEN.fullmatch(token)
        if match is None or len(token) > MAX_TOKEN_LENGTH:
            raise InvalidCredentials("the token is no JWT of up to 4 kB")
        if match[3] == _REMOVED:
            raise InvalidCredentials(_REMOVED_WORDS)
        header, claims = _json(match[1]), _json(match[2])
        _check_header(header)
        self._check_claims(claims, now)
        signed = f"{match[1]}.{match[2]}".encode()
        if not self._keys.verify(header["kid"], signed, _decode(match[3])):
            raise InvalidCredentials("the token's signature is wrong")
        return float(claims["exp"] + LEEWAY)

    def _check_claims(self, claims: dict[str, Any], now: float) -> None:
        if claims.get("iss") not in self._issuers:
            raise InvalidCredentials("the token has another issuer")
        if claims.get("aud") not in self._audiences:
            raise InvalidCredentials("the token has another audience")
        if claims.get("email") != self._email:
            raise InvalidCredentials("the token is another service account's")
        if claims.get("email_verified") is not True:
            raise InvalidCredentials("the token's e-mail is not verified")
        _check_times(claims, now)


def _check_header(header: dict[str, Any]) -> None:
    if header.get("alg") != "RS256":
        raise InvalidCredentials("the token is not signed with RS256")
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid or "crit" in header:
        raise InvalidCredentials("the token names no key, or asks for more")


def _check_times(claims: dict[str, Any], now: float) -> None:
    issued, expires = claims.get("iat"), claims.get("exp")
    if type(issued) is not int or type(expires) is not int:
        raise InvalidCredentials("the token's times are no whole numbers")
    if expires + LEEWAY < now:
        raise InvalidCredentials("the token has expired")
    starts = claims.get("nbf", issued)
    if type(starts) is not int or max(issued, starts) - LEEWAY > now:
        raise InvalidCredentials("the token is not valid yet")
    if expires - issued > MAX_LIFETIME + LEEWAY:
        raise InvalidCredentials("the token lives longer than an hour")


def _bearer(meta: Mapping[str, Any]) -> str | None:
    scheme, _, token = str(meta.get("HTTP_AUTHORIZATION", "")).partition(" ")
    return token if scheme.lower() == "bearer" else None


def _fingerprint(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _json(segment: str) -> dict[str, Any]:
    value = load_json(_decode(segment))
    if not isinstance(value, dict):
        raise InvalidCredentials("the token is no pair of JSON objects")
    return value


def _decode(segment: str) -> bytes:
    return urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


_authenticators: dict[str | None, tuple[Settings, Authenticator]] = {}
_key_sets: dict[str, KeySet] = {}


def _authenticator(settings: Settings) -> Authenticator:
    # By identity: conf gives one object as long as nothing changes.
    current = _authenticators.get(settings.backend)
    if current is None or current[0] is not settings:
        current = (settings, make_authenticator(settings))
        _authenticators[settings.backend] = current
    return current[1]


def make_authenticator(settings: Settings) -> Authenticator:
    """
    What the settings ask for, AUTH above all.

    Raises:
        ConfigurationError: AUTH names no Authenticator, or one that cannot be
            made, of AUTH_PARAMS or at all.
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


def _keys(url: str) -> KeySet:
    return _key_sets.setdefault(url, KeySet(url))


def forget_keys() -> None:
    """Fetch all keys anew when they are next needed."""
    _key_sets.clear()
