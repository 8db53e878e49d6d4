"""The transport to Google, against a gRPC server that does as it is told."""

import asyncio
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import grpc
import pytest
from django.conf import settings as django_settings
from django.test import override_settings
from google.cloud.tasks_v2.types import HttpMethod

from cloudtask import RetryPolicy
from cloudtask.conf import get_settings
from cloudtask.exceptions import (
    ConfigurationError,
    EnqueueError,
    PermissionDenied,
    QueueNotFound,
    ServiceUnavailable,
    TaskAlreadyExists,
)
from cloudtask.transports import get_transport
from cloudtask.transports.base import Transport
from cloudtask.transports.google import calls
from cloudtask.wire.outgoing import OidcToken, OutgoingTask
from tests.tasks import add, clean
from tests.unit.transports.conftest import QUEUE_PATH
from tests.unit.transports.doors import Door
from tests.unit.transports.service import Hang, Meet, Service, lose, refuse, store

Code = grpc.StatusCode
Configure = Callable[..., Transport]
Outgoing = Callable[..., OutgoingTask]

SECRET = "a secret for tests of 32 bytes.."
EMAIL = "tasks@project.iam.gserviceaccount.com"
NAMED = {"task_id": "ab12-nightly"}


def from_sync_code(transport: Transport, task: OutgoingTask) -> str:
    return transport.send(task)


def from_a_loop(transport: Transport, task: OutgoingTask) -> str:
    return asyncio.run(transport.asend(task))


both_ways = pytest.mark.parametrize("send", [from_sync_code, from_a_loop])


def counted(
    monkeypatch: pytest.MonkeyPatch,
) -> list[grpc.Channel]:
    """The channels that are opened from now on."""
    channels: list[grpc.Channel] = []
    open_channel = grpc.insecure_channel

    def open_and_count(*args: Any, **kwargs: Any) -> grpc.Channel:
        channels.append(open_channel(*args, **kwargs))
        return channels[-1]

    monkeypatch.setattr(grpc, "insecure_channel", open_and_count)
    return channels


# What is sent


@both_ways
def test_a_task_is_created_as_it_is(
    service: Service,
    configure: Configure,
    outgoing: Outgoing,
    send: Callable[..., str],
) -> None:
    name = send(
        configure(),
        outgoing(
            body=b'{"v": 1}',
            headers={"Content-Type": "application/json", "X-Shop": "berlin"},
            task_id="ab12-nightly",
            schedule_time=datetime(2026, 1, 31, 12, 0, 0, 250_000, UTC),
            deadline=timedelta(minutes=5),
            retry=RetryPolicy(
                max_attempts=3,
                min_backoff=timedelta(milliseconds=500),
                max_backoff=timedelta(hours=1),
                max_doublings=4,
                max_retry_duration=timedelta(days=1),
            ),
            oidc=OidcToken(email=EMAIL, audience="https://shop.example/"),
        ),
    )

    [call] = service.calls
    sent, http = call.request.task, call.request.task.http_request
    assert name == sent.name == f"{QUEUE_PATH}/tasks/ab12-nightly"
    assert call.request.parent == QUEUE_PATH
    assert http.url == "https://shop.example/_tasks/"
    assert http.http_method == HttpMethod.POST
    assert http.body == b'{"v": 1}'
    assert http.headers == {"Content-Type": "application/json", "X-Shop": "berlin"}
    assert http.oidc_token.service_account_email == EMAIL
    assert http.oidc_token.audience == "https://shop.example/"
    assert sent.schedule_time.ToDatetime(UTC) == datetime(
        2026, 1, 31, 12, 0, 0, 250_000, UTC
    )
    assert sent.dispatch_deadline.ToTimedelta() == timedelta(minutes=5)
    assert sent.retry_config.max_attempts == 3
    assert sent.retry_config.max_doublings == 4
    assert sent.retry_config.min_backoff.ToTimedelta() == timedelta(milliseconds=500)
    assert sent.retry_config.max_backoff.ToTimedelta() == timedelta(hours=1)
    assert sent.retry_config.max_retry_duration.ToTimedelta() == timedelta(days=1)


