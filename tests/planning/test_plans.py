"""Plans: what they are made of, and the slots that they have."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cloudtask.exceptions import InvalidSchedule, InvalidTask
from cloudtask.planning.plans import Overlap, make_plan

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def slots(plan: Any, after: datetime, until: datetime) -> list[str]:
    return [f"{each:%d %H:%M}" for each in plan.iterate_slots(after, until)]


def test_a_plan_has_the_zone_of_the_project_if_it_names_none(settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    assert make_plan(cron="0 3 * * *").find_next(NOON) == NOON.replace(hour=18)
    plan = make_plan(cron="0 3 * * *", timezone="UTC")
    assert plan.find_next(NOON) == datetime(2026, 3, 2, 3, tzinfo=UTC)


def test_every_is_a_cron() -> None:
    assert make_plan(every=timedelta(minutes=15)).cron.text == "*/15 * * * *"


def test_slots_have_a_start_and_an_end_which_count() -> None:
    plan = make_plan(
        cron="0 * * * *", timezone="UTC", starts=NOON + 2 * HOUR, ends=NOON + 4 * HOUR
    )
    assert slots(plan, NOON - HOUR, NOON + 9 * HOUR) == [
        "01 14:00",
        "01 15:00",
        "01 16:00",
    ]
    assert plan.find_next(NOON + 4 * HOUR) is None


@pytest.mark.parametrize(
    ("word", "number"), [("latest", 1), ("none", 0), ("all", 100), (7, 7), (0, 0)]
)
def test_catch_up_is_a_number_of_slots(word: Any, number: int) -> None:
    assert make_plan(cron="* * * * *", catch_up=word).catch_up == number


def test_overlap_is_a_word() -> None:
    assert make_plan(cron="* * * * *", overlap="skip").overlap is Overlap.SKIP


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, "cron= or every="),
        ({"cron": "* * * * *", "every": HOUR}, "cron= or every="),
        ({"cron": 5}, "cron=5"),
        ({"cron": "61 * * * *"}, "61"),
        ({"cron": "@daily"}, "@daily"),
        ({"every": 60}, "every=60"),
        ({"every": timedelta(minutes=7)}, "timedelta(minutes=6)"),
        ({"cron": "* * * * *", "timezone": "Europe/Bern"}, "Europe/Bern"),
        ({"cron": "* * * * *", "timezone": UTC}, "timezone="),
        ({"cron": "* * * * *", "catch_up": "some"}, "catch_up="),
        ({"cron": "* * * * *", "catch_up": 101}, "catch_up="),
        ({"cron": "* * * * *", "catch_up": True}, "catch_up="),
        ({"cron": "* * * * *", "catch_up": -1}, "catch_up="),
        ({"cron": "* * * * *", "overlap": "both"}, "overlap='both'"),
        ({"cron": "* * * * *", "overlap": None}, "overlap=None"),
        ({"cron": "* * * * *", "spread": 30}, "spread=30"),
        ({"cron": "* * * * *", "spread": -HOUR}, "spread="),
        ({"cron": "* * * * *", "spread": 25 * HOUR}, "spread="),
        ({"cron": "* * * * *", "starts": NOON.replace(tzinfo=None)}, "starts="),
        ({"cron": "* * * * *", "ends": "tomorrow"}, "ends='tomorrow'"),
        ({"cron": "* * * * *", "starts": NOON, "ends": NOON}, "ends="),
    ],
)
def test_what_is_wrong_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidSchedule) as caught:
        make_plan(**options)
    assert named in str(caught.value)
    assert isinstance(caught.value, InvalidTask)
