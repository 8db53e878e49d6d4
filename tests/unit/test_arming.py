"""Which alarm of its task a Cloud Task is, as its header says."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cloudtask.wire.arming import FIRST, Arming, make_arming_headers, read_arming
from cloudtask.wire.limits import MAX_TASK_ID_LENGTH
from cloudtask.wire.naming import make_rearmed_id, make_task_id
from cloudtask.wire.request import CloudTaskRequest

DUE = datetime(2031, 2, 3, 4, 5, 6, 789_012, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arming", "value"),
    [
        (Arming(number=1), "1.0"),
        (Arming(number=2, attempts=3), "2.3"),
        (Arming(due=DUE), "0.0.1927857906789012"),
        (Arming(number=2, attempts=3, due=DUE), "2.3.1927857906789012"),
        (Arming(number=10**9 - 1, attempts=10**9 - 1), "999999999.999999999"),
    ],
)
def test_a_header_says_what_was_written(arming: Arming, value: str) -> None:
    assert make_arming_headers(arming) == {"X-Task-Rearm": value}
    assert read_arming(value) == arming


def test_the_first_alarm_has_no_header() -> None:
    assert make_arming_headers(FIRST) == {}
    assert read_arming("") == FIRST


def test_what_is_too_large_for_the_header_is_written_as_its_largest() -> None:
    last = datetime(9999, 12, 31, tzinfo=UTC)
    [value] = make_arming_headers(Arming(attempts=10**12, due=last)).values()

    assert value == f"0.999999999.{10**17 - 1}"
    assert read_arming(value).due == datetime(5138, 11, 16, 9, 46, 39, 999_999, UTC)


@pytest.mark.parametrize(
    "text",
    [
        *("1", "1.", ".1", "1.1.", "1.1.1.1", "-1.1", "1.-1", "+1.1", "1,1", "a.b"),
        *(" 1.1", "1.1 ", "1.1\n", "1.1\r\n", "1.1,2.2", "٣.1", "1.1.1e3", "0x1.1"),
        *("1" * 10 + ".1", "1." + "1" * 10, "1.1." + "1" * 18),
    ],
)
def test_a_malformed_header_counts_as_none(text: str) -> None:
    assert read_arming(text) == FIRST


def test_attempts_before_count() -> None:
    meta = {"HTTP_X_TASK_REARM": "2.3", "HTTP_X_CLOUDTASKS_TASKRETRYCOUNT": "4"}
    request = CloudTaskRequest(id="0" * 32, meta=meta, last_attempt=9)

    assert (request.attempt, request.is_last_attempt) == (8, False)
    assert request.arming == Arming(number=2, attempts=3)
    assert CloudTaskRequest(id="0" * 32, meta=meta, last_attempt=8).is_last_attempt


def test_a_used_name_leads_to_ids_of_the_task_alone() -> None:
    task_id = make_task_id("shop.tasks.pay", "order-17")
    own_id = "a" * 32

    assert make_rearmed_id(task_id, own_id, 1) == f"{task_id}-{own_id}-r1"
    long = make_rearmed_id("x" * MAX_TASK_ID_LENGTH, own_id, 999_999_999)
    assert len(long) == MAX_TASK_ID_LENGTH
    assert long.endswith(f"x-{own_id}-r999999999")
