from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from hypothesis import given
from hypothesis import strategies as st

from cloudtask import CloudTaskRequest
from tests.unit.keeping import FakeClaim, FakeStore

Dispatch = Callable[..., CloudTaskRequest]


@pytest.fixture
def dispatch() -> Dispatch:
    """A request with X-CloudTasks-* headers. One that is None is not sent."""

    def make(*, deadline: timedelta | None = None, **headers: str | None) -> Any:
        meta = {
            f"HTTP_X_CLOUDTASKS_{name.upper()}": value
            for name, value in headers.items()
            if value is not None
        }
        return CloudTaskRequest(id="f" * 32, meta=meta, deadline=deadline)

    return make


def test_a_request_in_place_knows_only_its_id() -> None:
    request = CloudTaskRequest(id="f" * 32)

    assert request.id == "f" * 32
    assert request.request is None
    assert dict(request.headers) == {}
    assert (request.task_name, request.queue, request.eta) == (None, None, None)
    assert (request.attempt, request.previous_response) == (1, None)
    assert request.remaining() is None
    assert not request.is_last_attempt


def test_headers_are_found_in_any_case() -> None:
    request = CloudTaskRequest(
        id="1", meta={"HTTP_X_TENANT": "shop", "CONTENT_TYPE": "text/plain"}
    )

    assert request.headers["X-Tenant"] == request.headers["x-tenant"] == "shop"
    assert request.headers["Content-Type"] == "text/plain"
    assert "X-Other" not in request.headers


def test_headers_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        CloudTaskRequest(id="1").headers["X-Other"] = "1"  # type: ignore[index]


def test_a_request_shows_what_names_it_and_no_headers() -> None:
    request = CloudTaskRequest(
        id="1",
        meta={
            "HTTP_X_TASK_SECRET": "canary",
            "HTTP_AUTHORIZATION": "Bearer canary",
            "HTTP_X_CLOUDTASKS_TASKRETRYCOUNT": "2",
            "HTTP_X_CLOUDTASKS_QUEUENAME": "e-mails",
            "HTTP_X_CLOUDTASKS_TASKNAME": "t\r\nforged",
        },
    )

    assert repr(request) == (
        "<CloudTaskRequest id=1 attempt=3 queue=e-mails task_name=None>"
    )


def test_a_request_takes_no_attribute_that_it_has_not() -> None:
    # A task that wants to note something would note it for nobody.
    request = CloudTaskRequest(id="1")

    with pytest.raises(AttributeError):
        request.note = "seen"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("attempt", "last", "is_last"),
    [
        (1, None, False),  # The queue decides, and is not asked.
        (99, None, False),
        (1, 2, False),
        (2, 2, True),
        (3, 2, True),  # The policy has become shorter since.
    ],
)
def test_the_last_attempt_is_the_policys(
    attempt: int, last: int | None, is_last: bool
) -> None:
    meta = {"HTTP_X_CLOUDTASKS_TASKRETRYCOUNT": str(attempt - 1)}
    request = CloudTaskRequest(id="1", meta=meta, last_attempt=last)

    assert request.attempt == attempt
    assert request.is_last_attempt is is_last


@pytest.mark.parametrize(
    ("spent", "remaining"),
    [
        (0, 600),
        (100, 500),
        (600, 0),
        (601, 0),  # Never negative.
    ],
)
def test_the_remaining_time_counts_down_to_zero(
    monkeypatch: pytest.MonkeyPatch, dispatch: Dispatch, spent: int, remaining: int
) -> None:
    clock = iter([1000.0, 1000.0 + spent])
    monkeypatch.setattr("cloudtask.wire.request.monotonic", lambda: next(clock))
    request = dispatch(deadline=timedelta(minutes=10))

    assert request.remaining() == timedelta(seconds=remaining)


@pytest.mark.parametrize(
    ("header", "attempt"),
    [
        (None, 1),
        ("0", 1),
        ("1", 2),
        ("007", 8),
        ("999999999", 1_000_000_000),
        # Whatever int() would take, and Cloud Tasks does not send.
        ("", 1),
        ("-1", 1),
        ("+1", 1),
        (" 1", 1),
        ("1\n", 1),
        ("1_000", 1),
        ("\u0663", 1),
        ("1.0", 1),
        ("1e3", 1),
        ("0x1", 1),
        ("9999999999", 1),
        ("9" * 30, 1),
        ("1,2", 1),  # Sent twice.
    ],
)
def test_the_attempt_is_one_more_than_the_retries(
    dispatch: Dispatch, header: str | None, attempt: int
) -> None:
    assert dispatch(TaskRetryCount=header).attempt == attempt


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (None, None),
        ("12345678901234567890", "12345678901234567890"),
        ("a_b-C", "a_b-C"),
        ("t" * 500, "t" * 500),
        ("t" * 501, None),
        ("", None),
        ("a b", None),
        ("real,spoof", None),
        ("a\r\nforged", None),
        ("a\n", None),
        ("ä", None),
    ],
)
def test_names_are_letters_digits_hyphens_and_underscores(
    dispatch: Dispatch, header: str | None, name: str | None
) -> None:
    task, queue = dispatch(TaskName=header), dispatch(QueueName=header)

    assert (task.task_name, task.queue) == (name, None)
    assert (queue.task_name, queue.queue) == (None, name)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, None),
        ("500", 500),
        ("504", 504),  # After the deadline.
        ("100", 100),
        ("599", 599),
        ("099", None),
        ("600", None),
        ("5000", None),
        ("50", None),
        ("\u0665\u0660\u0660", None),
        ("500\n", None),
        ("", None),
    ],
)
def test_the_previous_response_is_an_http_status(
    dispatch: Dispatch, header: str | None, status: int | None
) -> None:
    assert dispatch(TaskPreviousResponse=header).previous_response == status


