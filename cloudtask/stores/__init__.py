"""
Where it is kept what becomes of tasks.

Without the app `cloudtask.results` nowhere: the null store lets every attempt
run and keeps nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from cloudtask.wire.request import Hold

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime

    from cloudtask.conf import Settings
    from cloudtask.wire.outgoing import OutgoingTask
    from cloudtask.wire.payload import Payload
    from cloudtask.wire.request import CloudTaskRequest


class Standing(StrEnum):
    """How a task stands when an attempt asks to run it."""

    FREE = "free"  # It is the attempt's.
    BUSY = "busy"  # Another worker has it.
    FINISHED = "finished"  # It has succeeded, failed or was cancelled.


@dataclass(frozen=True, slots=True, kw_only=True)
class Rearming:
    """When a task is to be dispatched anew, by another Cloud Task."""

    at: datetime | None  # Aware; None is when it was due before.
    attempts: int  # How many count as made.
    has_begun: bool = True  # Whether the function was called this time.


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an attempt ended."""

    succeeded: bool = False
    final: bool = True  # Whether no other attempt follows.
    value: Any = None  # What the function returned.
    error: BaseException | None = None
    rearming: Rearming | None = None  # Only where it is not final.


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredError:
    """What an attempt raised. Texts: nothing of it is ever imported."""

    attempt: int
    type: str  # Dotted path.
    message: str
    traceback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResult:
    """What is known of a task, at the moment when the store was asked."""

    payload: Payload
    queue: str
    name: str | None  # Full resource name; None until it is sent.
    status: str  # READY, RUNNING, SUCCESSFUL or FAILED.
    attempt: int  # The latest one; 0 before the first.
    worker_id: str
    trace_id: str | None  # Of the latest attempt.
    enqueued_at: datetime
    started_at: datetime | None
    last_attempted_at: datetime | None
    finished_at: datetime | None
    cancelled_at: datetime | None
    value: Any
    is_value_dropped: bool
    progress: Progress | None
    errors: tuple[StoredError, ...]

    @property
    def is_finished(self) -> bool:
        """Whether the task is over: it has succeeded or failed."""
        return self.status in ("SUCCESSFUL", "FAILED")

    @property
    def return_value(self) -> Any:
        """
        What the task returned.

        Raises:
            ValueError: It has failed, has not finished, or returned what
                cannot be stored.
        """
        if not self.is_finished:
            raise ValueError("The task has not finished yet.")
        if self.status == "FAILED":
            raise ValueError("The task has failed.")
        if self.is_value_dropped:
            raise ValueError("The task returned what cannot be stored.")
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a task is, as it says itself."""

    done: int
    total: int | None
    message: str


class Claim(Hold):
    """One attempt's hold on a task. This one holds nothing."""

    standing = Standing.FREE
    #: Whether it can end with a Rearming.
    can_rearm = False

    def end(self, ending: Ending) -> bool:
        """
        Keep how the attempt ended, and let go of the task.

        Returns:
            False if another worker has it: nothing was kept.

        Raises:
            StoreUnavailable: The store cannot be reached.
        """
        return True


class ResultStore:
    """Keeps nothing. A store that does derives from it."""

    #: Whether what is added will be sent in the end, come what may.
    keeps = False
    #: Bytes by which a task may grow when it is sent once more.
    spare_bytes = 0

    def alias(self) -> str | None:
        """Alias of the database that add() writes to; None if it does not."""
        return None

    def add(self, payload: Payload, task: OutgoingTask) -> None:
        """Keep a task that is to be sent."""

    def select_unsent(self, ids: Collection[str]) -> Collection[str]:
        """Those of these tasks that are committed and to be sent."""
        return ()

    def note_sent(self, names: Mapping[str, str]) -> None:
        """Note that Cloud Tasks has tasks: their full names by their ids."""

    def drop(self, payload: Payload) -> None:
        """Forget a task that was refused."""

    def find(self, id: str) -> StoredResult | None:  # noqa: A002
        """What is known of a task; None if nothing is."""
        return None

    def claim(self, payload: Payload, request: CloudTaskRequest) -> Claim:
        """
        Take hold of a task, if nobody else has it and it is not over.

        Raises:
            InvalidCredentials: The id is another task's.
            StoreUnavailable: The store cannot be reached.
        """
        return NO_CLAIM


NO_CLAIM = Claim()
NO_STORE = ResultStore()


def _choose_none(settings: Settings) -> ResultStore:
    return NO_STORE


_choose: Callable[[Settings], ResultStore] = _choose_none


def register(choose: Callable[[Settings], ResultStore]) -> None:
    """
    Have the stores of an app used.

    Args:
        choose: Which of them settings ask for.
    """
    global _choose
    _choose = choose


def get_store(settings: Settings) -> ResultStore:
    """The store that these settings ask for."""
    return _choose(settings)
