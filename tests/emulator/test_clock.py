import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudtask.emulator.clock import Clock
from tests.emulator.samples import HOUR, NOW


class RealTime:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def real_time() -> RealTime:
    return RealTime()


@pytest.fixture
def clock(real_time: RealTime) -> Clock:
    return Clock(real_time)


def test_a_clock_tells_the_real_time_in_microseconds() -> None:
    before = time.time_ns() // 1000

    assert before <= Clock().now() <= time.time_ns() // 1000


def test_a_clock_goes_on_with_the_real_time(clock: Clock, real_time: RealTime) -> None:
    clock.advance(HOUR)
    clock.advance(HOUR)
    real_time.now += 7

    assert clock.now() == NOW + 2 * HOUR + 7
    assert clock.offset == 2 * HOUR


def test_a_clock_never_goes_back(clock: Clock, real_time: RealTime) -> None:
    with pytest.raises(ValueError, match="-1 microseconds: the clock cannot go back"):
        clock.advance(-1)
    assert clock.now() == NOW
    real_time.now -= 5  # The machine's clock was put right.

    assert clock.now() == NOW


def test_a_clock_advances_to_an_instant(clock: Clock, real_time: RealTime) -> None:
    clock.advance_to(NOW + HOUR)
    assert clock.now() == NOW + HOUR
    real_time.now += 5
    clock.advance_to(NOW + HOUR)  # Passed by.

    assert clock.now() == NOW + HOUR + 5


def test_a_clock_that_is_reset_tells_the_real_time(
    clock: Clock, real_time: RealTime
) -> None:
    clock.advance(HOUR)
    assert clock.now() == NOW + HOUR

    clock.reset()

    assert (clock.now(), clock.offset) == (NOW, 0)


@given(st.lists(st.tuples(st.integers(-(10**9), 10**9), st.integers(0, 10**9))))
def test_whatever_the_machines_clock_does_time_goes_on(
    moves: list[tuple[int, int]],
) -> None:
    real_time = RealTime()
    clock = Clock(real_time)
    latest = clock.now()
    for drift, advance in moves:
        real_time.now += drift
        clock.advance(advance)
        assert clock.now() >= latest
        latest = clock.now()
