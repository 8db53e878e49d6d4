"""Which attempts are under way, and what becomes of them in a rollback."""

from __future__ import annotations

from collections import Counter
from itertools import count
from typing import NamedTuple


class Flight(NamedTuple):
    """An attempt that has no answer yet, by the store's numbers."""

    queue: int
    task: int


class Flights:
    """
    Attempts from take-off to landing.

    The store counts a task's attempts, too. The two agree but for tasks that
    are stranded: their answer came, and was undone in the store.
    """

    def __init__(self) -> None:
        self._serials = count(1)
        self._flights: dict[int, Flight] = {}
        self._stranded: set[int] = set()
        # Since the last commit; of what landed, the tasks.
        self._started: list[int] = []
        self._landed: list[int] = []

    def __len__(self) -> int:
        return len(self._flights)

    def __contains__(self, serial: int) -> bool:
        return serial in self._flights

    @property
    def are_stranded(self) -> bool:
        """Whether any task is stranded."""
        return bool(self._stranded)

    def start(self, flight: Flight) -> int:
        """Add an attempt and return its serial."""
        serial = next(self._serials)
        self._flights[serial] = flight
        self._started.append(serial)
        return serial

    def land(self, serial: int) -> Flight:
        """Remove an attempt whose answer came."""
        flight = self._flights.pop(serial)
        self._landed.append(flight.task)
        return flight

    def commit(self) -> None:
        """Forget what a rollback would have to undo."""
        self._started.clear()
        self._landed.clear()

    def rollback(self) -> None:
        """Forget what started and strand what landed since the commit."""
        for serial in self._started:
            self._flights.pop(serial, None)
        self._stranded.update(self._landed)
        self.commit()

    def clear(self) -> None:
        """Remove all attempts: nobody waits for their answers."""
        for serial in list(self._flights):
            self.land(serial)

    def count_by_queue(self) -> Counter[int]:
        """Return how many attempts of each queue are under way."""
        return Counter(flight.queue for flight in self._flights.values())

    def take_stranded(self) -> dict[int, int]:
        """
        Return how many attempts each stranded task really has.

        They are stranded no more, unless a rollback undoes that, too.
        """
        by_task = Counter(flight.task for flight in self._flights.values())
        stranded = {task: by_task[task] for task in self._stranded}
        self._landed.extend(self._stranded)
        self._stranded.clear()
        return stranded
