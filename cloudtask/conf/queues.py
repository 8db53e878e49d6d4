"""What settings say of queues: their names, their rates, their retries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from cloudtask.conf.values import check_mapping, check_name, check_text
from cloudtask.exceptions import ConfigurationError, InvalidTask
from cloudtask.wire import naming
from cloudtask.wire.retry import RetryPolicy

check_queue_name = check_name(
    "queue name: 1 to 100 letters, digits or hyphens", naming.is_queue_name
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueConfig:
    """A queue as declared in QUEUES. A field left out is Google's default."""

    max_dispatches_per_second: float | None = None
    max_concurrent_dispatches: int | None = None
    retry: RetryPolicy | None = None


def check_retry(key: str, value: object) -> RetryPolicy:
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
                key, f"{name!r} is not a field. Known: {', '.join(sorted(known))}."
            )
    try:
        return RetryPolicy(**value)
    except InvalidTask as error:
        raise ConfigurationError(key, str(error)) from None


def check_priority_queues(key: str, value: object) -> Mapping[int, str]:
    bands = check_mapping(key, value)
    for priority in bands:
        if isinstance(priority, bool) or not isinstance(priority, int):
            raise ConfigurationError(
                key, f"the priority {priority!r} must be a whole number."
            )
    return {p: check_queue_name(key, queue) for p, queue in bands.items()}


def check_queue_aliases(key: str, value: object) -> Mapping[str, str]:
    aliases = check_mapping(key, value)
    return {
        check_text(key, a): check_queue_name(key, queue) for a, queue in aliases.items()
    }


def check_queues(key: str, value: object) -> Mapping[str, QueueConfig]:
    return {
        check_queue_name(key, name): _check_queue(key, name, config)
        for name, config in check_mapping(key, value).items()
    }


def _check_queue(key: str, name: str, config: object) -> QueueConfig:
    options = dict(check_mapping(key, config))
    known = [f.name for f in fields(QueueConfig)]
    for option, value in options.items():
        if option not in known:
            raise ConfigurationError(
                key,
                f"queue {name!r}: {option!r} is not a field. "
                f"Known: {', '.join(known)}.",
            )
        if option == "retry":
            options[option] = check_retry(key, value)
        elif isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ConfigurationError(
                key, f"queue {name!r}: {option!r} must be a number, not {value!r}."
            )
    return QueueConfig(**options)
