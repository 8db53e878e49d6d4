import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from google.cloud import tasks_v2

from cloudtask.emulator import Emulator
from cloudtask.emulator.tasks.faults import API_KINDS, DISPATCH_KINDS

from .calls import Answer, call, get, post
from .conftest import Target

CREDENTIAL = "of no worth"


def listed(emulator: Emulator, route: str, **query: Any) -> Any:
    """Return what a route gives with a query."""
    answer = get(emulator, f"/emulator/{route}?{urlencode(query)}")
    assert answer.status == 200, answer.body
    return answer.json


def add_task(
    client: tasks_v2.CloudTasksClient, queue: str, url: str, **fields: Any
) -> str:
    """Create a task and return its name."""
    request = {"url": url} | fields.pop("http", {})
    task = client.create_task(parent=queue, task={"http_request": request, **fields})
    return task.name


def moment(text: str) -> datetime:
    assert text.endswith("Z")
    return datetime.fromisoformat(text)


@pytest.fixture(scope="module")
def unchanged() -> Iterator[Emulator]:
    """Return an emulator for requests that are refused."""
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def queue(emulator: Emulator) -> str:
    return emulator.queue_path("default")


@pytest.fixture
def paused(client: tasks_v2.CloudTasksClient, queue: str) -> str:
    client.pause_queue(name=queue)
    return queue


# Queues.


def test_queues_are_listed(
    start: Callable[..., Emulator],
    connect: Callable[[Emulator], tasks_v2.CloudTasksClient],
    target: Target,
) -> None:
    emulator = start(["mails:max_dispatches_per_second=2,max_attempts=3", "default"])
    client = connect(emulator)
    mails = emulator.queue_path("mails")
    add_task(client, mails, target.url)
    emulator.wait_for(lambda: emulator.idle)
    client.pause_queue(name=mails)
    soon = datetime.now(UTC) + timedelta(hours=1)
    add_task(client, mails, target.url, schedule_time=soon)

    default, shown = listed(emulator, "queues")["queues"]

    assert default["path"] == emulator.queue_path("default")
    assert (default["depth"], default["oldest"]) == (0, None)
    assert shown == {
        "path": mails,
        "name": "mails",
        "state": "PAUSED",
        "depth": 1,
        "in_flight": 0,
        "oldest": shown["oldest"],
        "rate": {
            "max_dispatches_per_second": 2.0,
            "effective": 2.0,
            "max_burst_size": 10,
            "max_concurrent_dispatches": 1000,
        },
        "dispatched_last_minute": 1,
        "retry_config": {
            "maxAttempts": 3,
            "minBackoff": "0.100s",
            "maxBackoff": "3600s",
            "maxDoublings": 16,
        },
    }
    assert moment(shown["oldest"]) == soon


# Tasks.


def test_a_task_is_shown_with_what_it_carries(
    emulator: Emulator, client: tasks_v2.CloudTasksClient, paused: str
) -> None:
    name = add_task(
        client,
        paused,
        "http://127.0.0.1:9/run",
        http={"body": b'{"a": 1}', "headers": {"X-Api-Key": CREDENTIAL}},
    )

    shown = get(emulator, f"/emulator/tasks/{name}").json

    assert shown["name"] == name
    assert shown["view"] == "FULL"
    assert shown["httpRequest"] == {
        "url": "http://127.0.0.1:9/run",
        "httpMethod": "POST",
        "headers": {"User-Agent": "Google-Cloud-Tasks", "X-Api-Key": CREDENTIAL},
        "body": base64.b64encode(b'{"a": 1}').decode(),
    }
    assert shown["decoded"] == {
        "format": "json",
        "size": 8,
        "summary": '{"a": 1}',
        "text": '{\n  "a": 1\n}',
        "truncated": False,
        "call": None,
    }
    assert shown["attempts"] == []


def test_a_name_may_be_quoted(
    emulator: Emulator, client: tasks_v2.CloudTasksClient, paused: str
) -> None:
    name = add_task(client, paused, "http://127.0.0.1:9/")

    shown = get(emulator, f"/emulator/tasks/{quote(name, safe='')}").json

    assert shown["name"] == name


def test_an_app_engine_task_is_shown(
    emulator: Emulator, client: tasks_v2.CloudTasksClient, paused: str
) -> None:
    request = {"relative_uri": "/run", "body": b"hello"}
    task = client.create_task(parent=paused, task={"app_engine_http_request": request})

    shown = get(emulator, f"/emulator/tasks/{task.name}").json

    assert shown["appEngineHttpRequest"]["relativeUri"] == "/run"
    assert shown["decoded"]["text"] == "hello"