@pytest.mark.parametrize(
    ("header", "eta"),
    [
        (None, None),
        ("1700000000.5", datetime(2023, 11, 14, 22, 13, 20, 500_000, tzinfo=UTC)),
        ("1700000000", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        # As captured from the service: more digits than a datetime has.
        (
            "1700000000.000001999",
            datetime(2023, 11, 14, 22, 13, 20, 1, tzinfo=UTC),
        ),
        ("0", datetime(1970, 1, 1, tzinfo=UTC)),
        ("99999999999", datetime(5138, 11, 16, 9, 46, 39, tzinfo=UTC)),
        ("100000000000", None),  # Would not fit, not much further on.
        ("-1", None),
        ("1.", None),
        (".5", None),
        ("1.0000000000", None),
        ("1e3", None),
        ("nan", None),
        ("1700000000,1700000001", None),
        ("", None),
    ],
)
def test_the_eta_is_a_time_in_utc(
    dispatch: Dispatch, header: str | None, eta: datetime | None
) -> None:
    found = dispatch(TaskETA=header).eta

    assert found == eta
    assert found is None or found.tzinfo is UTC


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("meta", "trace_id"),
    [
        ({}, None),
        ({"HTTP_TRACEPARENT": f"00-{TRACE}-00f067aa0ba902b7-01"}, TRACE),
        ({"HTTP_X_CLOUD_TRACE_CONTEXT": f"{TRACE}/105;o=1"}, TRACE),
        ({"HTTP_X_CLOUD_TRACE_CONTEXT": TRACE}, TRACE),
        (
            {
                "HTTP_TRACEPARENT": f"00-{TRACE}-00f067aa0ba902b7-01",
                "HTTP_X_CLOUD_TRACE_CONTEXT": f"{'0' * 32}/105;o=1",
            },
            TRACE,
        ),
        ({"HTTP_TRACEPARENT": f"00-{TRACE.upper()}-00f067aa0ba902b7-01"}, None),
        ({"HTTP_TRACEPARENT": TRACE}, None),
        ({"HTTP_X_CLOUD_TRACE_CONTEXT": f"{TRACE}0/105"}, None),
        ({"HTTP_X_CLOUD_TRACE_CONTEXT": f"{TRACE}/{'1' * 101}"}, None),
        ({"HTTP_X_CLOUD_TRACE_CONTEXT": f"{TRACE}\n"}, None),
    ],
)
def test_the_trace_is_the_dispatchs(meta: dict[str, str], trace_id: Any) -> None:
    assert CloudTaskRequest(id="1", meta=meta).trace_id == trace_id


@given(st.text(max_size=40) | st.from_regex(r"[0-9.,+_-]{1,40}"))
def test_no_header_makes_a_request_raise(header: str) -> None:
    names = ("RETRYCOUNT", "NAME", "PREVIOUSRESPONSE", "ETA")
    meta = {f"HTTP_X_CLOUDTASKS_TASK{name}": header for name in names}
    request = CloudTaskRequest(id="1", meta=meta)

    assert 1 <= request.attempt <= 1_000_000_000
    assert request.task_name in (header, None)
    assert request.previous_response in (*range(100, 600), None)
    assert request.eta is None or request.eta.year >= 1970


# What the store tells of it


def test_a_request_that_no_store_holds_is_never_cancelled() -> None:
    request = CloudTaskRequest(id="1")
    request.progress(1)

    assert request.cancelled is False
    assert request.check_cancelled() is False


def test_a_request_asks_the_claim_that_holds_it() -> None:
    store = FakeStore()
    claim = FakeClaim(store)
    request = CloudTaskRequest(id="1")
    request.set_hold(claim)

    assert (request.cancelled, request.check_cancelled()) == (False, False)
    claim.cancelled = True
    assert (request.cancelled, request.check_cancelled()) == (True, True)
    # Only the method asks the database.
    assert store.calls == [("look",), ("look",)]


def test_progress_is_told_to_the_claim() -> None:
    store = FakeStore()
    request = CloudTaskRequest(id="1")
    request.set_hold(FakeClaim(store))

    request.progress(1)
    request.progress(2, 10)
    request.progress(3, total=10, message="rows")

    assert store.calls == [
        ("progress", 1, None, ""),
        ("progress", 2, 10, ""),
        ("progress", 3, 10, "rows"),
    ]


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_asynchronous_code_can_ask_whether_it_is_cancelled(is_cancelled: bool) -> None:
    store = FakeStore()
    claim = FakeClaim(store)
    claim.cancelled = is_cancelled
    request = CloudTaskRequest(id="0" * 32)
    request.set_hold(claim)

    assert async_to_sync(request.acheck_cancelled)() is is_cancelled
    assert store.calls == [("look",)]
