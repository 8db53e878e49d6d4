"""
Who may dispatch: who holds the secret, or a token that Google signed.

A token's claims are looked at before any key is fetched, and whatever is
wrong with a credential is the same refusal.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import threading
from base64 import urlsafe_b64decode
from inspect import iscoroutine
from time import time
from typing import TYPE_CHECKING, Any

from cloudtask.conf import load_class
from cloudtask.exceptions import (
    ConfigurationError,
    DispatchRefused,
    InvalidCredentials,
    KeysUnavailable,
    MetadataUnavailable,
    MissingCredentials,
)
from cloudtask.keys import KeySet
from cloudtask.strict_json import load_json
from cloudtask.validation import SECRET_HEADER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloudtask.conf import Settings

logger = logging.getLogger("cloudtask")

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

_SECRET_KEY = "HTTP_" + SECRET_HEADER.upper().replace("-", "_")
_TOKEN = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")


def authenticate(meta: Mapping[str, Any], settings: Settings) -> None:
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


def recognises(meta: Mapping[str, Any], settings: Settings) -> bool:
    """
    Whether a request is let through by what this process knows.

    Never waits for anybody. When it is False, authenticate() decides.
    """
    # A class of the project's may overrule what this one would remember.
    return not settings.has_own_auth and _authenticator(settings).recognises(meta)


class Authenticator:
    """
    Decides who may dispatch: whoever holds what the settings ask for.

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
        self._secrets = [secret.encode() for secret in settings.secrets()]
        self._lock = threading.Lock()
        self._remembered: dict[bytes, float] = {}

    def authenticate(self, meta: Mapping[str, Any]) -> None:
        """
        Let a request through, or refuse it. May wait for keys.

        Args:
            meta: The request's META.

        Raises:
            DispatchRefused: It carries no credential, or one that does not
                hold. Any other exception refuses it, too.
            KeysUnavailable, MetadataUnavailable: Nobody can tell now.
        """
        if self.recognises(meta):
            return
        if self.settings.auth == "all":
            self._authenticate_all(meta)
        elif _bearer(meta) is not None:
            self._check_token(meta, self.settings.service_account())
        elif _SECRET_KEY in meta:
            raise InvalidCredentials("the secret is another")
        else:
            raise MissingCredentials("neither a secret nor a token was sent")

    def recognises(self, meta: Mapping[str, Any]) -> bool:
        needs_all = self.settings.auth == "all"
        if not needs_all and self._secret_holds(meta):
            return True
        token = _bearer(meta)
        if token is None or not self._is_remembered(token):
            return False
        return not needs_all or self._all_but_token(meta)

    def _authenticate_all(self, meta: Mapping[str, Any]) -> None:
        if not self._all_but_token(meta):
            raise InvalidCredentials("the secret is missing or another")
        email = self.settings.service_account()
        if not self._secrets and email is None:
            raise MissingCredentials("neither SECRET nor SAE is set")
        if email is not None:
            self._check_token(meta, email)

    def _all_but_token(self, meta: Mapping[str, Any]) -> bool:
        return not self._secrets or self._secret_holds(meta)

    def _secret_holds(self, meta: Mapping[str, Any]) -> bool:
        sent = str(meta.get(_SECRET_KEY, "")).encode("utf-8", "surrogatepass")
        # As bytes, and every one of them: the time tells nothing.
        matches = [hmac.compare_digest(sent, secret) for secret in self._secrets]
        return any(matches)

    def _check_token(self, meta: Mapping[str, Any], email: str | None) -> None:
        token = _bearer(meta)
        if token is None:
            raise MissingCredentials("no token was sent")
        if email is None:
            raise InvalidCredentials("a token was sent, and SAE is not set")
        trust = _Trust(self.settings, email)
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

    def _is_remembered(self, token: str) -> bool:
        expires = self._remembered.get(_fingerprint(token))
        return expires is not None and time() <= expires

    def _remember(self, token: str, expires: float) -> None:
        with self._lock:
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[_fingerprint(token)] = expires


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
