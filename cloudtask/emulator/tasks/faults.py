"""
Faults on request: what is to go wrong, for tests of other people's code.

A fault is a rule that matches dispatches or API calls. Each match uses it up
by one, and with the same seed and the same questions the same things go wrong.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from datetime import timedelta
from difflib import get_close_matches
from fnmatch import fnmatchcase
from random import Random
from typing import TYPE_CHECKING, Any, Literal, Self, TypeGuard, get_args

from google.rpc import code_pb2

from cloudtask.emulator.tasks import names
from cloudtask.emulator.tasks.limits import RETENTION
from cloudtask.emulator.values import instants, locations
from cloudtask.emulator.values.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

DispatchFaultKind = Literal[
    "duplicate",  # Sent twice at the same time.
    "delay",  # Held back for some time.
    "reorder",  # Held back until another task of the queue was sent.
    "timeout",  # Sent; counts as past its deadline, whatever comes back.
    "drop_answer",  # Sent, and the answer is lost.
    "unreachable",  # Not sent, there is no answer.
]
ApiFaultKind = Literal[
    "unavailable",  # UNAVAILABLE, nothing is done.
    "deadline_exceeded",  # DEADLINE_EXCEEDED, nothing is done.
    "executed_then_unavailable",  # Done and kept, but then UNAVAILABLE.
    "executed_then_deadline_exceeded",  # Done and kept, DEADLINE_EXCEEDED.
]
FaultKind = DispatchFaultKind | ApiFaultKind

DISPATCH_KINDS: tuple[str, ...] = get_args(DispatchFaultKind)
API_KINDS: tuple[str, ...] = get_args(ApiFaultKind)
#: The longest delay.
MAX_DELAY = timedelta(microseconds=RETENTION)

_KINDS = DISPATCH_KINDS + API_KINDS
# How a task is sent; "delay" and "reorder" are about when.
_SENDING_KINDS = ("duplicate", "timeout", "drop_answer", "unreachable")
_CODES = {
    "unavailable": code_pb2.UNAVAILABLE,
    "deadline_exceeded": code_pb2.DEADLINE_EXCEEDED,
}
_EXECUTED = "executed_then_"


@dataclass(frozen=True, slots=True)
class Fault:
    """
    Something that is to go wrong.

    Attributes:
        kind: What happens, see DispatchFaultKind and ApiFaultKind.
        queue: Only in this queue, by id or full path.
        task: Only to tasks whose id matches this pattern, such as `mail-*`. Of
            calls these are the ones that name a task: get, delete and run.
        method: Only calls of this method, such as `CreateTask`.
        times: How often in all; None means until it is removed.
        skip: How many matches go well before.
        probability: How likely a match is to go wrong, above 0 and at most 1.
        delay: How long a "delay" holds a task back, at most MAX_DELAY.
        id: Given by Faults.add().

    Raises:
        ValueError: A value is not valid; the message names it.
    """

    kind: FaultKind
    queue: str | None = None
    task: str | None = None
    method: str | None = None
    times: int | None = 1
    skip: int = 0
    probability: float = 1.0
    delay: timedelta | None = None
    id: int = 0

    def __post_init__(self) -> None:
        _check_kind(self.kind)
        _check_queue(self.queue)
        _check_text("task", self.task, "a pattern of task ids such as 'mail-*'")
        _check_text("method", self.method, "a method such as 'CreateTask'")
        if self.method is not None and self.kind in DISPATCH_KINDS:
            raise ValueError(
                f"method={self.method!r}: kind {self.kind!r} is about dispatches and "
                "takes no method."
            )
        if self.times is not None:
            _check_count("times", self.times, least=1, otherwise=" or None")
        _check_count("skip", self.skip, least=0)
        _check_probability(self.probability)
        _check_delay(self.kind, self.delay)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """
        Return the fault that JSON describes, `delay` being in seconds.

        Raises:
            ValueError: A key or a value is not valid; the message names it.
        """
        known = [each.name for each in fields(cls) if each.name != "id"]
        for key in values:
            if key not in known:
                raise ValueError(
                    f"{key!r} is not a part of a fault.{_hint(key, known)}"
                )
        if "kind" not in values:
            raise ValueError(f"kind is missing. It is one of {_join(_KINDS)}.")
        delay = values.get("delay")
        return cls(**{**values, "delay": None if delay is None else _seconds(delay)})

    def to_dict(self) -> dict[str, Any]:
        """Return this fault for JSON, `delay` being in seconds."""
        delay = None if self.delay is None else self.delay.total_seconds()
        return {**asdict(self), "delay": delay}

    @property
    def executes(self) -> bool:
        """Whether the call is carried out nevertheless."""
        return self.kind.startswith(_EXECUTED)

    def error(self) -> ApiError:
        """Return what the caller of the API gets."""
        code = _CODES[self.kind.removeprefix(_EXECUTED)]
        return ApiError(code, f"fault: {self.kind}")

    def concerns(self, queue_path: str, task_id: str) -> bool:
        """Whether queue and task are among those that this is about."""
        queue_id = queue_path.partition("/queues/")[2]
        if self.queue not in (None, queue_path, queue_id):
            return False
        return self.task is None or fnmatchcase(task_id, self.task)


class Faults:
    """
    What is to go wrong, in the order it was asked for.

    Of several faults that match, the oldest happens.

    Args:
        seed: Of the random numbers for probabilities.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._faults: dict[int, Fault] = {}
        self._last_id = 0
        self._random = Random(seed)  # noqa: S311 - to be repeated, not secret

    def __iter__(self) -> Iterator[Fault]:
        """Yield what is left of every fault: `times` and `skip` count down."""
        return iter(list(self._faults.values()))

    def add(self, fault: Fault) -> Fault:
        """Let a fault happen from now on, and return it with its id."""
        self._last_id += 1
        added = replace(fault, id=self._last_id)
        self._faults[added.id] = added
        return added

    def remove(self, fault_id: int) -> bool:
        """Remove a fault, and tell whether there was one of this id."""
        return self._faults.pop(fault_id, None) is not None

    def clear(self) -> None:
        """Remove all faults; the random numbers start again."""
        self._faults.clear()
        self._random.seed(self._seed)

    def delay(self, queue_path: str, task_id: str) -> int:
        """Return for how long a due task is held back, in microseconds."""
        fault = self._match({"delay"}, queue_path, task_id)
        if fault is None or fault.delay is None:
            return 0
        return instants.from_timedelta(fault.delay)

    def reorders(self, queue_path: str, task_id: str) -> bool:
        """Whether a due task has to wait for another one of its queue."""
        return self._match({"reorder"}, queue_path, task_id) is not None

    def for_dispatch(self, queue_path: str, task_id: str) -> Fault | None:
        """Return what goes wrong with sending a task, None if nothing."""
        return self._match(_SENDING_KINDS, queue_path, task_id)

    def for_call(self, method: str, resource: str) -> Fault | None:
        """
        Return what goes wrong with a call of the API, None if nothing.

        Args:
            method: Such as `CreateTask`.
            resource: What it is about: a location, a queue or a task.
        """
        queue_path, _, task_id = resource.partition("/tasks/")
        return self._match(API_KINDS, queue_path, task_id, method)

    def _match(
        self, kinds: Collection[str], queue_path: str, task_id: str, method: str = ""
    ) -> Fault | None:
        for fault in self:
            if (
                fault.kind in kinds
                and fault.method in (None, method or None)
                and fault.concerns(queue_path, task_id)
                and self._happens(fault)
            ):
                return fault
        return None

    def _happens(self, fault: Fault) -> bool:
        if fault.skip:
            self._faults[fault.id] = replace(fault, skip=fault.skip - 1)
            return False
        if self._random.random() >= fault.probability:
            return False
        if fault.times == 1:
            del self._faults[fault.id]
        elif fault.times is not None:
            self._faults[fault.id] = replace(fault, times=fault.times - 1)
        return True


