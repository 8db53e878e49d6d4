"""
What the values of settings must be.

Each check takes the key and the value that was set, returns what the value
means, and raises ConfigurationError. A secret is never shown, so a wrong one
is not either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from cloudtask.exceptions import ConfigurationError
from cloudtask.wire.task_fields import find_deadline_problem, find_url_problem


def check_text(key: str, value: object) -> str:
    """Accept a string that is not empty, without spaces around it."""
    if not isinstance(value, str) or not value or value != value.strip():
        raise ConfigurationError(key, f"must be a non-empty string, not {value!r}.")
    return value


def check_name(
    kind: str, is_valid: Callable[[str], bool]
) -> Callable[[str, object], str]:
    """
    Make a check that accepts the names of one kind.

    Args:
        kind: What they are, for the message.
        is_valid: Whether a text is such a name.
    """

    def check(key: str, value: object) -> str:
        if not is_valid(check_text(key, value)):
            raise ConfigurationError(key, f"{value!r} is not a {kind}.")
        return str(value)

    return check


def check_secret(key: str, value: object) -> str:
    """Accept a secret that can be sent as a header."""
    if not isinstance(value, str) or not value or value != value.strip():
        raise ConfigurationError(key, "must be a non-empty string without spaces.")
    if not value.isascii() or not value.isprintable():
        raise ConfigurationError(
            key, "is sent as an HTTP header: only printable ASCII characters."
        )
    return value


def check_each(check: Callable[[str, object], str]) -> Callable[..., tuple[str, ...]]:
    """Make a check that accepts a list of what another one accepts."""

    def check_all(key: str, value: object) -> tuple[str, ...]:
        if not isinstance(value, (list, tuple)):
            raise ConfigurationError(key, "must be a list of strings.")
        return tuple(check(key, item) for item in value)

    return check_all


def check_keys(key: str, value: object) -> tuple[str, ...]:
    """Accept a list of at least one key."""
    secrets = check_each(check_secret)(key, value)
    if not secrets:
        raise ConfigurationError(key, "must have at least one key, or be left out.")
    return secrets


def check_audiences(key: str, value: object) -> tuple[str, ...]:
    """Accept one audience, or a list of at least one."""
    audiences = check_each(check_text)(
        key, [value] if isinstance(value, str) else value
    )
    if not audiences:
        raise ConfigurationError(key, "must name at least one audience.")
    return audiences


def check_email(key: str, value: object) -> str:
    """Accept the e-mail address of a service account."""
    text = check_text(key, value)
    if text.count("@") != 1 or text.startswith("@") or text.endswith("@"):
        raise ConfigurationError(
            key, f"must be a service account's e-mail address, not {value!r}."
        )
    return text


def check_url(key: str, value: object) -> str:
    """Accept a URL that Cloud Tasks can dispatch to."""
    problem = find_url_problem(value)
    if problem:
        raise ConfigurationError(key, problem)
    return str(value)


def check_address(key: str, value: object) -> str:
    """Accept `host:port`."""
    name, _, port = check_text(key, value).rpartition(":")
    if not name or "/" in name or not port.isascii() or not port.isdigit():
        raise ConfigurationError(
            key, f"must be host:port, as in '127.0.0.1:8123', not {value!r}."
        )
    return str(value)


def check_auth(key: str, value: object) -> str:
    """Accept "any", "all" or a dotted path. Nothing is imported."""
    is_path = isinstance(value, str) and "." in value
    if not is_path and value not in ("any", "all"):
        raise ConfigurationError(
            key,
            "must be 'any', 'all' or the dotted path of an Authenticator, "
            f"not {value!r}.",
        )
    return str(value)


def check_boolean(key: str, value: object) -> bool:
    """Accept True or False."""
    if not isinstance(value, bool):
        raise ConfigurationError(key, f"must be True or False, not {value!r}.")
    return value


def check_deadline(key: str, value: object) -> timedelta:
    """Accept a dispatch deadline, from 15 seconds to 30 minutes."""
    problem = find_deadline_problem(value)
    if problem or not isinstance(value, timedelta):
        raise ConfigurationError(key, problem or "")
    return value


def check_timeout(key: str, value: object) -> timedelta:
    """Accept a positive timedelta."""
    if not isinstance(value, timedelta) or not timedelta(0) < value:
        raise ConfigurationError(key, f"must be a positive timedelta, not {value!r}.")
    return value


def check_positive(key: str, value: object) -> int:
    """Accept a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(
            key, f"must be a whole number of at least 1, not {value!r}."
        )
    return value


def check_mapping(key: str, value: object) -> Mapping[Any, Any]:
    """Accept a dictionary of anything."""
    if not isinstance(value, Mapping):
        raise ConfigurationError(key, f"must be a dictionary, not {value!r}.")
    return value


def check_params(key: str, value: object) -> Mapping[str, Any]:
    """Accept keyword arguments."""
    # Not shown: a credential may be among them.
    if not isinstance(value, Mapping) or not all(isinstance(n, str) for n in value):
        raise ConfigurationError(key, "must be a dictionary of arguments by name.")
    return value


def accept_anything(key: str, value: object) -> object:
    """Accept any value: it is looked at where it is used."""
    return value