@both_ways
def test_what_is_not_set_is_left_to_google(
    service: Service,
    configure: Configure,
    outgoing: Outgoing,
    send: Callable[..., str],
) -> None:
    name = send(configure(), outgoing())

    sent = service.calls[0].request.task
    assert name == service.stored[0].name
    assert sent.name == ""
    for field in ("schedule_time", "dispatch_deadline", "retry_config"):
        assert not sent.HasField(field)
    assert not sent.http_request.HasField("oidc_token")


def test_part_of_a_policy_leaves_the_rest_to_the_queue(
    service: Service, configure: Configure, outgoing: Outgoing
) -> None:
    configure().send(outgoing(retry=RetryPolicy(max_doublings=2)))

    config = service.calls[0].request.task.retry_config
    assert [field.name for field, _ in config.ListFields()] == ["max_doublings"]


@both_ways
def test_google_can_route_the_call(
    service: Service,
    configure: Configure,
    outgoing: Outgoing,
    send: Callable[..., str],
) -> None:
    send(configure(), outgoing())

    metadata = service.calls[0].metadata
    assert metadata["x-goog-request-params"] == (
        "parent=projects/project/locations/europe-west1/queues/default"
    )


# What proves who sent it


@pytest.mark.parametrize(
    ("settings", "secret", "oidc"),
    [
        # The secret alone.
        ({}, SECRET, None),
        # The service account alone; the audience is the URL.
        (
            {"SECRET": None, "SAE": EMAIL},
            None,
            (EMAIL, "https://shop.example/_tasks/"),
        ),
        # Both, with an audience of its own.
        (
            {"SAE": EMAIL, "AUDIENCE": "shop"},
            SECRET,
            (EMAIL, "shop"),
        ),
        # Of several audiences the first is sent.
        ({"SAE": EMAIL, "AUDIENCE": ["shop", "blog"]}, SECRET, (EMAIL, "shop")),
        # A former secret is accepted, never sent.
        ({"SECRET_FALLBACKS": ["f" * 32]}, SECRET, None),
    ],
)
def test_a_created_task_carries_the_credentials_of_its_dispatch(
    service: Service,
    configure: Configure,
    settings: dict[str, Any],
    secret: str | None,
    oidc: tuple[str, str] | None,
) -> None:
    configure(**settings)
    add().delay()

    http = service.stored[0].http_request
    token = http.oidc_token
    assert http.headers.get("X-Task-Secret") == secret
    assert http.HasField("oidc_token") == (oidc is not None)
    assert (token.service_account_email, token.audience) == (oidc or ("", ""))


def test_the_audience_does_not_follow_the_url_of_a_task(
    service: Service, configure: Configure
) -> None:
    configure(SAE=EMAIL)
    task = add()
    task.url = "https://mysite.com/tasks"
    task.delay()

    http = service.stored[0].http_request
    assert http.url == "https://mysite.com/tasks"
    assert http.oidc_token.audience == "https://shop.example/_tasks/"


def test_a_task_that_the_view_would_refuse_is_not_enqueued(
    service: Service, configure: Configure
) -> None:
    configure(SECRET=None, SIGN=False)

    with pytest.raises(ConfigurationError) as caught:
        add().delay()
    assert str(caught.value) == (
        "CLOUDTASK['SIGN']: is off, and neither SECRET nor SAE is set, so the dispatch "
        "view would refuse this task. Turn SIGN on, or set one of them."
    )
    assert service.calls == []


@pytest.mark.parametrize("missing", ["PROJECT", "LOCATION", "URL"])
def test_a_missing_setting_is_named(
    service: Service, configure: Configure, missing: str
) -> None:
    configure(**{missing: None})

    with pytest.raises(ConfigurationError, match=rf"^CLOUDTASK\['{missing}'\]: is not"):
        add().delay()
    assert service.calls == []


def test_a_task_with_a_url_of_its_own_needs_no_other(
    service: Service, configure: Configure
) -> None:
    configure(URL=None)
    task = add()
    task.url = "https://mysite.com/tasks"
    task.delay()

    assert service.stored[0].http_request.url == "https://mysite.com/tasks"


# Refusals


