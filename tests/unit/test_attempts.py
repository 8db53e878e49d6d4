from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudtask import CloudTaskRequest, attempts


def meta(**headers: str) -> dict[str, str]:
    """A WSGI environment with X-CloudTasks-* headers."""
    return {f"HTTP_X_CLOUDTASKS_{name.upper()}": v for name, v in headers.items()}


def test_a_request_in_place_knows_only_its_id() -> None:
    request = CloudTaskRequest(id="f" * 32)

    assert request.request is None
    assert dict(request.headers) == {}
    assert (request.task_name, request.queue, request.eta) == (None, None, None)
    assert (request.attempt, request.previous_response) == (1, None)
    assert request.remaining() is None
    assert not request.is_last_attempt


def test_a_request_cannot_be_changed() -> None:
    request = CloudTaskRequest(id="f" * 32)

    with pytest.raises(dataclasses.FrozenInstanceError):
        request.attempt = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        request.headers["X-Other"] = "1"  # type: ignore[index]


def test_two_requests_share_no_headers() -> None:
    first, second = CloudTaskRequest(id="1"), CloudTaskRequest(id="2")

    assert first.headers is not second.headers


def test_a_request_shows_no_headers() -> None:
    # One of them is the secret.
    request = CloudTaskRequest(id="1", headers={"X-Task-Secret": "canary"})

    assert "canary" not in repr(request)


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
    request = CloudTaskRequest(id="1", attempt=attempt, last_attempt=last)

    assert request.is_last_attempt is is_last


@pytest.mark.parametrize(
    ("deadline", "spent", "least", "most"),
    [
        (600, 0, 590, 600),
        (600, 100, 490, 500),
        (600, 601, 0, 0),  # Never negative.
    ],
)
def test_the_remaining_time_counts_down_to_zero(
    deadline: int, spent: int, least: int, most: int
) -> None:
    request = CloudTaskRequest(id="1", deadline=timedelta(seconds=deadline))
    earlier = dataclasses.replace(request, started=request.started - spent)

    remaining = earlier.remaining()

    assert remaining is not None
    assert timedelta(seconds=least) <= remaining <= timedelta(seconds=most)


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
        ("٣", 1),
        ("1.0", 1),
        ("1e3", 1),
        ("0x1", 1),
        ("9999999999", 1),
        ("9" * 30, 1),
        ("1,2", 1),  # Sent twice.
    ],
)
def test_the_attempt_is_one_more_than_the_retries(
    header: str | None, attempt: int
) -> None:
    environ = {} if header is None else meta(TaskRetryCount=header)

    assert attempts.attempt_number(environ) == attempt


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
    header: str | None, name: str | None
) -> None:
    task = {} if header is None else meta(TaskName=header)
    queue = {} if header is None else meta(QueueName=header)

    assert attempts.task_name(task) == name
    assert attempts.queue_name(queue) == name
    assert attempts.queue_name(task) is attempts.task_name(queue) is None


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
        ("٥٠٠", None),
        ("500\n", None),
        ("", None),
    ],
)
def test_the_previous_response_is_an_http_status(
    header: str | None, status: int | None
) -> None:
    environ = {} if header is None else meta(TaskPreviousResponse=header)

    assert attempts.previous_response(environ) == status


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
def test_the_eta_is_a_time_in_utc(header: str | None, eta: datetime | None) -> None:
    environ = {} if header is None else meta(TaskETA=header)

    assert attempts.eta(environ) == eta


@given(st.text(max_size=40) | st.from_regex(r"[0-9.,+_-]{1,40}"))
def test_no_header_makes_a_parser_raise(header: str) -> None:
    environ = meta(
        TaskRetryCount=header,
        TaskName=header,
        QueueName=header,
        TaskPreviousResponse=header,
        TaskETA=header,
    )

    assert attempts.attempt_number(environ) >= 1
    assert attempts.task_name(environ) in (header, None)
    assert attempts.queue_name(environ) in (header, None)
    assert attempts.previous_response(environ) in (*range(100, 600), None)
    eta = attempts.eta(environ)
    assert eta is None or eta.tzinfo is UTC