def test_a_task_without_bodies_is_cheaper(
    emulator: Emulator, client: tasks_v2.CloudTasksClient, paused: str
) -> None:
    name = add_task(client, paused, "http://127.0.0.1:9/", http={"body": b"hello"})

    [in_list] = listed(emulator, "tasks", queue=paused, response_view="BASIC")["tasks"]
    alone = get(emulator, f"/emulator/tasks/{name}?response_view=BASIC").json
    [whole] = listed(emulator, "tasks", queue=paused)["tasks"]

    assert in_list["decoded"] == {"size": 5, "summary": "hello"}
    assert alone == {**in_list, "retries": alone["retries"], "attempts": []}
    assert "body" not in in_list["httpRequest"]
    assert whole["decoded"]["text"] == "hello"
    assert base64.b64decode(whole["httpRequest"]["body"]) == b"hello"


def test_tasks_come_in_pages(
    emulator: Emulator, client: tasks_v2.CloudTasksClient, paused: str
) -> None:
    names = {add_task(client, paused, "http://127.0.0.1:9/") for _ in range(5)}
    seen = []
    token = ""
    for _ in range(3):
        page = listed(emulator, "tasks", queue=paused, page_size=2, page_token=token)
        seen += [task["name"] for task in page["tasks"]]
        token = page["next_page_token"]

    assert token == ""
    assert len(seen) == 5
    assert set(seen) == names


def test_a_preview_says_what_happens(
    start: Callable[..., Emulator],
    connect: Callable[[Emulator], tasks_v2.CloudTasksClient],
    target: Target,
) -> None:
    emulator = start(["default:min_backoff=10,max_backoff=300,max_doublings=3"])
    client = connect(emulator)
    target.answers = [500] * 9
    name = add_task(
        client,
        emulator.queue_path("default"),
        target.url,
        schedule_time=datetime.now(UTC) + timedelta(hours=1),
        retry_config={"max_attempts": 9},
    )

    retries = get(emulator, f"/emulator/tasks/{name}").json["retries"]
    attempts = emulator.advance(hours=3)

    foreseen = [moment(each) for each in retries["attempts"]]
    assert [round((later - foreseen[0]).total_seconds()) for later in foreseen] == [
        *(0, 10, 30, 70, 150, 310, 550, 850, 1150)
    ]
    assert retries["end"] == {
        "attempt": 9,
        "time": retries["attempts"][-1],
        "reason": "attempts",
    }
    assert [attempt.outcome for attempt in attempts] == ["retry"] * 8 + ["gave up"]
    for attempt, expected in zip(attempts, foreseen, strict=True):
        assert abs(attempt.dispatch_time - expected) < timedelta(seconds=5)


def test_a_preview_may_have_no_end(
    emulator: Emulator, client: tasks_v2.CloudTasksClient, paused: str
) -> None:
    name = add_task(
        client,
        paused,
        "http://127.0.0.1:9/",
        retry_config={"max_attempts": -1, "max_backoff": timedelta(seconds=0.2)},
    )

    retries = get(emulator, f"/emulator/tasks/{name}").json["retries"]

    assert len(retries["attempts"]) == 20
    assert retries["end"] is None