@both_ways
@pytest.mark.parametrize(
    ("code", "expected", "retryable"),
    [
        # What the caller did wrong stays wrong.
        (Code.INVALID_ARGUMENT, EnqueueError, False),
        (Code.FAILED_PRECONDITION, EnqueueError, False),
        (Code.OUT_OF_RANGE, EnqueueError, False),
        (Code.UNIMPLEMENTED, EnqueueError, False),
        (Code.DATA_LOSS, EnqueueError, False),
        # The task has no name of ours, so it cannot be a duplicate.
        (Code.ALREADY_EXISTS, EnqueueError, False),
        (Code.NOT_FOUND, QueueNotFound, False),
        (Code.PERMISSION_DENIED, PermissionDenied, False),
        (Code.UNAUTHENTICATED, PermissionDenied, False),
        # It may work later, and it may have worked.
        (Code.ABORTED, ServiceUnavailable, True),
        (Code.CANCELLED, ServiceUnavailable, True),
        (Code.DEADLINE_EXCEEDED, ServiceUnavailable, True),
        (Code.INTERNAL, ServiceUnavailable, True),
        (Code.RESOURCE_EXHAUSTED, ServiceUnavailable, True),
        (Code.UNAVAILABLE, ServiceUnavailable, True),
        (Code.UNKNOWN, ServiceUnavailable, True),
    ],
)
def test_each_refusal_of_google_has_its_error(
    service: Service,
    configure: Configure,
    outgoing: Outgoing,
    send: Callable[..., str],
    code: grpc.StatusCode,
    expected: type[EnqueueError],
    retryable: bool,
) -> None:
    service.answers(refuse(code, "out of order"))

    with pytest.raises(EnqueueError) as caught:
        send(configure(), outgoing())
    error = caught.value
    assert type(error) is expected
    assert error.retryable is retryable
    assert error.queue_path == QUEUE_PATH
    assert str(error) == (
        f"tests.tasks.add: {QUEUE_PATH} did not take the task: "
        f"{code.name}: out of order"
    )
    assert isinstance(error.__cause__, grpc.RpcError)
    # An unnamed task is never sent twice: it might be enqueued twice.
    assert len(service.calls) == 1


def test_no_code_of_grpc_is_left_out() -> None:
    mark = next(
        mark
        for mark in test_each_refusal_of_google_has_its_error.pytestmark
        if mark.args[0] == ("code", "expected", "retryable")
    )

    assert {row[0] for row in mark.args[1]} == set(Code) - {Code.OK}


@both_ways
def test_a_duplicate_name_is_told_apart(
    service: Service,
    configure: Configure,
    outgoing: Outgoing,
    send: Callable[..., str],
) -> None:
    transport, task = configure(), outgoing(**NAMED)
    send(transport, task)

    with pytest.raises(TaskAlreadyExists) as caught:
        send(transport, task)
    assert caught.value.name == f"{QUEUE_PATH}/tasks/ab12-nightly"
    assert caught.value.queue_path == QUEUE_PATH
    assert caught.value.retryable is False
    assert str(caught.value) == (
        f"tests.tasks.add is enqueued already as {QUEUE_PATH}/tasks/ab12-nightly, or "
        "was within the last 24 hours. Wait, or give it another id with named=."
    )
    assert len(service.calls) == 2


@both_ways
def test_a_server_that_is_not_there_is_unavailable(
    service: Service,
    configure: Configure,
    outgoing: Outgoing,
    send: Callable[..., str],
) -> None:
    # Nothing listens on port 1.
    transport = configure(EMULATOR_HOST="127.0.0.1:1")

    with pytest.raises(ServiceUnavailable, match="UNAVAILABLE"):
        send(transport, outgoing())
    assert service.calls == []


# Repeats

SHORT = {"RPC_TIMEOUT": timedelta(milliseconds=500)}


@both_ways
@pytest.mark.parametrize(
    "code",
    [
        Code.ABORTED,
        Code.CANCELLED,
        Code.DEADLINE_EXCEEDED,
        Code.INTERNAL,
        Code.RESOURCE_EXHAUSTED,
        Code.UNAVAILABLE,
        Code.UNKNOWN,
    ],
)
def test_a_named_task_is_sent_again_after_a_passing_error(
    service: Service,
    configure: Configure,
    outgoing: Outgoing,
    send: Callable[..., str],
    code: grpc.StatusCode,
) -> None:
    service.answers(refuse(code))
    name = send(configure(), outgoing(**NAMED))

    assert [task.name for task in service.stored] == [name]
    assert len(service.calls) == 2


