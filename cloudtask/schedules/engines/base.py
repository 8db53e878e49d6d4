"""What every engine does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from cloudtask.schedules.changes import Comparison
    from cloudtask.schedules.models import ScheduledTask


class Engine(ABC):
    """Brings ticks. Its methods are called in the transaction of a change."""

    @abstractmethod
    def follow(self, row: ScheduledTask) -> None:
        """
        Follow a schedule that is new, or was changed, paused or resumed.

        What cannot be done now is logged, and done later.
        """

    @abstractmethod
    def forget(self, row: ScheduledTask) -> None:
        """Bring no tick any more of a schedule that is deleted."""

    @abstractmethod
    def revive(self, row: ScheduledTask) -> None:
        """See to a schedule whose tick did not come, in no transaction."""

    @abstractmethod
    def compare(
        self, rows: Iterable[ScheduledTask], gone: Collection[str] = ()
    ) -> Comparison:
        """
        Compare schedules with what brings their ticks. Nothing is changed.

        Args:
            rows: All schedules, as they are to be.
            gone: The uids of those that are about to be deleted.

        Raises:
            CloudTaskError: They cannot be compared.
        """
