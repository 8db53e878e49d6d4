"""The whole emulator against a real target."""

import json
import socket
import threading
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.api_core import exceptions
from google.auth import jwt
from google.cloud import tasks_v2
from google.oauth2 import id_token

import cloudtask.emulator
from cloudtask.emulator import ApiError, Attempt, Emulator
from cloudtask.emulator.identity.tokens import DEFAULT_ISSUER
from cloudtask.emulator.storage.errors import StoreError
from tests.emulator.conftest import Target

Client = tasks_v2.CloudTasksClient
Connect = Callable[[Emulator], Client]
Start = Callable[..., Emulator]


class Response:
    def __init__(self, status: int, data: bytes) -> None:
        self.status = status
        self.data = data


def fetch(url: str, method: str = "GET", **kwargs: object) -> Response:
    """Be the transport that google-auth fetches keys with."""
    with urllib.request.urlopen(url) as response:  # noqa: S310
        return Response(response.status, response.read())


def create(
    client: Client, emulator: Emulator, url: str, **fields: object
) -> tasks_v2.Task:
    http = fields.pop("http", {})
    assert isinstance(http, dict)
    return client.create_task(
        parent=emulator.queue_path("default"),
        task={"http_request": {"url": url} | http} | fields,
    )


def test_a_task_is_sent_to_its_target(
    emulator: Emulator, client: Client, target: Target
) -> None:
    http = {"body": b'{"a": 1}', "headers": {"content-TYPE": "application/json"}}

    task = create(client, emulator, target.url, http=http)
    emulator.wait_for(lambda: emulator.idle)

    [received] = target.received
    assert received.body == b'{"a": 1}'
    assert received.header("content-TYPE") == "application/json"
    assert received.header("X-CloudTasks-TaskName") == task.name.rpartition("/")[2]
    [attempt] = emulator.attempts
    assert attempt.name == task.name
    assert attempt.url == target.url
    assert (attempt.number, attempt.status, attempt.outcome) == (1, 200, "done")
    assert attempt.headers.items() <= dict(received.headers).items()
    assert attempt.dispatch_time <= attempt.response_time
    assert attempt.retry_time is None


def test_a_task_without_attempts_left_is_given_up(
    start: Start, connect: Connect, target: Target
) -> None:
    emulator = start([])
    path = emulator.create_queue(
        "default", max_attempts=2, min_backoff=timedelta(milliseconds=5)
    )
    target.answers = [500, 500]

    task = create(connect(emulator), emulator, target.url)
    emulator.wait_for(lambda: emulator.idle)

    assert task.name.startswith(f"{path}/tasks/")
    assert [attempt.outcome for attempt in emulator.attempts] == ["retry", "gave up"]


def test_an_unreachable_target_is_a_failed_attempt(
    start: Start, connect: Connect
) -> None:
    emulator = start(["default:max_attempts=1"])
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

        create(connect(emulator), emulator, f"http://127.0.0.1:{port}/")
        emulator.wait_for(lambda: emulator.idle)

    [attempt] = emulator.attempts
    assert (attempt.status, attempt.outcome) == (None, "gave up")


def test_every_attempt_is_told_before_the_emulator_is_idle(
    emulator: Emulator, client: Client, target: Target
) -> None:
    queue = emulator.queue_path("default")
    # Sent together they often end in one commit, some of them in each round.
    for done in range(8, 168, 8):
        client.pause_queue(name=queue)
        for _ in range(8):
            create(client, emulator, target.url)
        client.resume_queue(name=queue)
        emulator.wait_for(lambda: emulator.idle)

        assert len(emulator.attempts) == done


def test_a_task_waits_for_its_schedule_time(
    emulator: Emulator, client: Client, target: Target
) -> None:
    moment = datetime.now(UTC) + timedelta(microseconds=150_001)

    create(client, emulator, target.url, schedule_time=moment)
    create(
        client, emulator, target.url, schedule_time=moment + timedelta(milliseconds=50)
    )
    emulator.wait_for(lambda: emulator.idle)

    first, second = emulator.attempts
    assert first.dispatch_time >= moment
    assert second.dispatch_time >= moment + timedelta(milliseconds=50)
    eta = target.received[0].header("X-CloudTasks-TaskETA")
    assert eta == f"{int(moment.timestamp())}.{moment.microsecond:06d}"


def test_an_oidc_token_passes_google_auths_verification(
    emulator: Emulator, client: Client, target: Target
) -> None:
    token = {"service_account_email": "tasks@demo.example", "audience": "shop"}
    headers = {"AUTHORIZATION": "Basic mine"}

    create(client, emulator, target.url, http={"oidc_token": token, "headers": headers})
    emulator.wait_for(lambda: emulator.idle)

    [received] = target.received
    assert "AUTHORIZATION" not in dict(received.headers)
    scheme, _, value = str(received.header("Authorization")).partition(" ")
    assert scheme == "Bearer"
    claims = id_token.verify_token(
        value,
        fetch,
        audience="shop",
        certs_url=f"{emulator.http_url}/certs",
        clock_skew_in_seconds=10,
    )
    assert claims["iss"] == DEFAULT_ISSUER
    assert claims["email"] == "tasks@demo.example"