@both_ways
@pytest.mark.parametrize(
    "code", [Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.PERMISSION_DENIED]
)
def test_a_named_task_is_not_sent_again_after_a_lasting_error(
    service: Service,
    configure: Configure,
    outgoing: Outgoing,
    send: Callable[..., str],
    code: grpc.StatusCode,
) -> None:
    service.answers(refuse(code))

    with pytest.raises(EnqueueError, match=code.name):
        send(configure(), outgoing(**NAMED))
    assert len(service.calls) == 1


@both_ways
@pytest.mark.parametrize(
    "code", [Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.INTERNAL]
)
def test_a_named_task_whose_answer_was_lost_is_enqueued_once(
    service: Service,
    configure: Configure,
    outgoing: Outgoing,
    send: Callable[..., str],
    code: grpc.StatusCode,
) -> None:
    # Google has it, which the second call learns as ALREADY_EXISTS.
    service.answers(lose(code))
    name = send(configure(), outgoing(**NAMED))

    assert [task.name for task in service.stored] == [name]
    assert name == f"{QUEUE_PATH}/tasks/ab12-nightly"
    assert len(service.calls) == 2


@both_ways
def test_an_unnamed_task_whose_answer_was_lost_is_told(
    service: Service,
    configure: Configure,
    outgoing: Outgoing,
    send: Callable[..., str],
) -> None:
    service.answers(lose(Code.UNAVAILABLE))

    with pytest.raises(ServiceUnavailable) as caught:
        send(configure(), outgoing())
    assert caught.value.retryable
    assert (len(service.calls), len(service.stored)) == (1, 1)


@both_ways
def test_a_duplicate_is_one_although_the_service_was_away_before(
    service: Service,
    configure: Configure,
    outgoing: Outgoing,
    send: Callable[..., str],
) -> None:
    transport, task = configure(), outgoing(**NAMED)
    send(transport, task)

    # The first call was refused for certain, and still nobody knows.
    service.answers(refuse(Code.UNAVAILABLE))
    assert send(transport, task) == f"{QUEUE_PATH}/tasks/ab12-nightly"
    assert len(service.stored) == 1


@both_ways
def test_all_calls_for_a_task_share_one_timeout(
    service: Service,
    configure: Configure,
    outgoing: Outgoing,
    send: Callable[..., str],
) -> None:
    service.answers(*[refuse(Code.UNAVAILABLE)] * 3)
    transport = configure(RPC_TIMEOUT=timedelta(seconds=1))
    send(transport, outgoing(**NAMED))

    # Half of 0.1, 0.2 and 0.4 seconds were waited at the least.
    first, *_, last = service.calls
    assert last.seconds < 0.8 < first.seconds


@both_ways
def test_what_it_takes_to_connect_is_not_counted(
    service: Service,
    configure: Configure,
    outgoing: Outgoing,
    monkeypatch: pytest.MonkeyPatch,
    send: Callable[..., str],
) -> None:
    clock, open_channel = [0.0], grpc.insecure_channel

    def open_slowly(*args: Any) -> grpc.Channel:
        clock[0] += 60
        return open_channel(*args)

    monkeypatch.setattr(grpc, "insecure_channel", open_slowly)
    monkeypatch.setattr(calls, "monotonic", lambda: clock[0])
    send(configure(), outgoing())

    assert service.calls[0].seconds > 5


@both_ways
def test_repeats_end_with_the_timeout(
    service: Service,
    configure: Configure,
    outgoing: Outgoing,
    send: Callable[..., str],
) -> None:
    service.answers(*[refuse(Code.UNAVAILABLE, "try later")] * 100)
    transport = configure(**SHORT)
    started = monotonic()

    with pytest.raises(ServiceUnavailable, match="UNAVAILABLE: try later"):
        send(transport, outgoing(**NAMED))
    assert monotonic() - started < 2
    # After up to 0.1, 0.2 and 0.4 seconds, and half of that at the least.
    assert 2 <= len(service.calls) <= 5


