"""Days as English-like schedules choose them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date

#: For rules without ordinals.
ANY_WEEK = frozenset(range(1, 6))
EVERY_MONTH = frozenset(range(1, 13))


@dataclass(frozen=True, slots=True)
class DayRule:
    """Week days of months, or days of months."""

    months: frozenset[int]
    weekdays: frozenset[int] = frozenset()  # 0 is Monday.
    ordinals: frozenset[int] = ANY_WEEK  # The first Monday is of number 1.
    days: frozenset[int] = frozenset()  # In place of week days.

    def has(self, day: date) -> bool:
        """Whether this is one of its days."""
        if day.month not in self.months:
            return False
        if self.days:
            return day.day in self.days
        ordinal = (day.day - 1) // 7 + 1
        return day.weekday() in self.weekdays and ordinal in self.ordinals