def test_a_token_of_another_emulator_does_not_pass(
    start: Start, connect: Connect, target: Target
) -> None:
    emulator, other = start(), start()
    token = {"service_account_email": "tasks@demo.example"}

    create(connect(emulator), emulator, target.url, http={"oidc_token": token})
    emulator.wait_for(lambda: emulator.idle)

    value = str(target.received[0].header("Authorization")).removeprefix("Bearer ")
    certificates = json.loads(fetch(f"{other.http_url}/certs").data)
    with pytest.raises(ValueError, match="not found"):
        jwt.decode(value, certs=certificates)
    assert jwt.decode(value, verify=False)["aud"] == target.url


def test_two_emulators_do_not_share_tasks(
    start: Start, connect: Connect, target: Target
) -> None:
    one, two = start(), start()

    create(connect(one), one, target.url)
    one.wait_for(lambda: one.idle)

    assert len(one.attempts) == 1
    assert two.attempts == []
    assert one.host != two.host
    assert one.http_url != two.http_url


def test_the_hook_sees_every_attempt(
    start: Start, connect: Connect, target: Target
) -> None:
    seen: list[Attempt] = []
    emulator = start(on_attempt=seen.append)

    create(connect(emulator), emulator, target.url)
    emulator.wait_for(lambda: seen)

    assert seen == emulator.attempts


def test_stopping_waits_for_a_request_under_way(
    start: Start, connect: Connect, target: Target
) -> None:
    target.gate.clear()
    emulator = start(stop_grace=timedelta(seconds=10))
    create(connect(emulator), emulator, target.url)
    assert target.reached.wait(10)

    stopping = threading.Thread(target=emulator.stop)
    stopping.start()
    target.gate.set()
    stopping.join()

    assert [attempt.status for attempt in emulator.attempts] == [200]


def test_stopping_cuts_a_request_that_takes_too_long(
    start: Start, connect: Connect, target: Target
) -> None:
    target.gate.clear()
    emulator = start(stop_grace=timedelta(milliseconds=10))
    create(connect(emulator), emulator, target.url)
    assert target.reached.wait(10)

    emulator.stop()

    assert emulator.attempts == []


def test_stopping_twice_or_before_the_start_does_nothing() -> None:
    before = set(threading.enumerate())
    emulator = Emulator()
    emulator.stop()

    with emulator:
        emulator.stop()
    emulator.stop()

    left = set(threading.enumerate()) - before
    assert "cloudtask-emulator" not in {thread.name for thread in left}


def test_an_emulator_starts_once(emulator: Emulator) -> None:
    with pytest.raises(RuntimeError, match="can be started once"):
        emulator.start()


@pytest.mark.parametrize("stopped", [False, True])
def test_a_queue_needs_a_running_emulator(stopped: bool) -> None:
    emulator = Emulator()
    if stopped:
        emulator.start().stop()

    with pytest.raises(RuntimeError, match="is not running"):
        emulator.create_queue("emails")


def test_a_queue_is_created_once(emulator: Emulator) -> None:
    with pytest.raises(ApiError, match="Queue already exists"):
        emulator.create_queue("default")


def test_a_wrong_declaration_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="is not a queue name"):
        Emulator(["under_score"])
    with pytest.raises(ValueError, match="is not a project and a location"):
        Emulator(project="a/b")


@pytest.mark.parametrize("option", ["port", "http_port"])
def test_a_taken_port_is_an_error(emulator: Emulator, option: str) -> None:
    address = emulator.host if option == "port" else emulator.http_url
    port = int(address.rpartition(":")[2])

    with pytest.raises(OSError, match=str(port)):
        Emulator(**{option: port}).start()  # type: ignore[arg-type]


def test_a_wildcard_address_is_shown_as_a_reachable_one(start: Start) -> None:
    emulator = start(host="0.0.0.0")  # noqa: S104

    assert emulator.host.startswith("127.0.0.1:")
    assert emulator.http_url.startswith("http://127.0.0.1:")


def test_an_ipv6_address_is_shown_in_brackets() -> None:
    emulator = Emulator(host="::1", port=5, http_port=6)

    assert emulator.host == "[::1]:5"
    assert emulator.http_url == "http://[::1]:6"


