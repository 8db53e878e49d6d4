"""Group commit: what one turn of the loop does is kept by one commit."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from typing import TYPE_CHECKING, Protocol, TypeVar

from cloudtask.emulator.values.errors import ApiError, store_failed

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("cloudtask.emulator")

T = TypeVar("T")


# Where several wait, the next commit is put off for this many times as long as
# one takes, so that more can share it. A single caller never waits for others.
_LINGER_FACTOR = 4
_LONGEST_LINGER_SECONDS = 0.005


class State(Protocol):
    """What a service keeps: it is committed or undone as a whole."""

    @property
    def is_dirty(self) -> bool:
        """Whether anything was done that is not kept yet."""
        ...

    def commit(self) -> None:
        """Keep what was done, or raise sqlite3.Error."""
        ...

    def rollback(self) -> None:
        """Undo everything since the last commit."""
        ...


class States:
    """Several services that keep what they have in one file."""

    def __init__(self, *states: State) -> None:
        self._states = states

    @property
    def is_dirty(self) -> bool:
        """Whether anything was done that is not kept yet."""
        return any(state.is_dirty for state in self._states)

    def commit(self) -> None:
        """Keep what was done, or raise sqlite3.Error."""
        # The first commits the file, and all learn of it.
        for state in self._states:
            state.commit()

    def rollback(self) -> None:
        """Undo everything since the last commit."""
        for state in self._states:
            state.rollback()


class Commits:
    """
    Runs actions on a state, and knows when what they did is on disk.

    All of it on one event loop. If the store cannot be written, everything
    since the last commit is undone, and all who wait for it get an error.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._group: asyncio.Future[None] | None = None
        self._waiting = 0
        self._linger_seconds = 0.0

    async def run(self, action: Callable[[], T]) -> T:
        """
        Run an action on the state; return its result once that is kept.

        Raises:
            ApiError: The action's own, once what it did is kept; or the store
                cannot be written, and nothing of it is kept.
        """
        try:
            return action()
        except sqlite3.Error as error:
            raise self._undo(error) from error
        finally:
            await self.wait_until_kept()

    async def wait_until_kept(self) -> None:
        """
        Return once everything that was done is on disk.

        Raises:
            ApiError: The store cannot be written.
        """
        if self._group is None:
            if not self._state.is_dirty:
                return
            loop = asyncio.get_running_loop()
            self._group = loop.create_future()
            self._waiting = 0
            loop.call_later(self._linger_seconds, self._commit)
        self._waiting += 1
        # A caller that gives up must not cancel the wait of the others.
        await asyncio.shield(self._group)

    def commit(self) -> None:
        """Keep everything now, since the loop is about to end."""
        try:
            self._state.commit()
        except sqlite3.Error as error:
            self._undo(error)

    def _commit(self) -> None:
        group = self._group
        if group is None:  # Undone meanwhile.
            return
        begun = time.perf_counter()
        self.commit()
        self._linger(time.perf_counter() - begun)
        if self._group is group:
            self._group = None
            group.set_result(None)

    def _linger(self, commit_seconds: float) -> None:
        wanted = _LINGER_FACTOR * commit_seconds if self._waiting > 1 else 0
        self._linger_seconds = min(wanted, _LONGEST_LINGER_SECONDS)

    def _undo(self, error: sqlite3.Error) -> ApiError:
        logger.error("the store cannot be written: %s", error)
        self._state.rollback()
        refusal = store_failed(str(error))
        group, self._group = self._group, None
        if group is not None:
            group.set_exception(refusal)
            group.exception()  # Whoever waited may be gone.
        return refusal
