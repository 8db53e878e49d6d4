"""A store that keeps what it is told, for tests of those that tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import connections

from cloudtask import stores
from cloudtask.exceptions import StoreUnavailable
from cloudtask.results.settings import get_results_settings
from cloudtask.stores import (
    NO_STORE,
    Claim,
    Ending,
    ResultStore,
    Standing,
    StoredResult,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from cloudtask.conf import Settings
    from cloudtask.wire.outgoing import OutgoingTask
    from cloudtask.wire.payload import Payload
    from cloudtask.wire.request import CloudTaskRequest


def keep_all_in(store: ResultStore) -> None:
    """Have a store used where RESULTS says "all", as those of an app are."""

    def choose(settings: Settings) -> ResultStore:
        is_asked_for = get_results_settings(settings).results == "all"
        return store if is_asked_for else NO_STORE

    stores.register(choose)


AWAY = "The database of results failed: away"


class FakeClaim(Claim):
    """A hold that notes what it is told, and answers as it is made to."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store
        self.standing = store.standing
        self.can_rearm = store.can_rearm
        self.cancelled = False

    @property
    def is_cancelled(self) -> bool:
        return self.cancelled

    def look(self) -> bool:
        self._store.calls.append(("look",))
        return self.cancelled

    def progress(self, done: int, total: int | None, message: str) -> None:
        self._store.calls.append(("progress", done, total, message))

    def end(self, ending: Ending) -> bool:
        if self._store.is_away_at_the_end:
            raise StoreUnavailable(AWAY)
        self._store.calls.append(("end", ending))
        return self._store.holds


class FakeStore(ResultStore):
    """
    Keeps what it is told, in order.

    Attributes:
        results: What find() knows, by id.
        database: Alias of the one that it is in.
        rolled_back: Ids of tasks that were added, and are not there.
    """

    keeps = True

    def __init__(self, database: str = "default") -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.results: dict[str, StoredResult] = {}
        self.database = database
        self.rolled_back: set[str] = set()
        self.standing = Standing.FREE
        self.can_rearm = False
        self.holds = True  # Whether an attempt has the task still, at its end.
        self.is_away = False
        self.is_away_at_the_end = False
        self.claims: list[FakeClaim] = []

    @property
    def words(self) -> list[str]:
        """The names of what was called."""
        return [call[0] for call in self.calls]

    def alias(self) -> str:
        return self.database

    def add(self, payload: Payload, task: OutgoingTask) -> None:
        # Asked in the thread that has the connection.
        inside = connections[self.database].in_atomic_block
        self.calls.append(("add", payload, task.name, inside))

    def select_unsent(self, ids: Collection[str]) -> Collection[str]:
        self.calls.append(("select_unsent", *ids))
        return [each for each in ids if each not in self.rolled_back]

    def note_sent(self, names: Mapping[str, str]) -> None:
        self.calls.append(("note_sent", dict(names)))

    def drop(self, payload: Payload) -> None:
        self.calls.append(("drop", payload))

    def find(self, id: str) -> StoredResult | None:  # noqa: A002
        return self.results.get(id)

    def claim(self, payload: Payload, request: CloudTaskRequest) -> Claim:
        if self.is_away:
            raise StoreUnavailable(AWAY)
        self.calls.append(("claim", payload, request))
        claim = FakeClaim(self)
        self.claims.append(claim)
        return claim
