"""
The token that a dispatch carries where SAE is set: whose are accepted.

Its claims are looked at before any key is fetched.
"""

from __future__ import annotations

import hashlib
import re
import threading
from base64 import urlsafe_b64decode
from typing import TYPE_CHECKING, Any

from cloudtask.auth.credentials import Credential
from cloudtask.auth.keys import get_key_set
from cloudtask.conf import clock
from cloudtask.exceptions import InvalidCredentials, KeysUnavailable
from cloudtask.wire.strict_json import load_json

if TYPE_CHECKING:
    from collections.abc import Mapping

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

#: What Cloud Run puts in place of a token's signature, and what to say of it.
_REMOVED = "SIGNATURE_REMOVED_BY_GOOGLE"
_REMOVED_WORDS = (
    "Cloud Run's own check removed the token's signature, as it does of a token in "
    "X-Serverless-Authorization and of a person's. Send a service account's token in "
    "Authorization, made for the service's URL, or let SIGN or SECRET prove the task"
)
_TOKEN = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")


class TokenCredential(Credential):
    """A token that Google, or the emulator, signed. May wait for keys."""

    name = "token"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._lock = threading.Lock()
        self._remembered: dict[bytes, float] = {}

    def is_configured(self) -> bool:
        """
        Whether it is known who signs dispatches.

        Raises:
            MetadataUnavailable: Nobody can tell now.
        """
        return self._settings.service_account() is not None

    def is_sent(self, meta: Mapping[str, Any]) -> bool:
        """Whether a request carries a bearer token."""
        return _find_bearer(meta) is not None

    def check(self, meta: Mapping[str, Any]) -> None:
        """Verify the token, and remember it. See Credential.check()."""
        email = self._settings.service_account()
        if email is None:
            raise InvalidCredentials("a token was sent, and SAE is not set")
        trust, token = _Trust(self._settings, email), str(_find_bearer(meta))
        try:
            expires = trust.verify(token, clock.now().timestamp())
        except (InvalidCredentials, KeysUnavailable):
            raise
        except Exception as error:
            # Nothing that a token makes a parser raise is our fault.
            raise InvalidCredentials(
                f"the token is malformed: {type(error).__name__}"
            ) from None
        self._remember(token, expires)

    def is_remembered(self, meta: Mapping[str, Any]) -> bool:
        """Whether the token of a request was verified before, and holds."""
        expires = self._remembered.get(_hash(str(_find_bearer(meta))))
        return expires is not None and clock.now().timestamp() <= expires

    def _remember(self, token: str, expires: float) -> None:
        with self._lock:
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[_hash(token)] = expires


class RememberedTokenCredential(Credential):
    """A token, as far as this process knows it. Never waits for anybody."""

    name = "token"

    def __init__(self, token: TokenCredential) -> None:
        self._token = token

    def is_configured(self) -> bool:
        """True, since finding out may take a wait."""
        return True

    def is_sent(self, meta: Mapping[str, Any]) -> bool:
        """See TokenCredential.is_sent()."""
        return self._token.is_sent(meta)

    def check(self, meta: Mapping[str, Any]) -> None:
        """Refuse a token that was not verified before."""
        if not self._token.is_remembered(meta):
            raise InvalidCredentials("the token is not known yet")


class _Trust:
    """Whose tokens are accepted, for whom, and who knows the keys."""

    def __init__(self, settings: Settings, email: str) -> None:
        self._email = email
        self._audiences = settings.accepted_audiences()
        emulator = settings.emulator_http()
        if emulator is None:
            self._issuers, self._keys = GOOGLE_ISSUERS, get_key_set(GOOGLE_KEYS_URL)
        else:
            # Its keys come from its own address; the issuer proves no more.
            self._issuers = GOOGLE_ISSUERS | {EMULATOR_ISSUER}
            self._keys = get_key_set(f"http://{emulator}/certs")

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
            raise InvalidCredentials("the token is not a JWT of up to 4 kB")
        if match[3] == _REMOVED:
            raise InvalidCredentials(_REMOVED_WORDS)
        header, claims = _load_object(match[1]), _load_object(match[2])
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
        raise InvalidCredentials("the token's times are not whole numbers")
    if expires + LEEWAY < now:
        raise InvalidCredentials("the token has expired")
    starts = claims.get("nbf", issued)
    if type(starts) is not int or max(issued, starts) - LEEWAY > now:
        raise InvalidCredentials("the token is not valid yet")
    if expires - issued > MAX_LIFETIME + LEEWAY:
        raise InvalidCredentials("the token lives longer than an hour")


def _find_bearer(meta: Mapping[str, Any]) -> str | None:
    scheme, _, token = str(meta.get("HTTP_AUTHORIZATION", "")).partition(" ")
    return token if scheme.lower() == "bearer" else None


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _load_object(segment: str) -> dict[str, Any]:
    value = load_json(_decode(segment))
    if not isinstance(value, dict):
        raise InvalidCredentials("the token is not a pair of JSON objects")
    return value


def _decode(segment: str) -> bytes:
    return urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
