"""Every change of 60 zones' clocks, compared with looking at each minute."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo

import pytest

from cloudtask.cron import Cron, Doubled, find_zone
from tests.cron.oracle import Fields, find_changes, find_slots, only

YEARS = (2026, 2027)

#: One at least of each rule that is in force.
ZONES = [
    "Africa/Cairo",
    "Africa/Casablanca",
    "Africa/Ceuta",
    "Africa/El_Aaiun",
    "America/Adak",
    "America/Anchorage",
    "America/Boise",
    "America/Chicago",
    "America/Denver",
    "America/Detroit",
    "America/Glace_Bay",
    "America/Goose_Bay",
    "America/Halifax",
    "America/Havana",
    "America/Los_Angeles",
    "America/Matamoros",
    "America/Menominee",
    "America/Miquelon",
    "America/Nassau",
    "America/New_York",
    "America/Nuuk",
    "America/Port-au-Prince",
    "America/Santiago",
    "America/Scoresbysund",
    "America/St_Johns",
    "America/Thule",
    "America/Tijuana",
    "America/Toronto",
    "America/Winnipeg",
    "Antarctica/Macquarie",
    "Antarctica/McMurdo",
    "Antarctica/Troll",
    "Arctic/Longyearbyen",
    "Asia/Beirut",
    "Asia/Famagusta",
    "Asia/Gaza",
    "Asia/Hebron",
    "Asia/Jerusalem",
    "Asia/Nicosia",
    "Atlantic/Azores",
    "Atlantic/Bermuda",
    "Atlantic/Canary",
    "Atlantic/Faroe",
    "Australia/Adelaide",
    "Australia/Broken_Hill",
    "Australia/Hobart",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Europe/Athens",
    "Europe/Berlin",
    "Europe/Chisinau",
    "Europe/Dublin",
    "Europe/Helsinki",
    "Europe/Kyiv",
    "Europe/Lisbon",
    "Europe/London",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Pacific/Easter",
    "Pacific/Norfolk",
]

#: Changes at midnight and around it, by days, and without daylight saving.
HISTORY = [
    ("America/Asuncion", 2024),
    ("America/Caracas", 2016),
    ("America/Sao_Paulo", 2018),
    ("America/St_Johns", 2010),
    ("Antarctica/Casey", 2020),
    ("Asia/Amman", 2021),
    ("Asia/Damascus", 2021),
    ("Asia/Pyongyang", 2015),
    ("Asia/Tehran", 2021),
    ("Europe/Volgograd", 2018),
    ("Pacific/Apia", 2011),
    ("Pacific/Kwajalein", 1993),
]


def crons_around(change: datetime, zone: str) -> Iterator[Fields]:
    """Crons in each hour that is skipped or doubled, and beside them."""
    local = change.astimezone(find_zone(zone))
    for hour in {(local + timedelta(hours=i)).hour for i in range(-2, 3)}:
        yield Fields(only(0), only(hour))
        yield Fields(only(30, 45), only(hour), only(local.day), only(local.month))
    yield Fields(only(0, 15, 30, 45))
    yield Fields(only(0, 15, 30, 45), frozenset(range(24)))
    yield Fields(only(59), only(0, 1, 2, 3, 22, 23))
    yield Fields(only(10), weekdays=only(local.isoweekday() % 7))


def check(zone: str, change: datetime, span: timedelta) -> None:
    """Ask crons for all slots around a change, forwards and backwards."""
    tz, start, end = find_zone(zone), change - span, change + span
    for fields in crons_around(change, zone):
        cron = Cron.parse(str(fields))
        for doubled in Doubled:
            both = doubled is Doubled.BOTH
            expected = find_slots(fields, tz, start, end, both=both)
            forwards = list(cron.between(start, end, tz, doubled=doubled))
            assert forwards == expected, f"{cron} in {zone}, {doubled}"
            backwards = [*walk_back(cron, end, tz, doubled, len(expected))]
            assert backwards[::-1] == expected, f"{cron} in {zone}, {doubled}"


def walk_back(
    cron: Cron, end: datetime, tz: tzinfo, doubled: Doubled, number: int
) -> Iterator[datetime]:
    for _ in range(number):
        slot = cron.previous(end, tz, doubled=doubled)
        yield slot
        end = slot - timedelta(microseconds=1)


def test_the_zones_are_60_with_most_of_240_changes() -> None:
    # Fewer where the rules of a zone have ended since.
    assert len({*ZONES}) == len(ZONES) == 60
    assert sum(len(find_changes(zone, *YEARS)) for zone in ZONES) >= 200


@pytest.mark.parametrize("zone", ZONES)
def test_slots_around_a_change_are_what_the_wall_shows(zone: str) -> None:
    for change in find_changes(zone, *YEARS):
        check(zone, change, timedelta(hours=3))


@pytest.mark.parametrize(("zone", "year"), HISTORY)
def test_slots_around_a_change_of_the_past_are_what_the_wall_showed(
    zone: str, year: int
) -> None:
    changes = find_changes(zone, year)

    assert changes
    for change in changes:
        check(zone, change, timedelta(hours=5))
