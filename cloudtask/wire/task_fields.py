"""What is wrong with a task's fields, in words, before Cloud Tasks says so."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlsplit

from cloudtask.wire.limits import MAX_DEADLINE, MAX_URL_LENGTH, MIN_DEADLINE


def find_deadline_problem(value: object) -> str | None:
    """What is wrong with a dispatch deadline, or None."""
    if isinstance(value, timedelta) and MIN_DEADLINE <= value <= MAX_DEADLINE:
        return None
    return f"must be a timedelta from 15 seconds to 30 minutes, not {value!r}."


def find_url_problem(value: object) -> str | None:
    """What is wrong with a target URL, or None."""
    if not isinstance(value, str):
        return f"must be a URL, not {value!r}."
    if len(value) > MAX_URL_LENGTH:
        return f"has {len(value)} characters; Cloud Tasks takes {MAX_URL_LENGTH}."
    # Not shown with an @: what stands before it is often a password.
    shown = "" if "@" in value else f", not {value!r}"
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - raises for a bad port
    except ValueError:
        return f"must be a valid URL{shown}."
    if "@" in parts.netloc:
        return "must not carry a user name or password."
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return f"must start with https:// and a host{shown}."
    if parts.fragment or any(c.isspace() or not c.isprintable() for c in value):
        return f"must have neither a fragment nor spaces{shown}."
    return None
