"""What the value of each setting must be, and of a task's options alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from cloudtask.exceptions import ConfigurationError, InvalidTask
from cloudtask.wire import naming
from cloudtask.wire.limits import MAX_DEADLINE, MAX_URL_LENGTH, MIN_DEADLINE
from cloudtask.wire.retry import RetryPolicy

#: Range of a lease: a shorter one is lost in a pause, and a longer one keeps
#: the task of a dead worker waiting.
MIN_LEASE, MAX_LEASE = timedelta(seconds=5), timedelta(minutes=10)
#: The least for which what is known of a task is kept.
MIN_AGE = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueConfig:
    """A queue as declared in QUEUES. A field left out is Google's default."""

    max_dispatches_per_second: float | None = None
    max_concurrent_dispatches: int | None = None
    retry: RetryPolicy | None = None


def deadline_problem(value: object) -> str | None:
    """What is wrong with a dispatch deadline, or None."""
    if isinstance(value, timedelta) and MIN_DEADLINE <= value <= MAX_DEADLINE:
        return None
    return f"must be a timedelta from 15 seconds to 30 minutes, not {value!r}."


def url_problem(value: object) -> str | None:
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


def _text(key: str, value: object) -> str:
    if not isinstance(value, str) or not value or value != value.strip():
        raise ConfigurationError(key, f"must be a non-empty string, not {value!r}.")
    return value


def _named(kind: str, is_valid: Callable[[str], bool]) -> Callable[[str, object], str]:
    def check(key: str, value: object) -> str:
        if not is_valid(_text(key, value)):
            raise ConfigurationError(key, f"{value!r} is no {kind}.")
        return str(value)

    return check


_queue_name = _named(
    "queue name: 1 to 100 letters, digits or hyphens", naming.is_queue_name
)


def _secret(key: str, value: object) -> str:
    # A secret is never shown, so a wrong one is not either.
    if not isinstance(value, str) or not value or value != value.strip():
        raise ConfigurationError(key, "must be a non-empty string without spaces.")
    if not value.isascii() or not value.isprintable():
        raise ConfigurationError(
            key, "is sent as an HTTP header: only printable ASCII characters."
        )
    return value


def _several(check: Callable[[str, object], str]) -> Callable[..., tuple[str, ...]]:
    def check_all(key: str, value: object) -> tuple[str, ...]:
        if not isinstance(value, (list, tuple)):
            raise ConfigurationError(key, "must be a list of strings.")
        return tuple(check(key, item) for item in value)

    return check_all


def _secrets(key: str, value: object) -> tuple[str, ...]:
    secrets = _several(_secret)(key, value)
    if not secrets:
        raise ConfigurationError(key, "must have at least one key, or be left out.")
    return secrets


def _audience(key: str, value: object) -> tuple[str, ...]:
    audiences = _several(_text)(key, [value] if isinstance(value, str) else value)
    if not audiences:
        raise ConfigurationError(key, "must name at least one audience.")
    return audiences


def _email(key: str, value: object) -> str:
    text = _text(key, value)
    if text.count("@") != 1 or text.startswith("@") or text.endswith("@"):
        raise ConfigurationError(
            key, f"must be a service account's e-mail address, not {value!r}."
        )
    return text


def _url(key: str, value: object) -> str:
    problem = url_problem(value)
    if problem:
        raise ConfigurationError(key, problem)
    return str(value)


def address(key: str, value: object) -> str:
    name, _, port = _text(key, value).rpartition(":")
    if not name or "/" in name or not port.isascii() or not port.isdigit():
        raise ConfigurationError(
            key, f"must be host:port, as in '127.0.0.1:8123', not {value!r}."
        )
    return str(value)


def _auth(key: str, value: object) -> str:
    is_path = isinstance(value, str) and "." in value
    if not is_path and value not in ("any", "all"):
        raise ConfigurationError(
            key,
            "must be 'any', 'all' or the dotted path of an Authenticator, "
            f"not {value!r}.",
        )
    return str(value)


def _results(key: str, value: object) -> str:
    if value not in ("all", "errors", "none"):
        raise ConfigurationError(
            key, f"must be 'all', 'errors' or 'none', not {value!r}."
        )
    return str(value)


