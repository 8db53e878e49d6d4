"""
The signature of a task: proof that this project enqueued it, as it is.

    X-Task-Signature: 1.<last moment>.<about>.<body>.<mac>

The last moment is in seconds since the epoch. `about` is a hash of the task's
id and path, `body` one of its body, and `mac` is HMAC-SHA256 over what stands
before it and the backend. The hashes tell nothing of a task to those who may
read its headers: the id is random, and is in both.

How functions are called is the matter of `signatures`.
"""

from __future__ import annotations

import hmac
import re
from binascii import b2a_base64
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.encoding import force_bytes

from cloudtask.conf import clock
from cloudtask.exceptions import InvalidCredentials
from cloudtask.wire.headers import SIGNATURE_HEADER
from cloudtask.wire.limits import RETENTION

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from cloudtask.conf import Settings
    from cloudtask.wire.payload import Payload

VERSION = 1
#: What the derived keys are for, and for nothing else.
_PURPOSE = f"cloudtask {SIGNATURE_HEADER} {VERSION}".encode()
#: Seconds after it is due for which Cloud Tasks may dispatch a task.
LIFETIME_SECONDS = int(RETENTION.total_seconds())
#: The last moment of a signature that does not expire: beyond all calendars.
NEVER = 999_999_999_999
#: Characters of the longest header that is looked at.
MAX_LENGTH = 160

_HASH = "([A-Za-z0-9+/]{43})"
_HEADER = re.compile(rf"({VERSION}\.([0-9]{{1,12}})\.{_HASH}\.{_HASH})\.{_HASH}")
_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class SignedTask:
    """The task that a signature was made for."""

    about: str = field(repr=False)
    body: str = field(repr=False)

    def has_body(self, body: bytes) -> bool:
        """Whether this is the body that was signed."""
        return self.body == _hash(body)

    def is_of(self, payload: Payload) -> bool:
        """Whether a payload has the id and the path that were signed."""
        return self.about == _hash_task(payload)


def make_signature_headers(
    settings: Settings,
    payload: Payload,
    body: bytes,
    schedule_time: datetime | None,
    *,
    expires: bool = True,
) -> Mapping[str, str]:
    """
    The headers that prove where a task comes from. None if SIGN is off.

    Args:
        settings: By which it is enqueued.
        payload: What its body says.
        body: As it is sent.
        schedule_time: Aware; None or a past one is "now".
        expires: False for what is stored once and comes again and again. It
            has to do no harm however often it is repeated.

    Raises:
        ConfigurationError: There is no key to sign with.
    """
    if not settings.sign:
        return _NOTHING
    keys = _get_keys(settings)
    if not keys:
        raise settings.error(
            "SIGN",
            "is on, and there is no key: SECRET_KEY is empty. Set it, or SIGN_KEYS, "
            "or turn SIGN off.",
        )
    last = _find_last_moment(schedule_time) if expires else NEVER
    text = f"{VERSION}.{last}.{_hash_task(payload)}.{_hash(body)}"
    backend = _quote(payload.backend) if payload.backend else ""
    return {SIGNATURE_HEADER: f"{text}.{_make_mac(keys[0], text, backend)}"}


def _find_last_moment(schedule_time: datetime | None) -> int:
    now = clock.now()
    due = now if schedule_time is None else max(now, schedule_time)
    return int(due.timestamp()) + LIFETIME_SECONDS


def open_header(header: str, backend: str, settings: Settings) -> SignedTask:
    """
    Check a signature.

    Args:
        header: As it was sent.
        backend: Quoted alias of the backend that is asked to run the task;
            empty if none is.
        settings: With the keys that are accepted.

    Raises:
        InvalidCredentials: It does not hold.
    """
    keys = _get_keys(settings)
    if not keys:
        raise InvalidCredentials("a signature was sent, and SECRET_KEY is empty")
    match = _HEADER.fullmatch(header) if len(header) <= MAX_LENGTH else None
    if match is None:
        raise InvalidCredentials("the signature is malformed")
    text, last, about, body, sent = match.groups()
    # Every key, and as texts: of one hash there are several spellings.
    matches = [hmac.compare_digest(sent, _make_mac(key, text, backend)) for key in keys]
    if not any(matches):
        raise InvalidCredentials("the signature is another's")
    if int(last) < clock.now().timestamp():
        raise InvalidCredentials("the signature has expired")
    return SignedTask(about, body)


class _Ring(NamedTuple):
    """Derived keys, and what they are of."""

    settings: Settings
    secret_key: Any
    fallbacks: Any
    keys: tuple[hmac.HMAC, ...]


_rings: dict[str | None, _Ring] = {}


def _get_keys(settings: Settings) -> tuple[hmac.HMAC, ...]:
    """The keys that are accepted, the one that signs first."""
    try:
        secret_key = django_settings.SECRET_KEY
    except ImproperlyConfigured:
        secret_key = None  # It is empty, as where an image is built.
    fallbacks = django_settings.SECRET_KEY_FALLBACKS
    ring = _rings.get(settings.backend)
    if (
        ring is None
        # By identity: conf gives one object as long as nothing changes.
        or ring.settings is not settings
        or ring.secret_key is not secret_key
        or ring.fallbacks is not fallbacks
    ):
        secrets = settings.sign_keys or _list_django_keys(secret_key, fallbacks)
        keys = tuple(_derive(secret) for secret in secrets)
        ring = _Ring(settings, secret_key, fallbacks, keys)
        _rings[settings.backend] = ring
    return ring.keys


def _list_django_keys(secret_key: Any, fallbacks: Any) -> list[Any]:
    if secret_key is None:
        return []
    # An empty one is everybody's, and of a string each character would count.
    is_list = isinstance(fallbacks, (list, tuple))
    return [secret_key, *(each for each in fallbacks if is_list and each)]


def _derive(secret: Any) -> hmac.HMAC:
    key = hmac.digest(force_bytes(secret), _PURPOSE, "sha256")
    # To be copied, which in OpenSSL 3 costs half of what a new one does.
    return hmac.new(key, digestmod="sha256")


def _make_mac(key: hmac.HMAC, text: str, backend: str) -> str:
    mac = key.copy()
    mac.update(f"{text}.{backend}".encode())
    return _encode(mac.digest())


def _hash_task(payload: Payload) -> str:
    return _hash(f"{payload.id}.{payload.task}".encode())


def _hash(data: bytes) -> str:
    return _encode(sha256(data).digest())


def _encode(digest: bytes) -> str:
    return b2a_base64(digest, newline=False)[:-1].decode()


_quote = lru_cache(maxsize=1024)(quote)