def test_looking_uses_up_no_fault(emulator: Emulator, queue: str) -> None:
    emulator.inject("unavailable")

    listed(emulator, "queues")
    listed(emulator, "tasks", queue=queue)
    listed(emulator, "attempts")

    assert len(listed(emulator, "faults")["faults"]) == 1


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("tasks?queue=projects/p/locations/l/queues/q", 404, ["Queue does not exist"]),
        ("tasks?queue=q", 400, ["Queue name must be formatted"]),
        ("tasks", 400, ["queue is missing"]),
        ("tasks?queue=", 400, ["queue is missing"]),
        ("tasks?queue=q&page_size=0", 400, ["page_size is '0'", "1 to 1000"]),
        ("tasks?queue=q&page_size=1001", 400, ["page_size is '1001'", "1 to 1000"]),
        ("tasks?queue=q&page_size=many", 400, ["page_size is 'many'"]),
        ("tasks?queue=q&page_size=%C2%B2", 400, ["page_size is '²'"]),
        ("tasks?queue=q&page_size=" + "9" * 5000, 400, ["page_size is"]),
        ("tasks?queue=q&response_view=ALL", 400, ["'ALL'", "FULL, BASIC"]),
        ("tasks?queues=q", 400, ["'queues' is not known", "Did you mean 'queue'?"]),
        ("tasks/nothing", 400, ["Task name must be formatted"]),
        ("tasks/projects/p/locations/l/queues/q/tasks/t", 404, ["not found"]),
        ("tasks/t?view=FULL", 400, ["'view' is not known", "response_view"]),
        ("attempts?limit=-1", 400, ["limit is '-1'"]),
        ("attempts?after=x", 400, ["after is 'x'", "from 0 to"]),
        ("attempts?since=1", 400, ["'since' is not known", "queue, task, limit"]),
        ("queues?a=1", 400, ["'a' is not known", "Known are: none"]),
        ("clock?a=1", 400, ["'a' is not known"]),
        ("faults?a=1", 400, ["'a' is not known"]),
    ],
)
def test_a_wrong_question_is_explained(
    unchanged: Emulator, path: str, status: int, words: list[str]
) -> None:
    answer = get(unchanged, f"/emulator/{path}")

    assert answer.status == status
    assert all(word in answer.error for word in words), answer.error


# Attempts.


def test_attempts_are_numbered_and_can_be_followed(
    emulator: Emulator,
    client: tasks_v2.CloudTasksClient,
    queue: str,
    target: Target,
) -> None:
    target.answers = [(503, {"Content-Length": "4100"})]
    name = add_task(client, queue, target.url, http={"headers": {"X-Api-Key": "k"}})
    emulator.wait_for(lambda: emulator.idle)

    first, second = listed(emulator, "attempts")["attempts"]
    newer = listed(emulator, "attempts", after=first["serial"])["attempts"]
    none = listed(emulator, "attempts", after=second["serial"])["attempts"]

    headers = first.pop("headers")
    assert headers["X-Api-Key"] == "k"
    assert headers["X-CloudTasks-TaskRetryCount"] == "0"
    dispatched, answered, retried = (
        moment(first.pop(key))
        for key in ("dispatch_time", "response_time", "retry_time")
    )
    assert dispatched <= answered < retried
    assert first == {
        "serial": 1,
        "task": name,
        "queue": queue,
        "number": 1,
        "url": target.url,
        "status": 503,
        "outcome": "retry",
        "error": None,
        "fault": None,
        "response_body": "x" * 4096,
        "response_size": 4100,
    }
    assert (second["serial"], second["number"], second["status"]) == (2, 2, 200)
    assert (second["outcome"], second["retry_time"]) == ("done", None)
    assert newer == [second]
    assert none == []


def test_attempts_can_be_chosen(
    start: Callable[..., Emulator],
    connect: Callable[[Emulator], tasks_v2.CloudTasksClient],
    target: Target,
) -> None:
    emulator = start(["a", "ab"])
    client = connect(emulator)
    names = [
        add_task(client, emulator.queue_path(queue), target.url)
        for queue in ("a", "ab", "a", "ab")
        if emulator.wait_for(lambda: emulator.idle) is None
    ]
    emulator.wait_for(lambda: emulator.idle)

    def chosen(**query: Any) -> list[str]:
        found = listed(emulator, "attempts", **query)["attempts"]
        return [attempt["task"] for attempt in found]

    assert chosen() == names
    assert chosen(queue=emulator.queue_path("a")) == [names[0], names[2]]
    assert chosen(task=names[3]) == [names[3]]
    assert chosen(task=names[3], queue=emulator.queue_path("a")) == []
    assert chosen(limit=1) == [names[3]]  # The newest.
    assert chosen(limit=1, after=1) == [names[1]]  # The next.


def test_a_task_is_shown_with_its_attempts(
    emulator: Emulator,
    client: tasks_v2.CloudTasksClient,
    paused: str,
    target: Target,
) -> None:
    target.answers = [500]
    name = add_task(client, paused, target.url)
    other = add_task(client, paused, target.url)
    client.run_task(name=name)
    client.run_task(name=other)
    emulator.wait_for(lambda: len(emulator.attempts) == 2)

    shown = get(emulator, f"/emulator/tasks/{name}").json

    [attempt] = shown["attempts"]
    assert (attempt["task"], attempt["status"]) == (name, 500)
    assert shown["dispatchCount"] == 1


# The clock.


