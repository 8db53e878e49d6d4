"""Interleaved rounds, so that a busy machine slows all sides alike."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class Result:
    """One figure and the limit that it is held to."""

    name: str
    value: float
    limit: float
    at_most: bool
    detail: str = ""

    @property
    def holds(self) -> bool:
        if self.at_most:
            return self.value <= self.limit
        return self.value >= self.limit

    def __str__(self) -> str:
        sign = "<=" if self.at_most else ">="
        word = "ok" if self.holds else "OVER THE LIMIT"
        return (
            f"{self.name:<42} {self.value:7.3f} ({sign} {self.limit:g}) {word}"
            f"   {self.detail}"
        )


def seconds_each(
    sides: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 60,
    calls: int = 50,
    warm_up: int = 300,
    clock: Callable[[], float] = perf_counter,
) -> dict[str, float]:
    """Median seconds of one call of each side, by the clock."""
    for call in sides.values():
        for _ in range(warm_up):
            call()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, call in sides.items():
            started = clock()
            for _ in range(calls):
                call()
            times[name].append((clock() - started) / calls)
    return {name: median(values) for name, values in times.items()}
