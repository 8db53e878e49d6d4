"""Pages of a list: their sizes, and the tokens that lead to the next one."""

from __future__ import annotations

import base64
import hashlib

from cloudtask.emulator.values.errors import ApiError, invalid_argument
from cloudtask.emulator.values.instants import SECOND

#: How long a page token is good for, in microseconds.
TOKEN_TTL = 2 * 3600 * SECOND

# A token is its expiry, a digest and what comes before the next page.
_EXPIRY_SIZE = 8
_DIGEST_SIZE = 8


def page_size(requested: int, maximum: int) -> int:
    """
    Return how many items a page may have; 0 requests as many as possible.

    Raises:
        ApiError: The number is negative.
    """
    if requested < 0:  # Unconfirmed wording.
        raise invalid_argument("The page size cannot be negative.")
    return min(requested, maximum) or maximum


def encode(after: str, scope: str, now: int) -> str:
    """
    Return the token of the page that begins after an item.

    Args:
        after: What tells where the next page begins.
        scope: What has to be the same for the next page, such as the filter.
    """
    expiry = (now + TOKEN_TTL).to_bytes(_EXPIRY_SIZE, "big")
    rest = after.encode()
    return base64.urlsafe_b64encode(
        expiry + _digest(expiry, scope, rest) + rest
    ).decode()


def decode(token: str, scope: str, now: int) -> str:
    """
    Return what was encoded, "" for the first page's empty token.

    Raises:
        ApiError: The token is too old, of another scope or no token at all.
    """
    if not token:
        return ""
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
        expiry, raw = raw[:_EXPIRY_SIZE], raw[_EXPIRY_SIZE:]
        digest, rest = raw[:_DIGEST_SIZE], raw[_DIGEST_SIZE:]
        after = rest.decode()
    except ValueError:
        raise _invalid_token() from None
    if digest != _digest(expiry, scope, rest):
        raise _invalid_token()
    if int.from_bytes(expiry, "big") < now:
        raise invalid_argument("The page token has expired.")
    return after


def _digest(expiry: bytes, scope: str, rest: bytes) -> bytes:
    key = hashlib.blake2b(scope.encode(), digest_size=32).digest()
    return hashlib.blake2b(expiry + rest, digest_size=_DIGEST_SIZE, key=key).digest()


def _invalid_token() -> ApiError:  # Unconfirmed wording.
    return invalid_argument(
        "The page token is not valid for this parent and this filter."
    )