def test_the_clock_moves_on(
    emulator: Emulator,
    client: tasks_v2.CloudTasksClient,
    queue: str,
    target: Target,
) -> None:
    before = listed(emulator, "clock")
    name = add_task(
        client,
        queue,
        target.url,
        schedule_time=datetime.now(UTC) + timedelta(minutes=90),
    )

    first = post(emulator, "/emulator/clock/advance", {"hours": 1}).json
    second = post(
        emulator, "/emulator/clock/advance", {"minutes": 30, "seconds": 1.5}
    ).json

    assert before["ahead_seconds"] == 0
    assert first["attempts"] == []
    assert first["ahead_seconds"] == pytest.approx(3600, abs=60)
    [attempt] = second["attempts"]
    assert (attempt["task"], attempt["serial"]) == (name, 1)
    assert moment(second["now"]) - moment(before["now"]) >= timedelta(minutes=90)


@pytest.mark.parametrize(
    ("content", "microseconds"),
    [
        ({"weeks": 1}, 7 * 24 * 3600 * 1_000_000),
        ({"days": 0.5}, 12 * 3600 * 1_000_000),
        ({"milliseconds": 250, "microseconds": 7}, 250_007),
        ({"seconds": 0}, 0),
    ],
)
def test_durations_are_those_of_timedelta(
    emulator: Emulator, content: dict[str, float], microseconds: int
) -> None:
    answer = post(emulator, "/emulator/clock/advance", content)

    assert answer.status == 200
    assert timedelta(microseconds=microseconds) == timedelta(**content)
    ahead = answer.json["ahead_seconds"]
    assert microseconds / 1e6 - 1 <= ahead <= microseconds / 1e6


def test_a_drain_waits_for_what_is_due(
    emulator: Emulator,
    client: tasks_v2.CloudTasksClient,
    queue: str,
    target: Target,
) -> None:
    target.gate.clear()
    names = {add_task(client, queue, target.url) for _ in range(3)}
    target.reached.wait(10)
    target.gate.set()

    answer = post(emulator, "/emulator/drain")

    seen = listed(emulator, "attempts")["attempts"]
    assert {attempt["task"] for attempt in seen} == names
    assert all(attempt in seen for attempt in answer.json["attempts"])


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("drain", {"timeout": 0.01}),
        ("clock/advance", {"hours": 1, "timeout": 0.01}),
    ],
)
def test_what_takes_too_long_is_given_up(
    emulator: Emulator,
    client: tasks_v2.CloudTasksClient,
    queue: str,
    target: Target,
    path: str,
    content: dict[str, float],
) -> None:
    target.gate.clear()
    add_task(client, queue, target.url)
    target.reached.wait(10)

    answer = post(emulator, f"/emulator/{path}", content)
    target.gate.set()

    assert answer.status == 504
    assert "within 0.01 seconds" in answer.error
    assert "1 tasks are pending" in answer.error


def test_a_reset_begins_anew(
    emulator: Emulator, client: tasks_v2.CloudTasksClient, paused: str
) -> None:
    add_task(client, paused, "http://127.0.0.1:9/")
    emulator.create_queue("another")
    emulator.advance(hours=1)
    emulator.inject("timeout")

    answer = post(emulator, "/emulator/reset")

    assert answer.json["ahead_seconds"] == 0
    [queue] = listed(emulator, "queues")["queues"]
    assert (queue["state"], queue["depth"]) == ("RUNNING", 0)
    assert listed(emulator, "faults")["faults"] == []
    assert listed(emulator, "attempts")["attempts"] == []


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        ("clock/advance", None, ["by how much", '{"hours": 1}']),
        ("clock/advance", {}, ["by how much", "weeks, days, hours"]),
        ("clock/advance", {"timeout": 1}, ["by how much"]),
        ("clock/advance", {"hour": 1}, ["'hour'", "Did you mean 'hours'?"]),
        ("clock/advance", {"hours": -1}, ["hours is -1", "from 0"]),
        ("clock/advance", {"hours": "1"}, ['hours is "1"', "a number"]),
        ("clock/advance", {"hours": True}, ["hours is true"]),
        ("clock/advance", {"hours": None}, ["hours is null"]),
        ("clock/advance", {"hours": float("nan")}, ["hours is NaN"]),
        ("clock/advance", {"hours": float("inf")}, ["hours is Infinity"]),
        ("clock/advance", {"hours": 10**400}, ["hours is 1000000", "0…"]),
        ("clock/advance", {"days": 3661}, ["days", "3660 days at once"]),
        ("clock/advance", {"hours": 1, "timeout": -1}, ["timeout is -1"]),
        ("drain", {"timeout": "soon"}, ['timeout is "soon"']),
        ("drain", {"seconds": 1}, ["'seconds'", "timeout"]),
        ("reset", {"sure": True}, ["'sure'", "Known are: none"]),
        ("drain", [1], ["a JSON object", "list"]),
        ("drain", b"{", ["not JSON"]),
        ("drain", b"[" * 100_000, ["not JSON"]),
        ("drain", b"\xff", ["not JSON"]),
    ],
)
def test_a_wrong_order_is_explained(
    unchanged: Emulator, path: str, content: Any, words: list[str]
) -> None:
    answer = post(unchanged, f"/emulator/{path}", content)

    assert answer.status == 400
    assert all(word in answer.error for word in words), answer.error
    assert listed(unchanged, "clock")["ahead_seconds"] == 0


