"""Slots worked out by hand, from the rules of the zones and a calendar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import islice

import pytest

from cloudtask.cron import Cron, Doubled, find_zone


def at(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def walk(text: str, after: str, zone: str, number: int) -> list[str]:
    """The next slots, as short texts in UTC."""
    cron, slot, slots = Cron.parse(text), at(after), []
    for _ in range(number):
        slot = cron.next(slot, find_zone(zone))
        assert slot.tzinfo is UTC
        slots.append(f"{slot:%Y-%m-%d %H:%M}")
    return slots


# As recorded from the service


@pytest.mark.parametrize(
    ("text", "zone", "asked", "slot"),
    [
        # 02:30 does not exist on 14 March 2027.
        (
            "30 2 14 3 *",
            "America/New_York",
            "2026-10-01T05:00:00",
            "2028-03-14T02:30:00-04:00",
        ),
        (
            "30 1 1 11 *",
            "America/New_York",
            "2026-10-01T05:00:00",
            "2026-11-01T01:30:00-04:00",
        ),
        ("* * * * *", "UTC", "2026-10-01T05:19:59.900", "2026-10-01T05:20:00"),
        ("* * * * *", "UTC", "2026-10-01T05:20:00", "2026-10-01T05:21:00"),
        ("* * * * *", "UTC", "2026-10-01T05:20:00.000001", "2026-10-01T05:21:00"),
        ("0 9 * JAN MON", "UTC", "2026-10-01T05:20:00", "2027-01-04T09:00:00"),
        ("0 0 1 1 *", "UTC", "2026-10-01T05:20:00", "2027-01-01T00:00:00"),
    ],
)
def test_the_service_was_seen_to_do_so(
    text: str, zone: str, asked: str, slot: str
) -> None:
    assert Cron.parse(text).next(at(asked), find_zone(zone)) == at(slot)


# The calendar


@pytest.mark.parametrize(
    ("text", "after", "slots"),
    [
        (
            "*/20 * * * *",
            "2026-12-31 23:30",
            ["2026-12-31 23:40", "2027-01-01 00:00", "2027-01-01 00:20"],
        ),
        (
            "5,50 8,17 * * *",
            "2026-06-30 08:05",
            [
                "2026-06-30 08:50",
                "2026-06-30 17:05",
                "2026-06-30 17:50",
                "2026-07-01 08:05",
            ],
        ),
        # Friday 27 November 2026, then a weekend.
        (
            "0 9 * * MON-FRI",
            "2026-11-27 08:59",
            ["2026-11-27 09:00", "2026-11-30 09:00", "2026-12-01 09:00"],
        ),
        ("0 9 * * 7", "2026-11-27 08:59", ["2026-11-29 09:00", "2026-12-06 09:00"]),
        # Days that a month lacks are passed over.
        (
            "0 0 31 * *",
            "2026-01-31 00:00",
            ["2026-03-31 00:00", "2026-05-31 00:00", "2026-07-31 00:00"],
        ),
        (
            "0 0 29-31 2,4 *",
            "2027-04-29 12:00",
            ["2027-04-30 00:00", "2028-02-29 00:00", "2028-04-29 00:00"],
        ),
        (
            "0 0 1 */5 *",
            "2026-06-01 00:00",
            ["2026-11-01 00:00", "2027-01-01 00:00", "2027-06-01 00:00"],
        ),
        # 1 August 2026 is a Saturday. Either one matches.
        (
            "0 0 1 * SAT",
            "2026-07-25 00:00",
            ["2026-08-01 00:00", "2026-08-08 00:00", "2026-08-15 00:00"],
        ),
        (
            "0 0 13 * FRI",
            "2026-10-30 00:00",
            ["2026-11-06 00:00", "2026-11-13 00:00", "2026-11-20 00:00"],
        ),
        (
            "0 0 31 2 MON",
            "2026-01-01 00:00",
            ["2026-02-02 00:00", "2026-02-09 00:00", "2026-02-16 00:00"],
        ),
        # `*/2` is not `*`: the odd days, and Mondays. 7 December 2026 is one,
        # and so is the 14th.
        (
            "0 0 */2 * MON",
            "2026-12-05 00:00",
            ["2026-12-07 00:00", "2026-12-09 00:00", "2026-12-11 00:00"],
        ),
        (
            "0 0 */2 * MON",
            "2026-12-11 00:00",
            ["2026-12-13 00:00", "2026-12-14 00:00", "2026-12-15 00:00"],
        ),
        # The 20th, and Sunday, Tuesday, Thursday, Saturday.
        (
            "0 0 21 * */2",
            "2026-12-19 00:00",
            ["2026-12-20 00:00", "2026-12-21 00:00", "2026-12-22 00:00"],
        ),
    ],
)
def test_the_next_slots_are_these(text: str, after: str, slots: list[str]) -> None:
    assert walk(text, after, "UTC", len(slots)) == slots


@pytest.mark.parametrize(
    ("after", "slots"),
    [
        ("2026-12-01", ["2028-02-29 00:00", "2032-02-29 00:00", "2036-02-29 00:00"]),
        ("1892-03-01", ["1896-02-29 00:00", "1904-02-29 00:00", "1908-02-29 00:00"]),
        ("1996-03-01", ["2000-02-29 00:00", "2004-02-29 00:00", "2008-02-29 00:00"]),
        ("2092-03-01", ["2096-02-29 00:00", "2104-02-29 00:00", "2108-02-29 00:00"]),
    ],
)
def test_29_february_is_every_fourth_year_but_most_centuries(
    after: str, slots: list[str]
) -> None:
    assert walk("0 0 29 2 *", after, "UTC", 3) == slots


def test_29_february_is_found_backwards() -> None:
    cron = Cron.parse("30 12 29 2 *")

    assert cron.previous(at("2104-02-29T12:29:59"), UTC) == at("2096-02-29T12:30")
    assert cron.previous(at("2104-02-29T12:30:00"), UTC) == at("2104-02-29T12:30")
    assert cron.previous(at("2000-02-29T12:29:00"), UTC) == at("1996-02-29T12:30")


@pytest.mark.parametrize(
    ("text", "moment", "slot"),
    [
        ("* * * * *", "2026-10-01T05:20:00", "2026-10-01T05:20:00"),
        ("* * * * *", "2026-10-01T05:20:59.999999", "2026-10-01T05:20:00"),
        ("* * * * *", "2026-10-01T05:19:59.999999", "2026-10-01T05:19:00"),
        ("30 9 * * *", "2026-10-01T09:29:00", "2026-09-30T09:30:00"),
        ("30 9 * * *", "2026-10-01T10:00:00", "2026-10-01T09:30:00"),
        ("0,45 9,17 * * *", "2026-10-01T17:30:00", "2026-10-01T17:00:00"),
        ("0,45 9,17 * * *", "2026-10-01T16:00:00", "2026-10-01T09:45:00"),
        ("0 0 1 1 *", "2026-10-01T00:00:00", "2026-01-01T00:00:00"),
        ("0 0 31 12 *", "2026-10-01T00:00:00", "2025-12-31T00:00:00"),
        ("0 0 31 * *", "2026-03-30T00:00:00", "2026-01-31T00:00:00"),
        ("0 0 13 * FRI", "2026-11-18T00:00:00", "2026-11-13T00:00:00"),
        ("0 0 13 * FRI", "2026-11-12T00:00:00", "2026-11-06T00:00:00"),
    ],
)
def test_the_previous_slot_is_this(text: str, moment: str, slot: str) -> None:
    assert Cron.parse(text).previous(at(moment), UTC) == at(slot)


def test_any_zone_of_a_moment_is_understood() -> None:
    cron, berlin = Cron.parse("0 9 * * *"), find_zone("Europe/Berlin")
    tokyo = timezone(timedelta(hours=9))

    # 17:00 in Tokyo is 09:00 in Berlin in winter.
    assert cron.next(datetime(2026, 12, 1, 16, 59, tzinfo=tokyo), berlin) == at(
        "2026-12-01T08:00"
    )
    assert cron.next(datetime(2026, 12, 1, 17, 0, tzinfo=tokyo), berlin) == at(
        "2026-12-02T08:00"
    )
    assert cron.previous(datetime(2026, 12, 1, 9, 0, tzinfo=berlin), berlin) == at(
        "2026-12-01T08:00"
    )


def test_all_slots_between_two_moments() -> None:
    cron = Cron.parse("0 */8 * * *")
    slots = cron.between(at("2026-12-01T00:00"), at("2026-12-02T00:00"), UTC)

    assert next(slots) == at("2026-12-01T08:00")
    assert list(slots) == [at("2026-12-01T16:00"), at("2026-12-02T00:00")]


@pytest.mark.parametrize("until", ["2026-11-30T00:00", "2026-12-01T00:00"])
def test_no_slot_is_between_a_moment_and_an_earlier_one(until: str) -> None:
    cron = Cron.parse("* * * * *")

    assert list(cron.between(at("2026-12-01T00:00"), at(until), UTC)) == []


def test_a_slot_is_computed_when_it_is_asked_for() -> None:
    slots = Cron.parse("* * * * *").between(
        at("2026-12-01T00:00"), at("9999-01-01T00:00"), UTC
    )

    assert list(islice(slots, 2)) == [at("2026-12-01T00:01"), at("2026-12-01T00:02")]


# What cannot be asked


def test_a_naive_moment_is_refused() -> None:
    cron = Cron.parse("* * * * *")
    naive, aware = datetime(2026, 12, 1), at("2026-12-01")  # noqa: DTZ001

    for name, ask in (
        ("after", lambda: cron.next(naive, UTC)),
        ("at", lambda: cron.previous(naive, UTC)),
        ("after", lambda: cron.between(naive, aware, UTC)),
        ("until", lambda: cron.between(aware, naive, UTC)),
    ):
        with pytest.raises(ValueError, match=f"^{name}=.* must be an aware datetime"):
            ask()


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
@pytest.mark.parametrize("text", ["0 12 * * *", "0 0 29 2 *", "0 12 1 1 *"])
def test_the_ends_of_time_are_an_error(text: str, zone: str) -> None:
    cron, where = Cron.parse(text), find_zone(zone)

    with pytest.raises(OverflowError):
        cron.next(datetime.max.replace(tzinfo=UTC), where)
    with pytest.raises(OverflowError):
        cron.previous(datetime.min.replace(tzinfo=UTC), where)


def test_the_error_at_the_ends_of_time_names_the_cron() -> None:
    cron = Cron.parse("0 0 29 2 *")

    with pytest.raises(OverflowError) as caught:
        cron.next(at("9997-01-01T00:00"), UTC)
    assert str(caught.value) == (
        "'0 0 29 2 *' has no slot after 9997-01-01 00:00:00+00:00 until the year 9999."
    )
    with pytest.raises(OverflowError) as caught:
        cron.previous(at("0003-01-01T00:00"), UTC)
    assert str(caught.value) == (
        "'0 0 29 2 *' has no slot until 0003-01-01 00:00:00+00:00 since the year 1."
    )


# Clocks that are put forward and back


@pytest.mark.parametrize(
    ("text", "zone", "after", "slot"),
    [
        # New York, 8 March 2026: 02:00 EST is 03:00 EDT, at 07:00 UTC.
        ("30 2 * * *", "America/New_York", "2026-03-07 12:00", "2026-03-09 06:30"),
        ("0 3 * * *", "America/New_York", "2026-03-08 06:59", "2026-03-08 07:00"),
        ("59 1 * * *", "America/New_York", "2026-03-08 00:00", "2026-03-08 06:59"),
        ("0 2 8 3 *", "America/New_York", "2026-01-01 00:00", "2027-03-08 07:00"),
        ("*/15 * * * *", "America/New_York", "2026-03-08 06:45", "2026-03-08 07:00"),
        ("*/15 2 * * *", "America/New_York", "2026-03-07 07:45", "2026-03-09 06:00"),
        ("0 */2 * * *", "America/New_York", "2026-03-08 05:00", "2026-03-08 08:00"),
        # 1 November 2026: 02:00 EDT is 01:00 EST, at 06:00 UTC.
        ("30 1 * * *", "America/New_York", "2026-11-01 05:30", "2026-11-02 06:30"),
        ("0 2 * * *", "America/New_York", "2026-11-01 05:00", "2026-11-01 07:00"),
        ("30 * * * *", "America/New_York", "2026-11-01 05:30", "2026-11-01 06:30"),
        # Berlin, 29 March 2026: 02:00 CET is 03:00 CEST, at 01:00 UTC.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28 12:00", "2026-03-30 00:30"),
        ("0 3 * * SUN", "Europe/Berlin", "2026-03-28 12:00", "2026-03-29 01:00"),
        # 25 October 2026: 03:00 CEST is 02:00 CET, at 01:00 UTC.
        ("30 2 * * *", "Europe/Berlin", "2026-10-24 12:00", "2026-10-25 00:30"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25 00:30", "2026-10-26 01:30"),
        # Dublin, whose winter time is the exception: 01:00 GMT is 02:00 IST.
        ("30 1 * * *", "Europe/Dublin", "2026-03-28 12:00", "2026-03-30 00:30"),
        ("30 1 * * *", "Europe/Dublin", "2026-10-24 12:00", "2026-10-25 00:30"),
        ("30 1 * * *", "Europe/Dublin", "2026-10-25 00:30", "2026-10-26 01:30"),
        # Lord Howe, by half an hour. 5 April 2026: 02:00 +11 is 01:30 +10:30.
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04 12:00", "2026-04-04 14:45"),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04 14:45", "2026-04-05 15:15"),
        ("15 1 * * *", "Australia/Lord_Howe", "2026-04-04 12:00", "2026-04-04 14:15"),
        # 4 October 2026: 02:00 +10:30 is 02:30 +11.
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03 00:00", "2026-10-04 15:15"),
        ("30 2 * * *", "Australia/Lord_Howe", "2026-10-03 00:00", "2026-10-03 15:30"),
        # Troll, by two hours. 29 March 2026: 01:00 +0 is 03:00 +2.
        ("30 1 * * *", "Antarctica/Troll", "2026-03-28 12:00", "2026-03-29 23:30"),
        ("30 2 * * *", "Antarctica/Troll", "2026-03-28 12:00", "2026-03-30 00:30"),
        # 25 October 2026: 03:00 +2 is 01:00 +0.
        ("0 2 * * *", "Antarctica/Troll", "2026-10-24 12:00", "2026-10-25 00:00"),
        ("0 2 * * *", "Antarctica/Troll", "2026-10-25 00:00", "2026-10-26 02:00"),
        # Casablanca leaves +1 in Ramadan. 15 February 2026: 03:00 +1 is 02:00.
        ("30 2 * * *", "Africa/Casablanca", "2026-02-14 12:00", "2026-02-15 01:30"),
        ("30 2 * * *", "Africa/Casablanca", "2026-02-15 01:30", "2026-02-16 02:30"),
        # 22 March 2026: 02:00 is 03:00 +1.
        ("30 2 * * *", "Africa/Casablanca", "2026-03-21 12:00", "2026-03-23 01:30"),
        # Beirut, 29 March 2026: midnight is 01:00.
        ("0 0 * * *", "Asia/Beirut", "2026-03-28 12:00", "2026-03-29 21:00"),
        # 25 October 2026: midnight is 23:00 of the day before.
        ("30 23 * * *", "Asia/Beirut", "2026-10-24 12:00", "2026-10-24 20:30"),
        ("30 23 * * *", "Asia/Beirut", "2026-10-24 20:30", "2026-10-25 21:30"),
        ("0 0 * * *", "Asia/Beirut", "2026-10-24 12:00", "2026-10-24 22:00"),
        # Cairo, Friday 24 April 2026: midnight is 01:00.
        ("15 0 * * *", "Africa/Cairo", "2026-04-23 12:00", "2026-04-24 21:15"),
        ("15 0 * * FRI", "Africa/Cairo", "2026-04-23 12:00", "2026-04-30 21:15"),
        # Thursday 29 October 2026: the end of the day is 23:00.
        ("59 23 29 10 *", "Africa/Cairo", "2026-10-29 12:00", "2026-10-29 20:59"),
        ("59 23 29 10 *", "Africa/Cairo", "2026-10-29 20:59", "2027-10-29 21:59"),
        # Santiago, 6 September 2026: midnight is 01:00. In 2027 it is the 5th.
        ("0 0 6 9 *", "America/Santiago", "2026-01-01 00:00", "2027-09-06 03:00"),
        # 5 April 2026: midnight is 23:00 of the day before.
        ("0 23 * * *", "America/Santiago", "2026-04-04 12:00", "2026-04-05 02:00"),
        ("0 23 * * *", "America/Santiago", "2026-04-05 02:00", "2026-04-06 03:00"),
        # Asuncion, 6 October 2024: midnight is 01:00.
        ("0 0 * * *", "America/Asuncion", "2024-10-05 12:00", "2024-10-07 03:00"),
        # 24 March 2024: midnight is 23:00 of the day before.
        ("30 23 * * *", "America/Asuncion", "2024-03-23 12:00", "2024-03-24 02:30"),
        ("30 23 * * *", "America/Asuncion", "2024-03-24 02:30", "2024-03-25 03:30"),
        # Havana, 1 November 2026: 01:00 is midnight, again.
        ("0 0 * * *", "America/Havana", "2026-10-31 12:00", "2026-11-01 04:00"),
        ("0 0 * * *", "America/Havana", "2026-11-01 04:00", "2026-11-02 05:00"),
        # Apia had no 30 December 2011.
        ("0 12 * * *", "Pacific/Apia", "2011-12-29 22:00", "2011-12-30 22:00"),
        ("0 12 30 12 *", "Pacific/Apia", "2011-12-01 00:00", "2012-12-29 22:00"),
        # St. John's, 7 November 2010: 00:01 is 23:01 of the day before.
        ("0 0 * * *", "America/St_Johns", "2010-11-07 00:00", "2010-11-07 02:30"),
        ("0 0 * * *", "America/St_Johns", "2010-11-07 02:30", "2010-11-08 03:30"),
        ("30 23 * * *", "America/St_Johns", "2010-11-06 12:00", "2010-11-07 02:00"),
        ("30 23 * * *", "America/St_Johns", "2010-11-07 02:30", "2010-11-08 03:00"),
    ],
)
def test_the_next_slot_around_a_change_is_this(
    text: str, zone: str, after: str, slot: str
) -> None:
    assert walk(text, after, zone, 1) == [slot]


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("America/New_York", "2026-03-08"),
        ("America/New_York", "2026-11-01"),
        ("Europe/Berlin", "2026-03-29"),
        ("Europe/Berlin", "2026-10-25"),
        ("Australia/Lord_Howe", "2026-04-04"),
        ("Australia/Lord_Howe", "2026-10-03"),
        ("Antarctica/Troll", "2026-03-29"),
        ("Antarctica/Troll", "2026-10-25"),
        ("Asia/Beirut", "2026-10-24"),
    ],
)
@pytest.mark.parametrize("doubled", Doubled)
def test_a_quarter_of_an_hour_stays_one(zone: str, day: str, doubled: Doubled) -> None:
    start, quarter = at(day), timedelta(minutes=15)
    slots = Cron.parse("*/15 * * * *").between(
        start, start + timedelta(days=1), find_zone(zone), doubled=doubled
    )

    assert list(slots) == [start + i * quarter for i in range(1, 97)]


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
@pytest.mark.parametrize(
    ("text", "step"),
    [("0 * * * *", timedelta(hours=1)), ("* * * * *", timedelta(minutes=1))],
)
def test_an_hour_and_a_minute_stay_one(day: str, text: str, step: timedelta) -> None:
    end = at(day) + timedelta(hours=4)
    slots = Cron.parse(text).between(at(day), end, find_zone("Europe/Berlin"))

    assert list(slots) == [
        at(day) + i * step for i in range(1, timedelta(hours=4) // step + 1)
    ]


BERLIN = ("Europe/Berlin", "2026-10-24 22:00", "2026-10-25 02:00")
ST_JOHNS = ("America/St_Johns", "2010-11-07 01:00", "2010-11-07 05:00")
TROLL = ("Antarctica/Troll", "2026-10-24 12:00", "2026-10-25 12:00")


@pytest.mark.parametrize(
    ("text", "where", "first", "second"),
    [
        ("30 2 * * *", BERLIN, ["00:30"], ["01:30"]),
        ("30 2 25 10 *", BERLIN, ["00:30"], ["01:30"]),
        ("30 2 * * SUN", BERLIN, ["00:30"], ["01:30"]),
        ("0,30 2-3 * * *", BERLIN, ["00:00", "00:30"], ["01:00", "01:30"]),
        ("0 1-2 * * *", TROLL, ["23:00", "00:00"], ["01:00", "02:00"]),
        # The passes are woven: 23:30 and 00:00, and both once more.
        ("0,30 0,23 * * *", ST_JOHNS, ["01:30", "02:00", "02:30"], ["03:00", "03:30"]),
    ],
)
def test_the_second_pass_counts_if_it_is_asked_for(
    text: str, where: tuple[str, str, str], first: list[str], second: list[str]
) -> None:
    zone, after, until = where
    cron, tz = Cron.parse(text), find_zone(zone)

    def show(doubled: Doubled) -> list[str]:
        slots = cron.between(at(after), at(until), tz, doubled=doubled)
        return [f"{slot:%H:%M}" for slot in slots]

    once, twice = show(Doubled.FIRST), show(Doubled.BOTH)
    after_the_change = [each for each in once if each not in first]
    assert once == first + after_the_change
    assert twice == first + second + after_the_change


def test_a_later_slot_than_both_passes_is_not_doubled() -> None:
    cron, berlin = Cron.parse("30 2 * * *"), find_zone("Europe/Berlin")

    for doubled, last in (
        (Doubled.FIRST, "2026-10-25T00:30"),
        (Doubled.BOTH, "2026-10-25T01:30"),
    ):
        moment = at("2026-10-25T12:00")
        assert cron.previous(moment, berlin, doubled=doubled) == at(last)
        assert cron.next(moment, berlin, doubled=doubled) == at("2026-10-26T01:30")
