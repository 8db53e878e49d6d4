"""What holds for each cron, zone and moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtask.cron import Cron, Doubled, InvalidCron, find_zone
from tests.cron.oracle import DAY, Fields, find_changes, find_slots, fits
from tests.cron.test_changes import HISTORY, YEARS, ZONES
from tests.sizes import scaled

CHANGES = [
    (find_zone("UTC"), datetime(2026, 12, 31, tzinfo=UTC)),
    *(
        (find_zone(zone), change)
        for zone, *years in [*((zone, *YEARS) for zone in ZONES[::4]), *HISTORY]
        for change in find_changes(zone, *years)
    ),
]
HOURS = timedelta(hours=3)
MICROSECOND = timedelta(microseconds=1)


def values(low: int, high: int) -> st.SearchStrategy[frozenset[int] | None]:
    some = st.frozensets(st.integers(low, high), min_size=1, max_size=4)
    return st.none() | some


#: Days of the month that each of them has, so that each cron has a slot.
fields = st.builds(
    Fields,
    values(0, 59),
    values(0, 23),
    values(1, 28),
    values(1, 12),
    values(0, 6),
)
#: Those which have slots on each day.
frequent = st.builds(Fields, values(0, 59), values(0, 23), *[st.none()] * 3)
changes = st.sampled_from(CHANGES)
spans = st.timedeltas(-DAY, DAY)
passes = st.sampled_from(Doubled)


@pytest.mark.fuzz
@given(fields, changes, spans, passes)
@settings(max_examples=scaled(300))
def test_the_next_slot_is_later_and_matches_with_none_before_it(
    fields: Fields, where: tuple[ZoneInfo, datetime], span: timedelta, doubled: Doubled
) -> None:
    cron, (zone, change) = Cron.parse(str(fields)), where
    moment = change + span

    slot = cron.next(moment, zone, doubled=doubled)

    assert slot > moment
    assert slot.tzinfo is UTC
    assert slot.astimezone(zone).second == slot.microsecond == 0
    assert fits(fields, slot.astimezone(zone))
    assert cron.next(slot - MICROSECOND, zone, doubled=doubled) == slot
    assert cron.previous(slot, zone, doubled=doubled) == slot
    before = cron.previous(slot - MICROSECOND, zone, doubled=doubled)
    assert before <= moment
    assert cron.next(before, zone, doubled=doubled) == slot


@pytest.mark.fuzz
@given(fields | frequent, changes, passes)
@settings(max_examples=scaled(100))
def test_slots_are_what_the_wall_shows(
    fields: Fields, where: tuple[ZoneInfo, datetime], doubled: Doubled
) -> None:
    cron, (zone, change) = Cron.parse(str(fields)), where
    start, end = change - HOURS, change + HOURS
    both = doubled is Doubled.BOTH

    slots = list(cron.between(start, end, zone, doubled=doubled))

    assert slots == find_slots(fields, zone, start, end, both=both)


@pytest.mark.fuzz
@given(frequent, changes, st.lists(spans, min_size=1, max_size=8), passes)
@settings(max_examples=scaled(100))
def test_no_slot_is_lost_or_doubled_by_the_steps_that_are_taken(
    fields: Fields,
    where: tuple[ZoneInfo, datetime],
    spans: list[timedelta],
    doubled: Doubled,
) -> None:
    cron, (zone, change) = Cron.parse(str(fields)), where
    moments = [change - HOURS, change + HOURS, *(change + span / 8 for span in spans)]
    moments.sort()
    whole = list(cron.between(moments[0], moments[-1], zone, doubled=doubled))

    pieces = [
        slot
        for after, until in pairwise(moments)
        for slot in cron.between(after, until, zone, doubled=doubled)
    ]
    single = []
    slot = cron.next(moments[0], zone, doubled=doubled)
    while slot <= moments[-1]:
        single.append(slot)
        slot = cron.next(slot, zone, doubled=doubled)

    assert pieces == whole
    assert single == whole
    assert sorted({*whole}) == whole


@pytest.mark.fuzz
@given(fields, changes, spans)
@settings(max_examples=scaled(100))
def test_the_first_pass_is_a_part_of_both(
    fields: Fields, where: tuple[ZoneInfo, datetime], span: timedelta
) -> None:
    cron, (zone, change) = Cron.parse(str(fields)), where
    moment = change + span

    first = cron.next(moment, zone)
    assert cron.next(moment, zone, doubled=Doubled.BOTH) <= first
    assert cron.next(first - MICROSECOND, zone, doubled=Doubled.BOTH) == first


parts = st.text(alphabet="0123456789*/-,LW#?@SUNMOJAsunmoja\t\u0663", max_size=5)
texts = st.lists(parts, min_size=4, max_size=6).map(" ".join) | st.text()


@pytest.mark.fuzz
@given(texts)
@settings(max_examples=scaled(300))
def test_every_text_is_a_cron_or_refused(text: str) -> None:
    refused = []
    try:
        cron = Cron.parse(text)
    except InvalidCron as error:
        refused.append((error.text, 0 <= error.position <= len(text)))
    else:
        assert Cron.parse(str(cron)) == cron
        assert cron.next(datetime(2026, 12, 1, tzinfo=UTC), UTC)
    assert refused in ([], [(text, True)])