def _check_kind(kind: object) -> None:
    if kind not in _KINDS:
        raise ValueError(
            f"kind={kind!r} is not one of {_join(_KINDS)}.{_hint(str(kind), _KINDS)}"
        )


def _check_queue(queue: object) -> None:
    if queue is None or (isinstance(queue, str) and _names_queue(queue)):
        return
    raise ValueError(
        f"queue={queue!r} must be the id of a queue or projects/P/locations/L/queues/Q."
    )


def _names_queue(text: str) -> bool:
    location, _, queue_id = text.rpartition("/queues/")
    is_in_place = text == queue_id or locations.is_location_path(location)
    return is_in_place and names.is_queue_id(queue_id)


def _check_text(name: str, value: object, right: str) -> None:
    if value is not None and not (isinstance(value, str) and value):
        raise ValueError(f"{name}={value!r} must be {right}.")


def _check_count(name: str, value: object, least: int, otherwise: str = "") -> None:
    if type(value) is not int or value < least:
        raise ValueError(
            f"{name}={value!r} must be a whole number from {least}{otherwise}."
        )


def _check_probability(value: object) -> None:
    if not _is_number(value) or not 0 < value <= 1:
        raise ValueError(f"probability={value!r} must be above 0 and at most 1.")


def _check_delay(kind: str, delay: object) -> None:
    if kind != "delay":
        if delay is not None:
            raise ValueError(f"delay={delay!r} is allowed only with kind 'delay'.")
    elif not isinstance(delay, timedelta) or not timedelta(0) < delay <= MAX_DELAY:
        raise ValueError(
            f"delay={delay!r} must be more than 0 and at most {MAX_DELAY.days} days."
        )


def _seconds(value: object) -> timedelta:
    try:
        if _is_number(value):
            return timedelta(seconds=value)
    except (OverflowError, ValueError):
        pass
    raise ValueError(f"delay={value!r} must be a number of seconds.")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _hint(given: str, known: Collection[str]) -> str:
    nearest = get_close_matches(given, known, n=1)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""


def _join(words: Collection[str]) -> str:
    return ", ".join(words)