def _boolean(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(key, f"must be True or False, not {value!r}.")
    return value


def _deadline(key: str, value: object) -> timedelta:
    problem = deadline_problem(value)
    if problem or not isinstance(value, timedelta):
        raise ConfigurationError(key, problem or "")
    return value


def _timeout(key: str, value: object) -> timedelta:
    if not isinstance(value, timedelta) or not timedelta(0) < value:
        raise ConfigurationError(key, f"must be a positive timedelta, not {value!r}.")
    return value


def _lease(key: str, value: object) -> timedelta:
    if not isinstance(value, timedelta) or not MIN_LEASE <= value <= MAX_LEASE:
        raise ConfigurationError(
            key, f"must be a timedelta from 5 seconds to 10 minutes, not {value!r}."
        )
    return value


def _age(key: str, value: object) -> timedelta:
    if not isinstance(value, timedelta) or value < MIN_AGE:
        raise ConfigurationError(
            key, f"must be a timedelta of an hour or more, not {value!r}."
        )
    return value


def _positive(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(
            key, f"must be a whole number of at least 1, not {value!r}."
        )
    return value


def _retry(key: str, value: object) -> RetryPolicy:
    if isinstance(value, RetryPolicy):
        return value
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            key, f"must be a RetryPolicy or a dictionary of its fields, not {value!r}."
        )
    known = {f.name for f in fields(RetryPolicy)}
    for name in value:
        if name not in known:
            raise ConfigurationError(
                key, f"{name!r} is no field. Known: {', '.join(sorted(known))}."
            )
    try:
        return RetryPolicy(**value)
    except InvalidTask as error:
        raise ConfigurationError(key, str(error)) from None


def _mapping(key: str, value: object) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(key, f"must be a dictionary, not {value!r}.")
    return value


def _params(key: str, value: object) -> Mapping[str, Any]:
    # Not shown: a credential may be among them.
    if not isinstance(value, Mapping) or not all(isinstance(n, str) for n in value):
        raise ConfigurationError(key, "must be a dictionary of arguments by name.")
    return value


def _priority_queues(key: str, value: object) -> Mapping[int, str]:
    bands = _mapping(key, value)
    for priority in bands:
        if isinstance(priority, bool) or not isinstance(priority, int):
            raise ConfigurationError(
                key, f"the priority {priority!r} must be a whole number."
            )
    return {p: _queue_name(key, queue) for p, queue in bands.items()}


def _queue_aliases(key: str, value: object) -> Mapping[str, str]:
    aliases = _mapping(key, value)
    return {_text(key, a): _queue_name(key, queue) for a, queue in aliases.items()}


def _queues(key: str, value: object) -> Mapping[str, QueueConfig]:
    return {
        _queue_name(key, name): _queue_config(key, name, config)
        for name, config in _mapping(key, value).items()
    }


def _queue_config(key: str, name: str, config: object) -> QueueConfig:
    options = dict(_mapping(key, config))
    known = [f.name for f in fields(QueueConfig)]
    for option, value in options.items():
        if option not in known:
            raise ConfigurationError(
                key,
                f"queue {name!r}: {option!r} is no field. Known: {', '.join(known)}.",
            )
        if option == "retry":
            options[option] = _retry(key, value)
        elif isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ConfigurationError(
                key, f"queue {name!r}: {option!r} must be a number, not {value!r}."
            )
    return QueueConfig(**options)


def _anything(key: str, value: object) -> object:
    return value


#: Every key, and what its value must be.
CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "PROJECT": _named("project id", naming.is_project),
    "LOCATION": _named("region, as in 'europe-west1'", naming.is_location),
    "SAE": _email,
    "URL": _url,
    "QUEUE": _queue_name,
    "SECRET": _secret,
    "SECRET_FALLBACKS": _several(_secret),
    "SIGN": _boolean,
    "SIGN_KEYS": _secrets,
    "AUDIENCE": _audience,
    "AUTH": _auth,
    "AUTH_PARAMS": _params,
    "ACCEPTS_TASKS_OF": _several(_text),
    "CREDENTIALS": _anything,
    "EMULATOR_HOST": address,
    "EMULATOR_HTTP_HOST": address,
    "ON_COMMIT": _boolean,
    "DEADLINE": _deadline,
    "RETRY": _retry,
    "RUN_ONCE": _boolean,
    "PRIORITY_QUEUES": _priority_queues,
    "QUEUE_ALIASES": _queue_aliases,
    "QUEUES": _queues,
    "TRANSPORT": _text,
    "RPC_TIMEOUT": _timeout,
    "RESULTS": _results,
    "LEASE": _lease,
    "MAX_ERRORS": _positive,
    "PRUNE_AFTER": _age,
    "PRUNE_FAILED_AFTER": _age,
    "IMPORTS": _several(_text),
}

#: Keys that a task backend's OPTIONS do not take, and why.
PROJECT_WIDE: Mapping[str, str] = {
    "QUEUE": "a Django task always names its queue. Map it with QUEUE_ALIASES.",
    "IMPORTS": "tasks are found once for all backends.",
    "LEASE": "one thread prolongs the leases of all backends.",
    "MAX_ERRORS": "the rows of all backends are kept alike.",
    "PRUNE_AFTER": "the rows of all backends are pruned alike.",
    "PRUNE_FAILED_AFTER": "the rows of all backends are pruned alike.",
}

#: What other packages call these settings, in capitals.
PEERS_KEYS: Mapping[str, str] = {
    "BASE_URL": "URL",
    "CLOUD_TASKS_LOCATION": "LOCATION",
    "CLOUD_TASKS_PROJECT": "PROJECT",
    "DEFAULT_TARGET": "URL",
    "ENQUEUE_ON_COMMIT": "ON_COMMIT",
    "EXECUTE_URL": "URL",
    "OIDC_AUDIENCE": "AUDIENCE",
    "OIDC_SERVICE_ACCOUNT": "SAE",
    "OIDC_SERVICE_ACCOUNT_EMAIL": "SAE",
    "PROJECT_ID": "PROJECT",
    "TASK_HANDLER_HOST": "URL",
    "TASK_HANDLER_PATH": "URL",
    "VIEW_AUTHN": "AUTH",
    "VIEW_AUTHN_PARAMS": "AUTH_PARAMS",
}
