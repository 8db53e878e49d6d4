"""Following what the emulator dispatches."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING

from shop.models import Event

if TYPE_CHECKING:
    from cloudtask.emulator import Attempt
    from demonstration.screen import Screen
    from demonstration.services import Deadline

#: Seconds between two updates of the progress line.
_TICK = 0.1


class Watch:
    """
    The attempts that the emulator recorded, written as they come.

    Args:
        incoming: Where the emulator's `on_attempt` puts them.
        screen: Where they are written.
        deadline: When nobody waits for another one.
    """

    def __init__(
        self,
        incoming: queue.SimpleQueue[Attempt],
        screen: Screen,
        deadline: Deadline,
    ) -> None:
        self._incoming = incoming
        self._screen = screen
        self._deadline = deadline
        self.attempts: list[Attempt] = []

    def of(self, name: str | None) -> list[Attempt]:
        """The attempts of the task with this full name."""
        return [attempt for attempt in self.attempts if attempt.name == name]

    def has_ended(self, name: str) -> bool:
        return any(attempt.outcome != "retry" for attempt in self.of(name))

    def until_ended(self, tasks: dict[str, str]) -> None:
        """
        Write attempts until none of the tasks has another one to come.

        Args:
            tasks: What to call each task, by its full name.

        Raises:
            TimeoutError: The deadline passed before.
        """
        while waiting := [tasks[name] for name in tasks if not self.has_ended(name)]:
            if self._deadline.left == 0:
                raise TimeoutError(f"still waiting for {', '.join(waiting)}")
            self._screen.progress(
                f"  waiting for {', '.join(waiting)} ({self._deadline.elapsed:.1f} s)"
            )
            self.next(min(_TICK, self._deadline.left))

    def catch_up(self) -> None:
        """Take in all attempts, and write those that left a note."""
        while not self._incoming.empty():
            attempt = self._incoming.get()
            self.attempts.append(attempt)
            if _find_note(attempt) is not None:
                self._screen.line(_describe(attempt))

    def next(self, timeout: float) -> None:
        """Take in and write one attempt, if there is one within the time."""
        try:
            attempt = self._incoming.get(timeout=timeout)
        except queue.Empty:
            return
        self.attempts.append(attempt)
        self._screen.line(_describe(attempt))


def _find_note(attempt: Attempt) -> Event | None:
    # The task wrote it down before its answer left, once with each attempt.
    notes = Event.objects.filter(task_name=attempt.task_id)
    return notes[attempt.number - 1 : attempt.number].first()


def _describe(attempt: Attempt) -> str:
    event = _find_note(attempt)
    task = event.task if event else attempt.task_id
    text = event.text if event else "left no note"
    # A task that was sent anew counts on.
    number = event.attempt if event else attempt.number
    answer = f"HTTP {attempt.status}" if attempt.status else f"{attempt.error}"
    return f"  ->       {task:<14}  attempt {number}  {answer}  {text}"
