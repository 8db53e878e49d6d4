"""Moving the clock over all that is due on the way, of every service."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloudtask.emulator.clock import Clock
    from cloudtask.emulator.pace.pump import Pump


class Travel:
    """
    The clock and the pumps that go by it, on their event loop.

    Args:
        clock: What is moved.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pumps: list[Pump] = []

    def add(self, pump: Pump) -> None:
        """Have a pump go by the clock."""
        self._pumps.append(pump)

    async def advance(self, microseconds: int, timeout: float) -> None:
        """
        Move the clock, stopping wherever something is due on the way.

        Whatever is sent is answered before the clock moves on, so that what
        fails is tried again as often as its retries fall into the time.

        Raises:
            ValueError: The clock cannot go back.
            TimeoutError: It took longer than `timeout` seconds.
        """
        if microseconds < 0:
            raise ValueError("The clock cannot go back.")
        end = self._clock.now() + microseconds
        try:
            async with asyncio.timeout(timeout):
                await self._go_on_until(end)
        except TimeoutError:
            raise TimeoutError(
                f"Tasks are still being sent after {timeout:g} s: a target hangs, "
                "or every answer makes more of them due."
            ) from None

    def poke(self) -> None:
        """Have every pump look for what is due."""
        for pump in self._pumps:
            pump.poke()

    async def cut(self) -> None:
        """Forget what is on its way."""
        for pump in self._pumps:
            await pump.cut()

    async def wait_until_idle(self) -> None:
        """Return once nothing is due, on its way or to be cleared up."""
        # What one service sends may give another one something to do.
        while (busy := next((p for p in self._pumps if p.has_work), None)) is not None:
            await busy.wait_for_turn()

    async def _go_on_until(self, end: int) -> None:
        await self.wait_until_idle()
        while (wake := self._next_send()) is not None and wake <= end:
            await self._move_to(wake)
        await self._move_to(end)

    def _next_send(self) -> int | None:
        sends = (pump.next_send for pump in self._pumps)
        return min((each for each in sends if each is not None), default=None)

    async def _move_to(self, instant: int) -> None:
        self._clock.advance_to(instant)
        self.poke()
        await self.wait_until_idle()
