from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cloudtask.cron import Cron, InvalidCron


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (timedelta(minutes=1), "* * * * *"),
        (timedelta(minutes=2), "*/2 * * * *"),
        (timedelta(minutes=3), "*/3 * * * *"),
        (timedelta(minutes=4), "*/4 * * * *"),
        (timedelta(seconds=300), "*/5 * * * *"),
        (timedelta(minutes=6), "*/6 * * * *"),
        (timedelta(minutes=10), "*/10 * * * *"),
        (timedelta(minutes=12), "*/12 * * * *"),
        (timedelta(minutes=15), "*/15 * * * *"),
        (timedelta(minutes=20), "*/20 * * * *"),
        (timedelta(minutes=30), "*/30 * * * *"),
        (timedelta(minutes=60), "0 * * * *"),
        (timedelta(hours=2), "0 */2 * * *"),
        (timedelta(hours=3), "0 */3 * * *"),
        (timedelta(hours=4), "0 */4 * * *"),
        (timedelta(hours=6), "0 */6 * * *"),
        (timedelta(hours=8), "0 */8 * * *"),
        (timedelta(hours=12), "0 */12 * * *"),
        (timedelta(days=1), "0 0 * * *"),
    ],
)
def test_an_interval_is_a_cron_that_keeps_it(interval: timedelta, text: str) -> None:
    start = datetime(2026, 2, 28, tzinfo=UTC)
    slots = list(Cron.every(interval).between(start, start + timedelta(days=2), UTC))

    assert Cron.every(interval) == Cron.parse(text)
    assert slots == [
        start + (i + 1) * interval for i in range(timedelta(days=2) // interval)
    ]


@pytest.mark.parametrize(
    ("interval", "nearest"),
    [
        (timedelta(0), "timedelta(minutes=1)"),
        (-timedelta(hours=1), "timedelta(minutes=1)"),
        (timedelta(seconds=30), "timedelta(minutes=1)"),
        (
            timedelta(minutes=1, microseconds=1),
            "timedelta(minutes=1) or timedelta(minutes=2)",
        ),
        (timedelta(minutes=7), "timedelta(minutes=6) or timedelta(minutes=10)"),
        (timedelta(minutes=45), "timedelta(minutes=30) or timedelta(hours=1)"),
        (timedelta(minutes=90), "timedelta(hours=1) or timedelta(hours=2)"),
        (timedelta(hours=5), "timedelta(hours=4) or timedelta(hours=6)"),
        (timedelta(hours=23), "timedelta(hours=12) or timedelta(hours=24)"),
        (timedelta(days=2), "timedelta(hours=24)"),
        (timedelta.max, "timedelta(hours=24)"),
        (300, "timedelta(minutes=1)"),
        (None, "timedelta(minutes=1)"),
    ],
)
def test_another_interval_is_refused_and_the_nearest_are_named(
    interval: object, nearest: str
) -> None:
    with pytest.raises(InvalidCron) as caught:
        Cron.every(interval)  # type: ignore[arg-type]

    assert str(caught.value) == (
        f"every={interval!r} must be a timedelta of minutes that divide an hour, or of "
        f"hours that divide a day. Write {nearest}."
    )
    assert (caught.value.text, caught.value.position) == (str(interval), 0)
