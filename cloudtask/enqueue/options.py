"""What `@task(...)` takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from cloudtask.exceptions import InvalidTask
from cloudtask.wire import naming
from cloudtask.wire.headers import MAX_HEADER_BYTES, find_header_problem
from cloudtask.wire.payload import MAX_PATH_LENGTH
from cloudtask.wire.retry import RetryPolicy
from cloudtask.wire.stored_size import count_header_bytes
from cloudtask.wire.task_fields import find_deadline_problem, find_url_problem

if TYPE_CHECKING:
    from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """What `@task(...)` takes. A field left out is the setting's."""

    queue: str | None = None  # Queue name, or an alias of QUEUE_ALIASES.
    url: str | None = None  # Target in place of CLOUDTASK['URL'].
    named: bool | str | Callable[..., str] = False  # Refuse duplicates.
    headers: Mapping[str, str] | None = None  # Sent with every dispatch.
    deadline: timedelta | None = None  # For one attempt; 15 s to 30 min.
    retry: RetryPolicy | None = None
    priority: int = 0  # Chooses a queue of PRIORITY_QUEUES.
    on_commit: bool | None = None  # Wait for the transaction's commit.
    path: str | None = None  # Registered path; the function's by default.
    aliases: tuple[str, ...] = ()  # Former paths, still in payloads.
    run_once: bool = False  # In place of a policy: never a second time.
    sensitive: tuple[str, ...] = ()  # Arguments whose values nobody sees.
    cron: str | None = None  # When it is run, again and again.
    timezone: str | None = None  # That of `cron`.
    schedulable: bool = False  # Whether people may schedule it.


_DEFAULTS = TaskOptions()
#: What options must be, for those that are not looked at more closely.
_KINDS: Mapping[str, tuple[Any, str]] = {
    "queue": (str, "the name or alias of a queue"),
    "named": ((bool, str, Callable), "True, an id, or a callable that returns one"),
    "headers": (Mapping, "a dictionary"),
    "retry": (RetryPolicy, "a RetryPolicy"),
    "priority": (int, "a whole number"),
    "on_commit": (bool, "True, False or None"),
    "path": (str, "a dotted path"),
    "aliases": ((tuple, list), "a tuple of dotted paths"),
    "run_once": (bool, "True or False"),
    "sensitive": ((tuple, list), "a tuple of the names of arguments"),
    "schedulable": (bool, "True or False"),
}


def check_options(path: str, options: TaskOptions) -> None:
    """
    Check what the decorator of a task was given.

    Args:
        path: The task's, for the message.
        options: What to check.

    Raises:
        InvalidTask: An option is wrong, or two contradict each other.
    """
    _check_kinds(path, options)
    _check_paths(path, options)
    if options.url is not None:
        check_url(path, options.url)
    if isinstance(options.named, str):
        naming.check_key(path, options.named)
    if options.deadline is not None:
        _check(path, "deadline", find_deadline_problem(options.deadline))
    _check_pairs(path, options)
    _check_headers(path, options.headers or {})


def read_options(options: Mapping[str, Any]) -> TaskOptions:
    """
    Read the keyword arguments of the decorator.

    Raises:
        TypeError: There is no such option.
    """
    known = [f.name for f in fields(TaskOptions)]
    for name in options:
        if name not in known:
            raise TypeError(
                f"task() has no option {name!r}. It has {', '.join(known)}."
            )
    return TaskOptions(**options)


def check_url(path: str, url: object) -> None:
    """
    Check the target of a task.

    Args:
        path: The task's, for the message.
        url: What to check.

    Raises:
        InvalidTask: No task can be dispatched to it.
    """
    _check(path, "the URL", find_url_problem(url))


def _check_kinds(path: str, options: TaskOptions) -> None:
    for option, (kind, words) in _KINDS.items():
        value = getattr(options, option)
        # By identity: 0 equals False, and is neither a name nor a choice.
        is_default = value is getattr(_DEFAULTS, option)
        if not is_default and not _is_a(kind, value):
            raise InvalidTask(f"{path}: {option}= must be {words}, not {value!r}.")


def _is_a(kind: Any, value: object) -> bool:
    is_misplaced_bool = isinstance(value, bool) and kind is int
    return isinstance(value, kind) and not is_misplaced_bool


def _check_paths(path: str, options: TaskOptions) -> None:
    for name in (options.path, *options.aliases):
        if name is not None:
            _check(path, f"the path {name!r}", _find_path_problem(name))


def _find_path_problem(path: object) -> str | None:
    if not isinstance(path, str) or not 0 < len(path) <= MAX_PATH_LENGTH:
        return f"must be a string of 1 to {MAX_PATH_LENGTH} characters."
    if not path.isprintable() or " " in path:
        return "must have neither spaces nor control characters."
    return None


def _check_pairs(path: str, options: TaskOptions) -> None:
    """Refuse options that contradict each other."""
    if options.priority and options.queue:
        raise InvalidTask(
            f"{path}: priority= chooses the queue; leave queue= out, or the priority."
        )
    if options.timezone is not None and options.cron is None:
        raise InvalidTask(f"{path}: timezone= is that of cron=, which is missing.")
    if options.run_once and options.retry is not None:
        raise InvalidTask(f"{path}: run_once= contradicts retry=: leave one out.")


def _check_headers(path: str, headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        _check(path, f"header {name!r}", find_header_problem(name, value))
    size = sum(count_header_bytes(name, value) for name, value in headers.items())
    if size > MAX_HEADER_BYTES:
        raise InvalidTask(
            f"{path}: its headers have {size} bytes; {MAX_HEADER_BYTES} are allowed."
        )


def _check(path: str, subject: str, problem: str | None) -> None:
    if problem is not None:
        raise InvalidTask(f"{path}: {subject} {problem}")
