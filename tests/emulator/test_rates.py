from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudtask.emulator.tasks.model.rates import TokenBucket
from cloudtask.emulator.values.instants import SECOND
from tests.emulator.samples import HOUR, NOW

rates = st.floats(1e-12, 500)
bursts = st.integers(1, 100)
#: What may happen to a bucket, each with the microseconds since the last.
doings = st.sampled_from(["take all", "take one", "slow down", "speed up"])
steps = st.tuples(st.integers(0, 3 * SECOND) | st.integers(0, 2000), doings)


def do(bucket: TokenBucket, doing: str, now: int) -> int:
    """Return how many tokens were taken."""
    if doing == "slow down":
        bucket.slow_down(now)
    elif doing == "speed up":
        bucket.speed_up(now)
    else:
        there = bucket.count_tokens(now)
        count = there if doing == "take all" else min(1, there)
        bucket.take(count, now)
        return count
    return 0


def drained(rate: float, burst: int, now: int = NOW) -> TokenBucket:
    bucket = TokenBucket(rate, burst, now)
    bucket.take(burst, now)
    return bucket


@given(rates, bursts, st.lists(steps, max_size=40))
def test_no_window_has_more_than_the_burst_and_the_rate(
    rate: float, burst: int, script: list[tuple[int, str]]
) -> None:
    bucket = TokenBucket(rate, burst, NOW)
    instants = list(accumulate((delta for delta, _ in script), initial=NOW))[1:]

    taken = [
        do(bucket, doing, now) for now, (_, doing) in zip(instants, script, strict=True)
    ]

    for first, start in enumerate(instants):
        for last, end in enumerate(instants[first:], first):
            allowed = burst + rate * (end - start) / SECOND + 1
            assert sum(taken[first : last + 1]) <= allowed


@given(rates, bursts, st.lists(steps, max_size=20))
def test_the_next_token_is_there_when_it_is_announced_and_not_before(
    rate: float, burst: int, script: list[tuple[int, str]]
) -> None:
    bucket, now = TokenBucket(rate, burst, NOW), NOW
    for delta, doing in script:
        now += delta
        do(bucket, doing, now)

    announced = bucket.next_at(now)

    if announced > now:
        assert bucket.count_tokens(announced - 1) == 0
    assert announced >= now
    assert bucket.count_tokens(announced) >= 1


@given(st.floats(0.001, 500), bursts)
def test_a_queue_always_full_of_work_gets_its_rate(rate: float, burst: int) -> None:
    bucket, now = drained(rate, burst), NOW

    for _ in range(1000):
        now = bucket.next_at(now)
        bucket.take(1, now)

    assert 1000 * SECOND / (now - NOW) == pytest.approx(rate, rel=0.01)


@given(
    rates,
    bursts,
    st.lists(st.tuples(st.integers(-(10**15), 10**15), doings), max_size=20),
)
def test_whatever_the_clock_does_the_bucket_has_neither_debts_nor_too_much(
    rate: float, burst: int, script: list[tuple[int, str]]
) -> None:
    bucket, now = TokenBucket(rate, burst, NOW), NOW
    for delta, doing in script:
        now += delta
        do(bucket, doing, now)

        assert 0 <= bucket.count_tokens(now) <= burst
        assert now <= bucket.next_at(now)
        assert rate / 16 <= bucket.effective_rate <= rate


def test_a_bucket_starts_full_and_refills_by_its_rate() -> None:
    bucket = TokenBucket(2, 3, NOW)
    assert bucket.count_tokens(NOW) == 3
    assert bucket.next_at(NOW) == NOW

    bucket.take(3, NOW)

    assert bucket.count_tokens(NOW) == 0
    assert bucket.next_at(NOW) == NOW + SECOND // 2
    assert bucket.count_tokens(NOW + SECOND) == 2
    assert bucket.count_tokens(NOW + HOUR) == 3


def test_more_than_there_is_leaves_no_debt() -> None:
    bucket = TokenBucket(1, 2, NOW)

    bucket.take(5, NOW)

    assert bucket.next_at(NOW) == NOW + SECOND


def test_a_bucket_holds_at_least_one_token() -> None:
    assert TokenBucket(1, 0, NOW).count_tokens(NOW) == 1


