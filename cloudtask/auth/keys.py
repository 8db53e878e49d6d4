"""
The public keys of a token issuer, kept as long as it allows.

They are fetched before they lapse, and once more for a key id that is not
known, but no more than once in 30 seconds. Good keys are never dropped
because a fetch failed.
"""

from __future__ import annotations

import logging
import re
import threading
import urllib.request
from concurrent.futures import Future
from time import monotonic
from typing import TYPE_CHECKING, Any

from cloudtask.exceptions import InvalidCredentials, KeysUnavailable
from cloudtask.wire.strict_json import load_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from http.client import HTTPResponse

logger = logging.getLogger("cloudtask")

#: Seconds that a fetch may take in all.
FETCH_SECONDS = 5.0
#: Bytes of the largest answer that is read.
MAX_ANSWER_BYTES = 256 * 1024
#: Seconds between two fetches that are not due.
COOLDOWN = 30.0
#: Seconds before a failed fetch is repeated while there are no keys at all.
COLD_COOLDOWN = 2.0
#: Seconds that keys live where the answer says nothing, and at the most.
DEFAULT_LIFETIME, MAX_LIFETIME = 3600.0, 86_400.0
#: Share of the lifetime after which the keys are fetched anew.
_REFRESH_AT = 0.8


class KeySet:
    """
    Keys by id, from a JSON object of PEM texts: `{"<kid>": "-----BEGIN..."}`.

    Args:
        url: Where they are published.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._lock = threading.Lock()
        self._keys: Mapping[str, Any] = {}
        self._due = 0.0
        self._tried: float | None = None

    def verify(self, kid: str, signed: bytes, signature: bytes) -> bool:
        """
        Whether the RSA key `kid` made an RS256 signature.

        Raises:
            InvalidCredentials: No such key is published.
            KeysUnavailable: There are no keys, and none can be fetched.
        """
        return bool(self._find_key(kid).verify(signed, signature))

    def _find_key(self, kid: str) -> Any:
        asked = monotonic()
        if kid not in self._keys or asked >= self._due:
            self._refresh(asked, needed=kid not in self._keys)
        keys = self._keys
        if not keys:
            raise KeysUnavailable(f"No keys could be fetched from {self.url}.")
        if kid not in keys:
            raise InvalidCredentials("the token's key is not published")
        return keys[kid]

    def _refresh(self, asked: float, *, needed: bool) -> None:
        # One thread fetches. Those that can do without do not wait for it.
        if not self._lock.acquire(blocking=needed):
            return
        try:
            if self._may_try(asked):
                self._tried = monotonic()
                self._fetch()
        finally:
            self._lock.release()

    def _may_try(self, asked: float) -> bool:
        if self._tried is None:
            return True
        pause = COOLDOWN if self._keys else COLD_COOLDOWN
        return asked >= self._tried + pause

    def _fetch(self) -> None:
        try:
            keys, lifetime = fetch(self.url)
        except Exception as error:
            logger.warning("keys url=%s fetch failed: %r", self.url, error)
            return
        self._keys = keys
        self._due = monotonic() + _REFRESH_AT * lifetime


_key_sets: dict[str, KeySet] = {}


def get_key_set(url: str) -> KeySet:
    """The one set of keys that are published at an address."""
    return _key_sets.setdefault(url, KeySet(url))


def forget_keys() -> None:
    """Fetch all keys anew when they are next needed."""
    _key_sets.clear()


def fetch(url: str) -> tuple[Mapping[str, Any], float]:
    """
    Fetch keys.

    Returns:
        The keys by their ids, and the seconds that they may be kept.

    Raises:
        Exception: Whatever went wrong.
    """
    answer: Future[tuple[bytes, str]] = Future()
    # On a thread of its own, which is left behind at the deadline: a socket's
    # timeout starts again with every byte, and looking up a name has none.
    threading.Thread(target=_download, args=(url, answer), daemon=True).start()
    body, cache_control = answer.result(FETCH_SECONDS)
    return _parse_keys(body), _read_lifetime(cache_control)


def _download(url: str, answer: Future[tuple[bytes, str]]) -> None:
    deadline = monotonic() + FETCH_SECONDS
    try:
        with _make_opener(url).open(url, timeout=FETCH_SECONDS) as response:
            if response.status != 200:
                raise OSError(f"the answer has status {response.status}")
            cache_control = response.headers.get("Cache-Control", "")
            answer.set_result((_read_body(response, deadline), cache_control))
    except Exception as error:
        answer.set_exception(error)


def _make_opener(url: str) -> urllib.request.OpenerDirector:
    # Follows no redirect: the address is what says whose keys they are.
    opener = urllib.request.OpenerDirector()
    if url.startswith("https:"):
        opener.add_handler(urllib.request.ProxyHandler())
        opener.add_handler(urllib.request.HTTPSHandler())
    else:  # An emulator's, which is never behind a proxy.
        opener.add_handler(urllib.request.HTTPHandler())
    return opener


def _read_body(response: HTTPResponse, deadline: float) -> bytes:
    body = b""
    # Piece by piece, since a server may send a byte now and then for ever.
    while piece := response.read1(65_536):
        body += piece
        if len(body) > MAX_ANSWER_BYTES or monotonic() > deadline:
            raise OSError("the answer is too long or too slow")
    return body


def _parse_keys(body: bytes) -> Mapping[str, Any]:
    from google.auth.crypt import RSAVerifier

    texts = load_json(body)
    if not isinstance(texts, dict) or not texts:
        raise ValueError("the answer holds no keys")
    return {kid: RSAVerifier.from_string(text) for kid, text in texts.items()}


def _read_lifetime(cache_control: str) -> float:
    match = re.search(r"\bmax-age=(\d{1,9})\b", cache_control, re.ASCII)
    return min(float(match[1]), MAX_LIFETIME) if match else DEFAULT_LIFETIME
