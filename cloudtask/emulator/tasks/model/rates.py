"""How many tasks a queue may dispatch, and when the next."""

from __future__ import annotations

from cloudtask.emulator.values.instants import SECOND

# Levels and rates are whole parts of a token, so that no rounding adds up. A
# part is small enough for one token in 30,000 years, the slowest there is.
_TOKEN = 10**18
_MOST_HALVINGS = 4


class TokenBucket:
    """
    A bucket of tokens, one for each dispatch; it starts full.

    All instants are microseconds. The clock may jump, even back: what was
    earned stays, and nothing is earned twice for the same time.

    Targets that answer 429 or 503 slow a queue. Cloud Tasks publishes no
    formula, this one is the emulator's own: such an answer halves the rate and
    the burst size, at most once a second, down to a sixteenth. A success
    doubles them again if for a second neither such an answer came nor another
    success did that.

    Args:
        rate: Tokens per second.
        burst: Most tokens that the bucket holds, at least 1.
    """

    __slots__ = (
        "_burst",
        "_calm_since",
        "_halved_at",
        "_halvings",
        "_level",
        "_rate",
        "_updated_at",
    )

    def __init__(self, rate: float, burst: int, now: int) -> None:
        self._rate = rate
        self._burst = burst
        self._halvings = 0
        self._halved_at = self._calm_since = now - SECOND
        self._updated_at = now
        self._level = self._capacity

    @property
    def effective_rate(self) -> float:
        """Tokens per second, as slow as the queue is now."""
        return self._rate / (1 << self._halvings)

    def count_tokens(self, now: int) -> int:
        """Return how many tokens can be taken now."""
        self._refill(now)
        return self._level // _TOKEN

    def next_at(self, now: int) -> int:
        """Return when a token can be taken: `now` if there is one."""
        self._refill(now)
        missing = max(0, _TOKEN - self._level)
        return now + -(-missing // self._refill_rate)  # Rounded up.

    def take(self, count: int, now: int) -> None:
        """Take tokens; to take more than there are empties the bucket."""
        self._refill(now)
        self._level = max(0, self._level - count * _TOKEN)

    def configure(self, rate: float, burst: int, now: int) -> None:
        """Change the limits; what was earned stays, as far as it fits."""
        self._refill(now)
        self._rate = rate
        self._burst = burst

    def slow_down(self, now: int) -> None:
        """Slow down after a 429 or 503."""
        self._calm_since = now
        if self._halvings < _MOST_HALVINGS and _is_a_second(self._halved_at, now):
            self._refill(now)
            self._halvings += 1
            self._halved_at = now

    def speed_up(self, now: int) -> None:
        """Speed up after a success, if the queue was slowed."""
        if self._halvings and _is_a_second(self._calm_since, now):
            self._refill(now)
            self._halvings -= 1
            self._calm_since = now

    @property
    def _capacity(self) -> int:
        return max(1, self._burst >> self._halvings) * _TOKEN

    @property
    def _refill_rate(self) -> int:
        """Parts of a token per microsecond."""
        return max(1, int(self._rate * (_TOKEN // SECOND)) >> self._halvings)

    def _refill(self, now: int) -> None:
        elapsed = max(0, now - self._updated_at)
        self._level = min(self._capacity, self._level + elapsed * self._refill_rate)
        self._updated_at = now


def _is_a_second(since: int, now: int) -> bool:
    # Either way: after a jump back, `since` would lie ahead for as long again.
    return abs(now - since) >= SECOND