# Faults.


def test_faults_are_added_and_removed(emulator: Emulator, queue: str) -> None:
    delay = {"kind": "delay", "delay": 1.5, "queue": queue, "times": None}

    added = post(emulator, "/emulator/faults", delay)
    other = post(emulator, "/emulator/faults", {"kind": "unavailable"}).json

    assert added.status == 201
    assert added.json == {
        "id": added.json["id"],
        "kind": "delay",
        "delay": 1.5,
        "queue": queue,
        "task": None,
        "method": None,
        "times": None,
        "skip": 0,
        "probability": 1.0,
    }
    assert listed(emulator, "faults")["faults"] == [added.json, other]
    removed = call(emulator, "DELETE", f"/emulator/faults/{other['id']}")
    assert (removed.status, removed.json) == (200, {})
    assert listed(emulator, "faults")["faults"] == [added.json]
    assert call(emulator, "DELETE", "/emulator/faults").json == {}
    assert listed(emulator, "faults")["faults"] == []


@pytest.mark.parametrize("kind", [*DISPATCH_KINDS, *API_KINDS])
def test_every_kind_of_fault_can_be_asked_for(emulator: Emulator, kind: str) -> None:
    fault = {"kind": kind} | ({"delay": 1} if kind == "delay" else {})

    assert post(emulator, "/emulator/faults", fault).json["kind"] == kind


def test_a_fault_happens(
    emulator: Emulator,
    client: tasks_v2.CloudTasksClient,
    queue: str,
    target: Target,
) -> None:
    post(emulator, "/emulator/faults", {"kind": "unreachable"})

    add_task(client, queue, target.url)
    emulator.wait_for(lambda: emulator.idle)

    first, second = listed(emulator, "attempts")["attempts"]
    assert (first["fault"], first["status"]) == ("unreachable", None)
    assert first["error"]
    assert (second["fault"], second["status"]) == (None, 200)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, ["kind is missing", "duplicate"]),
        ({"kind": "timeouts"}, ["'timeouts'", "Did you mean 'timeout'?"]),
        ({"kind": ["timeout"]}, ["kind=['timeout']"]),
        ({"kind": "timeout", "time": 1}, ["'time'", "Did you mean 'times'?"]),
        ({"kind": "timeout", "times": 0}, ["times=0"]),
        ({"kind": "delay", "delay": "long"}, ["delay='long'", "seconds"]),
        ({"kind": "timeout", "id": 7}, ["'id'"]),
    ],
)
def test_a_wrong_fault_is_explained(
    unchanged: Emulator, content: dict[str, Any], words: list[str]
) -> None:
    answer = post(unchanged, "/emulator/faults", content)

    assert answer.status == 400
    assert all(word in answer.error for word in words), answer.error
    assert listed(unchanged, "faults")["faults"] == []


@pytest.mark.parametrize("number", ["7", "nothing", "-1", "9" * 30])
def test_an_unknown_fault_cannot_be_removed(unchanged: Emulator, number: str) -> None:
    answer = call(unchanged, "DELETE", f"/emulator/faults/{number}")

    assert answer.status == 404
    assert answer.error


def test_answers_are_not_kept_by_caches(unchanged: Emulator) -> None:
    answers: list[Answer] = [
        get(unchanged, f"/emulator/{route}") for route in ("queues", "clock", "nothing")
    ]

    assert {answer.headers["Cache-Control"] for answer in answers} == {"no-store"}
