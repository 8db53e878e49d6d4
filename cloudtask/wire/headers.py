"""Headers of a dispatch: those of this package, and what a task may add."""

from __future__ import annotations

import re

#: Header that carries CLOUDTASK['SECRET'] to the dispatch view.
SECRET_HEADER = "X-Task-Secret"  # noqa: S105 - its name

#: Header that carries a task's signature there.
SIGNATURE_HEADER = "X-Task-Signature"

#: Header that tells the dispatch view whose settings a task comes under.
BACKEND_HEADER = "X-Task-Backend"

#: Header that tells tasks apart which were created by one call.
BATCH_HEADER = "X-Task-Batch-Index"

#: Header that says which alarm of its task this is, if it is not the first.
REARM_HEADER = "X-Task-Rearm"

#: Bytes that the headers of a definition take in the stored task, at the most.
#: Cloud Tasks takes less than 80 KB, which others are part of.
MAX_HEADER_BYTES = 64 * 1024

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")

_OWN_HEADERS = frozenset(
    {
        "authorization",
        "connection",
        "content-encoding",  # The view reads no compressed body.
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        BACKEND_HEADER.lower(),
        BATCH_HEADER.lower(),
        REARM_HEADER.lower(),
        SECRET_HEADER.lower(),
        SIGNATURE_HEADER.lower(),
    }
)

_OWN_PREFIXES = ("x-google-", "x-appengine-", "x-cloudtasks-")


def find_header_problem(name: object, value: object) -> str | None:
    """What is wrong with a task's header, or None."""
    if not isinstance(name, str) or _HEADER.fullmatch(name) is None:
        return "is not a header name."
    # WSGI has one name for a header with hyphens and one with underscores.
    common = name.lower().replace("_", "-")
    if common in _OWN_HEADERS or common.startswith(_OWN_PREFIXES):
        return "is set by cloudtask or by Cloud Tasks. Leave it out."
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        return "must have a value of printable ASCII characters."
    return None