@both_ways
@pytest.mark.parametrize("name", [{}, NAMED], ids=["unnamed", "named"])
def test_a_server_that_does_not_answer_is_given_up(
    service: Service,
    configure: Configure,
    outgoing: Outgoing,
    send: Callable[..., str],
    name: dict[str, str],
) -> None:
    hang = Hang(then_store=True)
    service.answers(hang)
    transport = configure(**SHORT)
    started = monotonic()

    with pytest.raises(ServiceUnavailable, match="DEADLINE_EXCEEDED"):
        send(transport, outgoing(**name))
    assert 0.5 <= monotonic() - started < 2
    assert service.calls[0].seconds < 1
    assert len(service.calls) == len(service.stored) == 1
    assert hang.given_up.wait(10)


def test_ten_seconds_are_the_default(
    service: Service, configure: Configure, outgoing: Outgoing
) -> None:
    configure().send(outgoing())

    assert 9 < service.calls[0].seconds < 11


PASSING = [
    *(Code.ABORTED, Code.CANCELLED, Code.DEADLINE_EXCEEDED, Code.INTERNAL),
    *(Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE, Code.UNKNOWN),
]


def fault() -> Callable[..., Any]:
    """Fail before or after the task was stored. Its seed is pytest's."""
    return random.choice([refuse, lose])(random.choice(PASSING))  # noqa: S311


def test_faults_neither_lose_nor_double_a_named_task(
    service: Service, configure: Configure, outgoing: Outgoing
) -> None:
    service.answers(*(random.choice([store, fault()]) for _ in range(200)))  # noqa: S311
    transport = configure()
    tasks = [outgoing(task_id=f"task-{number}") for number in range(150)]
    with ThreadPoolExecutor(12) as pool:
        names = list(pool.map(transport.send, tasks))

    assert len(service.calls) > 200
    assert sorted(task.name for task in service.stored) == sorted(names)
    assert names == [task.name for task in tasks]


def test_faults_of_an_unnamed_task_are_never_silent(
    service: Service, configure: Configure, outgoing: Outgoing
) -> None:
    service.answers(*(random.choice([store, fault()]) for _ in range(200)))  # noqa: S311
    transport = configure()

    def send(_: int) -> str | None:
        try:
            return transport.send(outgoing())
        except ServiceUnavailable:
            return None

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(send, range(200)))

    told = [name for name in answers if name is not None]
    assert len(service.calls) == 200
    assert 0 < len(told) < 200
    assert set(told) <= {task.name for task in service.stored}


# Async


def test_slow_calls_overlap_on_one_loop(
    service: Service, configure: Configure, outgoing: Outgoing
) -> None:
    # None of them is answered before all have arrived.
    service.answers(*[Meet(threading.Barrier(3))] * 3)
    transport = configure()

    async def main() -> list[str]:
        sends = (transport.asend(outgoing()) for _ in range(3))
        return await asyncio.gather(*sends)

    assert len(set(asyncio.run(main()))) == 3


def test_a_cancelled_coroutine_cancels_its_call(
    service: Service, configure: Configure, outgoing: Outgoing
) -> None:
    hang = Hang()
    service.answers(hang)
    transport = configure()

    async def main() -> None:
        sending = asyncio.ensure_future(transport.asend(outgoing()))
        arrived = await asyncio.to_thread(hang.arrived.wait, 10)
        assert arrived
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

    asyncio.run(main())
    # Long before its ten seconds are over.
    assert hang.given_up.wait(5)


def test_a_loop_that_ends_leaves_nothing_behind(
    service: Service, configure: Configure, outgoing: Outgoing
) -> None:
    hang = Hang()
    service.answers(hang)
    transport = configure()

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(fail)
        waiting = asyncio.ensure_future(transport.asend(outgoing()))
        await asyncio.to_thread(hang.arrived.wait, 10)
        assert not waiting.done()

    def fail(loop: object, context: dict[str, Any]) -> None:
        raise AssertionError(context)

    asyncio.run(main())
    assert hang.given_up.wait(5)


def test_one_channel_serves_one_loop_after_another(
    service: Service, configure: Configure, outgoing: Outgoing
) -> None:
    transport = configure()
    for _ in range(3):
        asyncio.run(transport.asend(outgoing()))

    assert len(service.stored) == 3
    assert len({call.peer for call in service.calls}) == 1


# One client


