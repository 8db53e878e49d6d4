"""A5 and A6: which schedules are accepted, and their slots."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudtask.cron import Doubled, find_zone
from cloudtask.emulator.scheduler.schedules.reading import (
    InvalidSchedule,
    read_schedule,
)
from cloudtask.emulator.values import instants

from .samples import HOUR, MINUTE, NOW, at

if TYPE_CHECKING:
    from collections.abc import Iterator

NEW_YORK = "America/New_York"
BERLIN = "Europe/Berlin"


def iterate(
    text: str,
    after: str,
    zone: str = "UTC",
    doubled: Doubled = Doubled.FIRST,
    phase: int | None = None,
) -> Iterator[str]:
    """Iterate over slots as local times, with their offsets."""
    slot: int | None = at(after)
    schedule = read_schedule(text, zone, doubled)
    while (slot := schedule.next(slot, phase)) is not None:
        moment = instants.to_datetime(slot).astimezone(find_zone(zone))
        yield moment.isoformat(timespec="minutes")


def first(*args: object, count: int = 1, **options: object) -> list[str]:
    return list(islice(iterate(*args, **options), count))  # type: ignore[arg-type]


# Unix cron.


@pytest.mark.parametrize(
    "text", ["* * * * *", "0 9 * JAN MON", "30 2 14 3 *", "0 0 1 1 *"]
)
def test_crons_are_accepted(text: str) -> None:
    assert first(text, "2026-10-01T05:20:14Z")


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "* * * *", "0 0 0 1 4 *", "0 0 31 2 *", "60 * * * *", "@daily"),
        *("every", "every 30 seconds", "every 0 minutes", "every 5 minute", "every x"),
        *("every -5 minutes", "every 5 minutes from 10:00", "every 1.5 hours"),
        "every 5 minutes from 10:00 to 25:00",
        "every 5 minutes from 10:00 to 12:60",
        "every 5 minutes synchronized from 10:00 to 12:00",
        "every 5 minutes from 10:00 to 12:00 synchronized",
        *("every 7 minutes synchronized", "every 5 hours synchronized"),
        *("monday", "every monday", "09:00", "6th monday 09:00", "1st 09:00"),
        *("monday of smarch 09:00", "every monday 9", "every monday 24:00"),
        *("0 of month 09:00", "32 of month 09:00", "31 of feb 09:00"),
        *("30,31 of feb 09:00", "1 monday of month 09:00", "1 of 09:00"),
        *("1st,,2nd monday 09:00", "every monday,1 of month 09:00"),
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidSchedule):
        read_schedule(text, "UTC", Doubled.FIRST)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../etc/passwd", "EST5EDTx", " "])
def test_a_zone_has_to_exist(zone: str) -> None:
    with pytest.raises(InvalidSchedule):
        read_schedule("* * * * *", zone, Doubled.FIRST)


@pytest.mark.parametrize("zone", ["", "utc", "UTC", "Etc/UTC"])
def test_no_zone_is_utc(zone: str) -> None:
    schedule = read_schedule("0 9 * * *", zone, Doubled.FIRST)

    assert schedule.next(NOW, None) == at("2026-10-01T09:00:00Z")


def test_the_next_time_is_strictly_after_the_moment() -> None:
    assert first("* * * * *", "2026-10-01T05:20:00Z") == ["2026-10-01T05:21+00:00"]


@pytest.mark.parametrize("text", ["0 0 1 1 *", "1 of jan 00:00"])
def test_a_schedule_ends_with_the_calendar(text: str) -> None:
    schedule = read_schedule(text, "UTC", Doubled.FIRST)

    last = instants.from_datetime(datetime(9999, 6, 1, tzinfo=UTC))
    assert schedule.next(last, None) is None


@given(st.text(max_size=40))
def test_no_text_breaks_anything(text: str) -> None:
    try:
        schedule = read_schedule(text, "UTC", Doubled.FIRST)
    except InvalidSchedule:
        return
    slot = schedule.next(NOW, None)
    assert slot is None or slot > NOW


# Daylight saving time.


def test_a_time_that_does_not_exist_is_left_out() -> None:
    # Recorded of the service.
    after = "2026-10-01T05:20:14Z"
    assert first("30 2 14 3 *", after, NEW_YORK) == ["2028-03-14T02:30-04:00"]
    # A daily job does not run on that day.
    assert first("30 2 * * *", "2027-03-13T12:00:00Z", NEW_YORK) == [
        "2027-03-15T02:30-04:00"
    ]


def test_english_times_that_do_not_exist_are_left_out_too() -> None:
    assert first("every day 02:30", "2027-03-13T12:00:00Z", NEW_YORK) == [
        "2027-03-15T02:30-04:00"
    ]


@pytest.mark.parametrize("text", ["30 1 1 11 *", "1 of november 01:30"])
def test_of_a_doubled_time_the_first_counts(text: str) -> None:
    # Recorded of the service: 05:30Z is 01:30 EDT.
    after = "2026-10-01T05:20:14Z"
    assert first(text, after, NEW_YORK, count=2) == [
        "2026-11-01T01:30-04:00",
        "2027-11-01T01:30-04:00",
    ]


@pytest.mark.parametrize("text", ["30 1 1 11 *", "1 of november 01:30"])
def test_of_a_doubled_time_both_may_count(text: str) -> None:
    after = "2026-10-01T05:20:14Z"
    assert first(text, after, NEW_YORK, Doubled.BOTH, count=3) == [
        "2026-11-01T01:30-04:00",
        "2026-11-01T01:30-05:00",
        "2027-11-01T01:30-04:00",
    ]


# Intervals.


def test_an_interval_begins_on_a_whole_minute() -> None:
    # Recorded of the service.
    assert first("every 5 minutes", "2026-10-01T05:20:14Z") == [
        "2026-10-01T05:25+00:00"
    ]
    assert first("every 1 hours", "2026-10-01T05:20:14Z") == ["2026-10-01T06:20+00:00"]
    assert first("every 1 mins", "2026-10-01T05:20:00Z") == ["2026-10-01T05:21+00:00"]


def test_an_interval_goes_on_from_its_phase() -> None:
    schedule = read_schedule("EVERY  5  Minutes", "UTC", Doubled.FIRST)
    phase = at("2026-10-01T05:25:00.416739Z")

    assert schedule.has_phase
    assert schedule.next(phase, phase) == phase + 5 * MINUTE
    assert schedule.next(phase + 5 * MINUTE - 1, phase) == phase + 5 * MINUTE
    # What has passed meanwhile is gone.
    assert schedule.next(phase + 17 * MINUTE, phase) == phase + 20 * MINUTE


def test_a_window_begins_anew_each_day() -> None:
    text = "every 25 minutes from 10:00 to 11:00"
    assert first(text, "2026-10-01T10:00:00Z", count=4) == [
        "2026-10-01T10:25+00:00",
        "2026-10-01T10:50+00:00",
        "2026-10-02T10:00+00:00",
        "2026-10-02T10:25+00:00",
    ]
    # Its end is a slot itself.
    assert first("every 2 hours from 8:00 to 10:00", "2026-10-01T09:00:00Z") == [
        "2026-10-01T10:00+00:00"
    ]


def test_a_window_may_go_past_midnight() -> None:
    text = "every 1 hours from 23:00 to 01:00"
    assert first(text, "2026-10-01T22:10:00Z", BERLIN, count=4) == [
        "2026-10-02T01:00+02:00",
        "2026-10-02T23:00+02:00",
        "2026-10-03T00:00+02:00",
        "2026-10-03T01:00+02:00",
    ]


def test_a_synchronized_interval_counts_from_midnight_of_the_zone() -> None:
    text = "every 8 hours synchronized"
    assert first(text, "2026-10-01T10:00:00Z", BERLIN, count=4) == [
        "2026-10-01T16:00+02:00",
        "2026-10-02T00:00+02:00",
        "2026-10-02T08:00+02:00",
        "2026-10-02T16:00+02:00",
    ]
    schedule = read_schedule(text, BERLIN, Doubled.FIRST)
    assert not schedule.has_phase


def test_a_synchronized_interval_begins_anew_where_a_day_is_shorter() -> None:
    text = "every 6 hours synchronized"
    assert first(text, "2027-03-13T20:00:00Z", NEW_YORK, count=5) == [
        "2027-03-13T18:00-05:00",
        "2027-03-14T00:00-05:00",
        "2027-03-14T07:00-04:00",
        "2027-03-14T13:00-04:00",
        "2027-03-14T19:00-04:00",
    ]


# Calendars.


@pytest.mark.parametrize(
    ("text", "slots"),
    [
        # Recorded of the service, on a Thursday.
        ("1st friday of quarter 9:00", ["2026-10-02T09:00", "2027-01-01T09:00"]),
        ("every day 00:00", ["2026-10-02T00:00", "2026-10-03T00:00"]),
        ("day 06:00", ["2026-10-01T06:00", "2026-10-02T06:00"]),
        ("every monday 09:00", ["2026-10-05T09:00", "2026-10-12T09:00"]),
        ("tue,sat of oct 09:00", ["2026-10-03T09:00", "2026-10-06T09:00"]),
        ("second thursday of month 9:05", ["2026-10-08T09:05", "2026-11-12T09:05"]),
        ("fifth thu 12:00", ["2026-10-29T12:00", "2026-12-31T12:00"]),
        (
            "1st, 3rd mon,tue of jan , jul 09:15",
            ["2027-01-04T09:15", "2027-01-05T09:15"],
        ),
        ("1,15 of month 12:00", ["2026-10-01T12:00", "2026-10-15T12:00"]),
        ("31 of month 12:00", ["2026-10-31T12:00", "2026-12-31T12:00"]),
        ("29 of feb 00:00", ["2028-02-29T00:00", "2032-02-29T00:00"]),
        ("1st day of month 10:00", ["2026-10-01T10:00", "2026-10-02T10:00"]),
        ("5th monday of feb 08:00", ["2044-02-29T08:00", "2072-02-29T08:00"]),
    ],
)
def test_calendars(text: str, slots: list[str]) -> None:
    found = first(text, "2026-10-01T05:20:14Z", count=2)

    assert found == [f"{slot}+00:00" for slot in slots]


def test_calendars_go_by_the_clock_of_the_zone() -> None:
    assert first("every sunday 23:30", "2026-10-24T12:00:00Z", BERLIN, count=2) == [
        "2026-10-25T23:30+01:00",
        "2026-11-01T23:30+01:00",
    ]


def test_there_is_no_phase_but_of_plain_intervals() -> None:
    for text in ("* * * * *", "every day 00:00", "every 1 hours from 1:00 to 3:00"):
        schedule = read_schedule(text, "UTC", Doubled.FIRST)
        assert not schedule.has_phase
        assert schedule.next(NOW, NOW - 7 * HOUR) == schedule.next(NOW, None)