def test_after_a_jump_back_the_bucket_refills_from_there() -> None:
    bucket = drained(1, 5)

    assert bucket.next_at(NOW - HOUR) == NOW - HOUR + SECOND
    assert bucket.count_tokens(NOW - HOUR + 2 * SECOND) == 2


@pytest.mark.parametrize(
    ("rate", "burst", "there", "next_at"),
    [
        pytest.param(4, 10, 2, NOW + SECOND, id="faster"),
        pytest.param(1, 1, 1, NOW + SECOND, id="smaller"),
    ],
)
def test_changed_limits_keep_what_was_earned(
    rate: float, burst: int, there: int, next_at: int
) -> None:
    bucket = drained(2, 5)

    bucket.configure(rate, burst, NOW + SECOND)

    assert bucket.effective_rate == rate
    assert bucket.count_tokens(NOW + SECOND) == there
    assert bucket.next_at(NOW + SECOND) == next_at
    assert bucket.count_tokens(NOW + HOUR) == burst


def test_a_refusal_halves_rate_and_burst() -> None:
    bucket = TokenBucket(8, 100, NOW)

    bucket.slow_down(NOW)

    assert bucket.effective_rate == 4
    assert bucket.count_tokens(NOW) == 50
    bucket.take(50, NOW)
    assert bucket.next_at(NOW) == NOW + SECOND // 4
    assert bucket.count_tokens(NOW + HOUR) == 50


def test_the_refusals_of_a_second_count_once() -> None:
    bucket = TokenBucket(8, 100, NOW)

    for passed in (1, 2, SECOND):
        bucket.slow_down(NOW + passed)
    assert bucket.effective_rate == 4

    bucket.slow_down(NOW + SECOND + 1)
    assert bucket.effective_rate == 2


def test_a_queue_is_slowed_to_a_sixteenth_and_one_token() -> None:
    bucket = TokenBucket(8, 5, NOW)

    for second in range(10):
        bucket.slow_down(NOW + second * SECOND)

    assert bucket.effective_rate == 0.5
    assert bucket.count_tokens(NOW + HOUR) == 1


def test_successes_speed_a_queue_up_step_by_step() -> None:
    bucket = TokenBucket(8, 100, NOW - HOUR)
    bucket.slow_down(NOW - SECOND)
    bucket.slow_down(NOW)

    bucket.speed_up(NOW + SECOND - 1)  # Too soon after the refusal.
    assert bucket.effective_rate == 2

    bucket.speed_up(NOW + SECOND)
    bucket.speed_up(NOW + SECOND)  # Too soon after the first success.
    assert bucket.effective_rate == 4

    bucket.speed_up(NOW + 2 * SECOND)
    bucket.speed_up(NOW + 3 * SECOND)
    assert bucket.effective_rate == 8


def test_a_target_that_goes_on_refusing_keeps_the_queue_slow() -> None:
    bucket = TokenBucket(8, 100, NOW)
    bucket.slow_down(NOW)

    bucket.slow_down(NOW + SECOND - 1)  # Slows no further, but is heard.
    bucket.speed_up(NOW + SECOND)

    assert bucket.effective_rate == 4


def test_what_was_earned_slowly_is_not_counted_again_at_full_speed() -> None:
    bucket = drained(8, 100)
    bucket.slow_down(NOW)

    bucket.speed_up(NOW + SECOND)

    assert bucket.count_tokens(NOW + SECOND) == 4
    assert bucket.count_tokens(NOW + 2 * SECOND) == 12


def test_what_was_earned_at_full_speed_stays_when_the_queue_slows() -> None:
    bucket = drained(8, 100)

    bucket.slow_down(NOW + SECOND)

    assert bucket.count_tokens(NOW + SECOND) == 8


def test_a_slow_queue_recovers_though_the_clock_went_back() -> None:
    bucket = TokenBucket(8, 100, NOW)
    bucket.slow_down(NOW)

    bucket.speed_up(NOW - HOUR)
    assert bucket.effective_rate == 8

    bucket.slow_down(NOW - HOUR)
    assert bucket.effective_rate == 4
