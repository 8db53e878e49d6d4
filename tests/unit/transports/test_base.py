"""What all transports share: sizes, names, and what a task shows of itself."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudtask import RetryPolicy
from cloudtask.conf import Settings
from cloudtask.emulator.tasks.model import tasks as emulated
from cloudtask.exceptions import PayloadTooLarge, TaskAlreadyExists
from cloudtask.transports.base import Transport
from cloudtask.transports.google.messages import to_message
from cloudtask.transports.in_process import UsedNames
from cloudtask.transports.memory import MemoryTransport
from cloudtask.wire.limits import MAX_STORED_BYTES
from cloudtask.wire.outgoing import OidcToken, OutgoingTask, Target
from cloudtask.wire.stored_size import check_size, count_stored_bytes
from tests.outgoing import outgoing_task
from tests.unit.transports.conftest import QUEUE_PATH

NOW = datetime(2026, 1, 31, 12, 0, 0, 999_999, UTC)
MICROSECONDS = int(NOW.timestamp()) * 1_000_000 + NOW.microsecond


def bytes_at_the_service(task: OutgoingTask) -> int:
    """The size of a task as the service stores it, by its own library."""
    message = to_message(task).task
    if not message.name:
        message.name = f"{task.route.queue_path}/tasks/{'9' * 20}"
    emulated.fill(message, MICROSECONDS)
    message.ClearField("view")
    return int(message.ByteSize())


# Sizes

durations = st.integers(0, 10**6).map(lambda ms: timedelta(milliseconds=ms))
texts = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=200)
policies = st.builds(
    lambda attempts, doublings, backoff, longer, duration: RetryPolicy(
        max_attempts=attempts,
        max_doublings=doublings,
        min_backoff=backoff,
        max_backoff=None if backoff is None else backoff + longer,
        max_retry_duration=duration,
    ),
    st.none() | st.just(-1) | st.integers(1, 10**6),
    st.none() | st.integers(0, 10**6),
    st.none() | durations,
    durations,
    st.none() | durations,
)
outgoing_tasks = st.builds(
    outgoing_task,
    queue_path=st.just(QUEUE_PATH),
    url=st.sampled_from(
        ["https://shop.example/_tasks/", "https://größe.example/" + "x" * 200]
    ),
    body=st.integers(1, 70_000).map(bytes),
    headers=st.dictionaries(texts.filter(bool), texts, max_size=5).filter(
        lambda headers: "user-agent" not in {name.lower() for name in headers}
    ),
    task_id=st.none() | st.integers(1, 500).map(lambda length: "a" * length),
    # What is before it is "now", at its longest.
    schedule_time=st.none() | st.just(NOW),
    deadline=st.none() | durations.filter(lambda d: d >= timedelta(seconds=15)),
    retry=st.none() | policies.filter(lambda policy: policy != RetryPolicy()),
    oidc=st.none()
    | st.builds(
        OidcToken,
        email=texts.filter(bool),
        audience=texts.filter(bool) | st.just("Größe ✓"),
    ),
)


@given(outgoing_tasks, st.none() | texts)
def test_the_size_is_counted_as_the_service_counts_it(
    task: OutgoingTask, own: str | None
) -> None:
    if own is not None:
        task.headers = {"X-Task-Signature": own}
    assert count_stored_bytes(task) == bytes_at_the_service(task)


def test_a_time_on_the_second_is_smaller_than_it_is_counted(
    outgoing: Callable[..., OutgoingTask],
) -> None:
    task = outgoing(schedule_time=datetime(2026, 3, 1, tzinfo=UTC))

    assert 0 <= count_stored_bytes(task) - bytes_at_the_service(task) <= 6


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"task_id": "ab12-nightly", "retry": RetryPolicy(max_attempts=3)},
        {"oidc": OidcToken(email="a@b.c", audience="https://shop.example/")},
        # All that is not the body at its longest.
        {
            "task_id": "a" * 500,
            "url": "https://shop.example/" + "x" * 2062,
            "headers": {f"X-{i:05}": "a" * 57 for i in range(1000)},
            "oidc": OidcToken(email="a@b.c" * 50, audience="https://" + "x" * 2075),
        },
    ],
)
def test_the_largest_task_is_taken_and_a_larger_one_is_not(
    outgoing: Callable[..., OutgoingTask], fields: dict[str, Any]
) -> None:
    body = MAX_STORED_BYTES - count_stored_bytes(outgoing(body=b"", **fields))
    # The body's own length and that of what it is in take more bytes, too.
    while count_stored_bytes(outgoing(body=bytes(body), **fields)) > MAX_STORED_BYTES:
        body -= 1

    check_size(outgoing(body=bytes(body), **fields))
    with pytest.raises(PayloadTooLarge) as caught:
        check_size(outgoing(body=bytes(body + 1), **fields))
    assert (caught.value.size, caught.value.limit) == (1_048_570, 1_048_569)
    assert str(caught.value) == (
        "tests.tasks.add takes 1048570 bytes as a stored task; Cloud Tasks takes at "
        "most 1048569. Store the data elsewhere and pass its key."
    )


# Names


def test_names_are_used_once(outgoing: Callable[..., OutgoingTask]) -> None:
    names, task = UsedNames(), outgoing(task_id="nightly")

    assert names.claim(task) == f"{QUEUE_PATH}/tasks/nightly"
    with pytest.raises(TaskAlreadyExists):
        names.claim(task)
    names.clear()
    assert names.claim(task) == f"{QUEUE_PATH}/tasks/nightly"


def test_another_queue_has_names_of_its_own(
    outgoing: Callable[..., OutgoingTask],
) -> None:
    names = UsedNames()
    first = names.claim(outgoing(task_id="nightly"))
    second = names.claim(outgoing(task_id="nightly", queue_path=QUEUE_PATH + "-2"))

    assert first != second


# What is shown


def test_bodies_headers_and_secrets_are_never_shown(
    outgoing: Callable[..., OutgoingTask],
) -> None:
    task = outgoing(body=b"canary", headers={"X-Task-Secret": "canary"})
    task.headers = {"X-Task-Signature": "canary"}
    target = Target(headers={"X-Task-Secret": "canary"})

    assert "canary" not in repr(task)
    assert "canary" not in repr(target)
    assert "shop.example" in repr(task)


def test_a_route_knows_its_queues_name(outgoing: Callable[..., OutgoingTask]) -> None:
    assert outgoing().route.queue == "default"


# Transports without a server


@pytest.mark.parametrize(
    ("settings", "queue_path", "url"),
    [
        # Nothing is needed for tasks that never leave the process.
        (Settings(), "projects/local/locations/local/queues/q", "http://localhost/"),
        # What is set is used.
        (
            Settings(project="shop", location="europe-west6", url="https://s.example/"),
            "projects/shop/locations/europe-west6/queues/q",
            "https://s.example/",
        ),
    ],
)
def test_a_transport_without_a_server_needs_no_settings(
    settings: Settings, queue_path: str, url: str
) -> None:
    target = MemoryTransport(settings).target(settings)

    assert target.queue_path("q") == queue_path
    assert target.url == url
    assert (dict(target.headers), target.oidc) == ({}, None)


def test_a_transport_must_know_how_to_send() -> None:
    with pytest.raises(TypeError, match=r"abstract method '?send"):
        Transport(Settings())