def test_one_client_serves_all_calls_of_all_threads(
    service: Service, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    channels = counted(monkeypatch)
    configure()
    start = threading.Barrier(8)

    def enqueue(number: int) -> None:
        start.wait(10)
        for _ in range(10):
            add(number).delay()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(enqueue, range(8)))
    asyncio.run(add().adelay())

    assert len(service.stored) == 81
    assert len(channels) == 1
    assert len({call.peer for call in service.calls}) == 1


def test_threads_that_come_first_at_once_share_one_client(
    service: Service,
    configure: Configure,
    outgoing: Outgoing,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transport, door = configure(), Door()
    open_channel = grpc.insecure_channel

    def open_slowly(*args: Any) -> grpc.Channel:
        door.wait_for(2)
        return open_channel(*args)

    monkeypatch.setattr(transport._link, "_lock", door)
    monkeypatch.setattr(grpc, "insecure_channel", open_slowly)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(transport.send, [outgoing(), outgoing()]))

    assert len({call.peer for call in service.calls}) == 1
    assert len(service.stored) == 2


def test_defining_and_binding_makes_no_client(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    channels = counted(monkeypatch)
    transport = configure()
    task = add(1)
    task.url = "https://mysite.com/tasks"
    task.execute()

    assert channels == []
    transport.close()
    assert channels == []


def test_a_change_of_settings_closes_the_client(
    service: Service, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    channels = counted(monkeypatch)
    configure()
    add().delay()
    configure(QUEUE="other")
    add().delay()

    first, second = channels
    assert is_closed(first)
    assert not is_closed(second)
    assert [call.request.parent.rpartition("/")[2] for call in service.calls] == [
        "default",
        "other",
    ]


def test_other_settings_leave_the_client_alone(
    service: Service, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    channels = counted(monkeypatch)
    configure()
    add().delay()
    with override_settings(LANGUAGE_CODE="de"):
        add().delay()

    assert len(channels) == 1


def test_a_closed_transport_opens_again_for_who_still_holds_it(
    service: Service,
    configure: Configure,
    outgoing: Outgoing,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    channels = counted(monkeypatch)
    transport = configure()
    transport.send(outgoing())
    transport.close()
    transport.close()
    transport.send(outgoing())

    assert [is_closed(channel) for channel in channels] == [True, False]
    transport.close()
    assert len(service.stored) == 2


@both_ways
def test_a_named_task_gets_through_although_the_settings_change_meanwhile(
    service: Service,
    configure: Configure,
    outgoing: Outgoing,
    send: Callable[..., str],
) -> None:
    hang = Hang()
    service.answers(hang)
    transport = configure()
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send, transport, outgoing(**NAMED))
        assert hang.arrived.wait(10)
        transport.close()
        name = sending.result(10)
    transport.close()

    assert [task.name for task in service.stored] == [name]


@both_ways
def test_an_unnamed_task_under_way_when_the_client_closes_is_told(
    service: Service,
    configure: Configure,
    outgoing: Outgoing,
    send: Callable[..., str],
) -> None:
    hang = Hang()
    service.answers(hang)
    transport = configure()
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send, transport, outgoing())
        assert hang.arrived.wait(10)
        transport.close()
        with pytest.raises(ServiceUnavailable, match="CANCELLED"):
            sending.result(10)


def is_closed(channel: grpc.Channel) -> bool:
    call = channel.unary_unary("/google.cloud.tasks.v2.CloudTasks/None")
    try:
        call(b"", timeout=5)
    except ValueError:
        return True
    except grpc.RpcError:
        return False
    raise AssertionError("Nobody serves this method.")


# All the way from a task


def test_a_named_task_of_the_decorator_is_named(
    service: Service, configure: Configure
) -> None:
    configure()
    enqueued = clean().delay()

    assert service.stored[0].name == enqueued.name
    with pytest.raises(TaskAlreadyExists):
        clean().delay()


def test_the_transport_follows_the_settings(configure: Configure) -> None:
    transport = configure()

    assert get_transport(get_settings()) is transport
    with override_settings(CLOUDTASK=dict(django_settings.CLOUDTASK)):
        assert get_transport(get_settings()) is not transport


def test_the_script_of_these_tests_stores_what_it_is_sent(
    service: Service, configure: Configure, outgoing: Outgoing
) -> None:
    service.answers(store)
    configure().send(outgoing(body=b"x"))

    assert [task.http_request.body for task in service.stored] == [b"x"]