def test_the_package_exports_what_it_says() -> None:
    for name in cloudtask.emulator.__all__:
        assert getattr(cloudtask.emulator, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = cloudtask.emulator.Nothing


# A store of its own.


def test_what_was_not_finished_is_there_after_a_restart(
    start: Start, connect: Connect, target: Target, tmp_path: Path
) -> None:
    options = {"store": tmp_path / "store.sqlite3"}
    emulator = start(["default"], **options)
    client = connect(emulator)
    tomorrow = emulator.now + timedelta(days=1)
    name = create(client, emulator, target.url, schedule_time=tomorrow).name
    token = {"service_account_email": "tasks@demo.example"}
    create(client, emulator, target.url, http={"oidc_token": token})
    client.pause_queue(name=emulator.queue_path("default"))
    keys = fetch(f"{emulator.http_url}/certs").data
    emulator.stop()

    again = start(["default", "other"], **options)

    assert [queue.path.rpartition("/")[2] for queue in again.queues] == [
        "default",
        "other",
    ]
    assert fetch(f"{again.http_url}/certs").data == keys
    client = connect(again)
    assert client.get_task(name=name).schedule_time == tomorrow
    path = again.queue_path("default")
    assert client.get_queue(name=path).state == tasks_v2.Queue.State.PAUSED


def test_without_a_store_nothing_is_kept(start: Start, connect: Connect) -> None:
    emulator = start()
    create(
        connect(emulator),
        emulator,
        "http://127.0.0.1:9/",
        schedule_time=emulator.now + timedelta(days=1),
    )
    keys = fetch(f"{emulator.http_url}/certs").data
    emulator.stop()

    again = start()

    assert again.idle
    assert fetch(f"{again.http_url}/certs").data != keys


def test_a_store_in_use_is_said_so(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    start(store=path)

    with pytest.raises(StoreError, match="is in use by another process"):
        Emulator(store=path).start()


def test_a_declared_queue_that_is_not_valid_is_said_so() -> None:
    with pytest.raises(ApiError, match="must be less than or equal to 500"):
        Emulator(["default:rate=501"]).start()


def test_tasks_make_their_queues_if_that_is_wanted(
    start: Start, connect: Connect, target: Target
) -> None:
    emulator = start([], create_queues=True)

    create(connect(emulator), emulator, target.url)
    emulator.wait_for(lambda: emulator.attempts)

    assert [queue.path for queue in emulator.queues] == [emulator.queue_path("default")]


# The instrument, from another thread.


def test_the_clock_moves_on_by_a_duration(
    start: Start, connect: Connect, target: Target
) -> None:
    emulator = start()
    client = connect(emulator)
    before = emulator.now
    moment = before + timedelta(hours=1)
    name = create(client, emulator, target.url, schedule_time=moment).name

    assert emulator.advance(minutes=59) == []
    [attempt] = emulator.advance(weeks=1, days=1, seconds=1, milliseconds=1)

    assert attempt.name == name
    assert attempt.dispatch_time >= moment
    moved = emulator.now - before
    assert moved >= timedelta(days=8, minutes=59, seconds=1, milliseconds=1)
    with pytest.raises(ValueError, match="cannot go back"):
        emulator.advance(hours=-1)


def test_advancing_ends_at_the_timeout(
    emulator: Emulator, client: Client, target: Target
) -> None:
    target.gate.clear()
    create(client, emulator, target.url)

    with pytest.raises(TimeoutError, match="a target hangs"):
        emulator.drain(timeout=0.05)
    with pytest.raises(TimeoutError, match="a target hangs"):
        emulator.advance(hours=1, timeout=0.05)
    target.gate.set()


def test_a_reset_begins_anew(start: Start, connect: Connect, target: Target) -> None:
    emulator = start(["default:max_attempts=3"])
    client = connect(emulator)
    name = f"{emulator.queue_path('default')}/tasks/t1"
    create(client, emulator, target.url, name=name)
    emulator.create_queue("other")
    client.delete_queue(name=emulator.queue_path("default"))
    emulator.advance(days=100)
    emulator.inject("unavailable")

    emulator.reset()

    assert (emulator.attempts, emulator.pending) == ([], 0)
    assert emulator.now < datetime.now(UTC) + timedelta(days=1)
    [queue] = emulator.queues
    assert queue.message.retry_config.max_attempts == 3
    create(client, emulator, target.url, name=name)
    emulator.wait_for(lambda: emulator.attempts)


def test_faults_are_taken_back(
    emulator: Emulator, client: Client, target: Target
) -> None:
    fault = emulator.inject("unavailable", method="CreateTask", times=None)
    assert fault.id == 1
    with pytest.raises(exceptions.ServiceUnavailable, match="fault: unavailable"):
        create(client, emulator, target.url)

    emulator.clear_faults()

    create(client, emulator, target.url)
    with pytest.raises(ValueError, match="is not one of"):
        emulator.inject("nothing")  # type: ignore[arg-type]


def test_waiting_may_ask_the_emulator(
    emulator: Emulator, client: Client, target: Target
) -> None:
    for _ in range(20):
        create(client, emulator, target.url)

    emulator.wait_for(lambda: emulator.queues[0].depth == 0)


def test_waiting_in_vain_says_what_did_happen(emulator: Emulator) -> None:
    with pytest.raises(TimeoutError, match=r"Not true within 0\.01 s: 0 attempts"):
        emulator.wait_for(lambda: False, timeout=0.01)
