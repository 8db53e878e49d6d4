"""What becomes of a dispatched Django task, and who is told."""

from __future__ import annotations

import asyncio
import copy
import logging
import sys
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from django.http import HttpRequest

from cloudtask import Reject
from cloudtask.backends import CloudTasksBackend
from cloudtask.backends.attempts import CloudTaskContext, DjangoAttempt
from cloudtask.backends.results import CloudTaskResult
from cloudtask.dispatch.kinds import make_attempt
from cloudtask.dispatch.workers import worker_id
from cloudtask.framework import (
    TaskResultStatus,
    task_finished,
    task_started,
)
from cloudtask.testing import memory_queue
from cloudtask.transports.memory import MemoryTransport, StoredTask
from cloudtask.wire.payload import Payload
from cloudtask.wire.request import CloudTaskRequest
from tests.backends import tasks
from tests.backends.samples import (
    FIRST_SECRET,
    FRAMEWORK,
    Told,
    changed,
    dispatch,
    with_options,
)
from tests.security.sending import Send, asend
from tests.tasks import ran

SECRET = {"X-Task-Secret": FIRST_SECRET}


@pytest.fixture(autouse=True)
def _open(settings: Any) -> None:
    """The one credential that is needed is sent with each dispatch."""
    settings.CLOUDTASK = {**settings.CLOUDTASK, "SECRET": FIRST_SECRET}


def stored(task: Any, *args: Any, **kwargs: Any) -> StoredTask:
    """A task as it was sent."""
    with memory_queue() as queue:
        task.enqueue(*args, **kwargs)
    [only] = queue.tasks
    return only


def run(send: Send, task: Any, *args: Any, attempt: int = 1, **headers: str) -> Any:
    sent = stored(task, *args)
    return dispatch(send, sent, attempt=attempt, **SECRET, **headers)


# Arguments and context


@pytest.mark.parametrize("name", ["add", "aadd"])
def test_a_task_runs(send: Send, name: str) -> None:
    answer = run(send, getattr(tasks, name), 1, 2)

    assert (answer.status, answer.word) == (200, "done")
    assert ran == [(name, 1, 2)]


def test_a_task_that_takes_no_context_gets_its_arguments_alone(send: Send) -> None:
    assert run(send, tasks.keep, [1], {"a": None}).status == 200
    assert ran == [(([1], {"a": None}), {})]


@pytest.mark.parametrize("name", ["self", "task", "args", "kwargs", "definition"])
def test_arguments_have_any_name(queue: MemoryTransport, name: str) -> None:
    given: dict[str, Any] = {name: 1}
    tasks.keep.enqueue(**given)
    asyncio.run(tasks.keep.aenqueue(**given))
    queue.drain()
    tasks.keep.call(**given)
    asyncio.run(tasks.keep.acall(**given))

    assert ran == [((), given)] * 4


@pytest.mark.parametrize("attempt", [1, 2, 17])
@pytest.mark.parametrize("name", ["look", "alook"])
def test_a_context_knows_the_attempt_and_the_request(
    send: Send, name: str, attempt: int
) -> None:
    sent = stored(getattr(tasks, name).using(queue_name="emails"), [1])
    before = datetime.now(UTC)
    answer = dispatch(send, sent, attempt=attempt, **SECRET, X_Own="own")

    assert answer.status == 200
    [context] = ran
    assert type(context) is CloudTaskContext
    assert context.attempt == attempt
    assert type(context.request) is CloudTaskRequest
    assert context.request.attempt == attempt
    assert isinstance(context.request.request, HttpRequest)
    assert context.request.headers["X-Own"] == "own"
    assert context.request.id == sent.payload.id

    result = context.task_result
    assert type(result) is CloudTaskResult
    assert result.id == sent.payload.id
    assert result.task.queue_name == "emails"
    assert result.task.func is getattr(tasks, name).func
    assert result.enqueued_at == sent.payload.enqueued_at
    assert result.started_at == result.last_attempted_at
    assert result.started_at is not None
    assert before <= result.started_at <= datetime.now(UTC)
    assert (result.args, result.kwargs) == ([[1]], {})
    assert result.backend == "default"
    assert result.attempts == attempt
    assert result.worker_ids == [worker_id()]


def test_a_task_knows_how_it_was_used(send: Send) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    run(send, tasks.look.using(queue_name="emails", run_after=soon))

    [context] = ran
    assert isinstance(context, CloudTaskContext)
    used = context.task_result.task
    assert (used.queue_name, used.run_after) == ("emails", soon)
    assert used == tasks.look.using(queue_name="emails", run_after=soon)


def test_a_task_that_was_not_changed_is_the_one_that_was_defined(send: Send) -> None:
    run(send, tasks.look)

    [context] = ran
    assert isinstance(context, CloudTaskContext)
    assert context.task_result.task is tasks.look


def test_a_task_runs_although_its_queue_was_dropped(send: Send, settings: Any) -> None:
    sent = stored(tasks.look.using(queue_name="emails"))
    settings.TASKS = {
        "default": {"BACKEND": settings.TASKS["default"]["BACKEND"], "QUEUES": ["x"]}
    }

    assert dispatch(send, sent, **SECRET).status == 200
    [context] = ran
    assert isinstance(context, CloudTaskContext)
    assert context.task_result.task.queue_name == "emails"


def test_a_payload_may_say_more_of_how_the_task_was_used(send: Send) -> None:
    sent = stored(tasks.add, 1, 2)
    using = {"queue_name": "default", "priority": 0, "later": True}
    answer = dispatch(send, sent, body=changed(sent, using=using), **SECRET)

    assert answer.status == 200
    assert ran == [("add", 1, 2)]


def test_a_payload_may_say_nothing_of_how_the_task_was_used() -> None:
    silent = Payload(
        id="0" * 32,
        task="tests.backends.tasks.look",
        kwargs={},
        enqueued_at=datetime.now(UTC),
        kind="django",
        backend="default",
    )
    attempt = make_attempt(silent, {})

    assert isinstance(attempt, DjangoAttempt)
    assert attempt.result.task is tasks.look


def test_an_async_task_runs_on_the_loop_of_the_server() -> None:
    sent = stored(tasks.alook)

    async def post() -> asyncio.AbstractEventLoop:
        headers = {**sent.sent.route.headers, **SECRET}
        assert (await asend(headers, sent.sent.body)).status == 200
        return asyncio.get_running_loop()

    loop = asyncio.run(post())
    [context] = ran
    assert isinstance(context, CloudTaskContext)
    assert tasks.loops == [loop]


@pytest.mark.parametrize("use_tz", [True, False])
def test_the_times_of_a_result_can_be_compared(
    send: Send, settings: Any, told: list[Told], use_tz: bool
) -> None:
    settings.USE_TZ = use_tz
    run(send, tasks.look)

    result = told[-1].result
    assert result.enqueued_at <= result.started_at <= result.finished_at
    assert (result.enqueued_at.tzinfo is not None) is use_tz


# Outcomes


class Case(NamedTuple):
    """An attempt, and what is to come of it."""

    task: str
    attempt: int
    options: dict[str, Any]
    status: int
    word: str
    told: list[tuple[str, str]]
    own_level: int
    #: Exceptions of the result, by name.
    errors: list[str] = []  # noqa: RUF012 - never changed


STARTED = ("started", "RUNNING")
FAILED = ("finished", "FAILED")
DONE = ("finished", "SUCCESSFUL")
THREE = {"RETRY": {"max_attempts": 3}}
ONCE = {"RUN_ONCE": True}

CASES = {
    "success": Case("add", 1, {}, 200, "done", [STARTED, DONE], logging.INFO),
    "success in the last attempt": Case(
        "add", 3, THREE, 200, "done", [STARTED, DONE], logging.INFO
    ),
    "failure, the queue decides": Case(
        "fail", 99, {}, 500, "retry", [STARTED], logging.WARNING
    ),
    "failure of an async task": Case(
        "afail", 1, {}, 500, "retry", [STARTED], logging.WARNING
    ),
    "failure, attempts left": Case(
        "fail", 2, THREE, 500, "retry", [STARTED], logging.WARNING
    ),
    "failure in the last attempt": Case(
        "fail",
        3,
        THREE,
        200,
        "failed",
        [STARTED, FAILED],
        logging.WARNING,
        ["ValueError"],
    ),
    "failure of an async task in its last": Case(
        "afail",
        3,
        THREE,
        200,
        "failed",
        [STARTED, FAILED],
        logging.WARNING,
        ["ValueError"],
    ),
    "failure of a task that runs once": Case(
        "fail",
        1,
        ONCE,
        200,
        "failed",
        [STARTED, FAILED],
        logging.WARNING,
        ["ValueError"],
    ),
    "failure, its own policy leaves attempts": Case(
        "fail_twice", 1, ONCE, 500, "retry", [STARTED], logging.WARNING
    ),
    "failure in the last of its own policy": Case(
        "fail_twice",
        2,
        THREE,
        200,
        "failed",
        [STARTED, FAILED],
        logging.WARNING,
        ["ValueError"],
    ),
    "no attempts left": Case(
        "fail", 4, THREE, 200, "failed", [FAILED], logging.WARNING
    ),
    "no attempts left of its own": Case(
        "fail_twice", 3, {}, 200, "failed", [FAILED], logging.WARNING
    ),
    "rejected": Case(
        "reject",
        1,
        {},
        200,
        "rejected",
        [STARTED, FAILED],
        logging.WARNING,
        ["Reject"],
    ),
    "asks to try again": Case(
        "try_again", 1, {}, 500, "retry", [STARTED], logging.INFO
    ),
    "asks to try again in its last attempt": Case(
        "ask_in_vain",
        1,
        {},
        200,
        "failed",
        [STARTED, FAILED],
        logging.WARNING,
        ["Retry"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_an_attempt_is_answered_and_told(
    send: Send,
    settings: Any,
    caplog: pytest.LogCaptureFixture,
    told: list[Told],
    name: str,
) -> None:
    case = CASES[name]
    settings.TASKS = with_options(**case.options)
    sent = stored(getattr(tasks, case.task))
    told.clear()
    caplog.set_level(logging.INFO)
    answer = dispatch(send, sent, attempt=case.attempt, **SECRET)

    assert (answer.status, answer.word) == (case.status, case.word)
    assert [(each.signal, each.status) for each in told] == case.told
    assert all(each.sender is CloudTasksBackend for each in told)
    assert len({id(each.result) for each in told}) == 1

    # The framework's logger is the one that reports errors, and the last only.
    own = [r for r in caplog.records if r.name == "cloudtask"]
    theirs = [r for r in caplog.records if r.name == FRAMEWORK]
    assert [r.levelno for r in own] == [case.own_level]
    assert (
        own[0]
        .getMessage()
        .startswith(
            f"task=tests.backends.tasks.{case.task} id={sent.payload.id} "
            f"attempt={case.attempt} status={case.word} "
        )
    )
    levels = {STARTED: logging.INFO, DONE: logging.INFO, FAILED: logging.ERROR}
    assert [(r.levelno, r.getMessage()) for r in theirs] == [
        (
            levels[signal],
            f"Task id={sent.payload.id} path=tests.backends.tasks.{case.task} "
            f"state={signal[1]}",
        )
        for signal in case.told
    ]
    assert {r.name for r in caplog.records if r.levelno >= logging.ERROR} <= {FRAMEWORK}

    result = told[-1].result
    assert result.is_finished is (case.status == 200)
    assert (result.finished_at is not None) is (case.status == 200)
    if result.is_finished:
        assert [e.exception_class.__name__ for e in result.errors] == case.errors
    else:
        assert result.status is TaskResultStatus.READY


@pytest.mark.usefixtures("queue")
def test_the_error_of_a_result_has_its_traceback(
    send: Send, settings: Any, told: list[Told]
) -> None:
    settings.TASKS = with_options(RUN_ONCE=True)
    run(send, tasks.fail, "words of its own")

    [error] = told[-1].result.errors
    assert error.exception_class is ValueError
    assert error.exception_class_path == "builtins.ValueError"
    assert error.traceback.startswith("Traceback (most recent call last):\n")
    assert error.traceback.endswith("ValueError: words of its own\n")
    assert "in fail" in error.traceback
    with pytest.raises(ValueError, match=r"^Task failed$"):
        _ = told[-1].result.return_value


def test_the_error_of_a_rejected_task_is_the_rejection(
    send: Send, told: list[Told]
) -> None:
    run(send, tasks.reject)

    [error] = told[-1].result.errors
    assert error.exception_class is Reject


def test_the_frameworks_log_has_the_traceback(
    send: Send, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.TASKS = with_options(RUN_ONCE=True)
    run(send, tasks.fail, "words of its own")

    [record] = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert record.name == FRAMEWORK
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "words of its own"


def test_a_receiver_sees_the_exception(send: Send, settings: Any) -> None:
    settings.TASKS = with_options(RUN_ONCE=True)
    seen = []

    def receive(**kwargs: Any) -> None:
        seen.append(repr(sys.exception()))

    task_finished.connect(receive)
    try:
        run(send, tasks.fail)
    finally:
        task_finished.disconnect(receive)

    assert seen == ["ValueError('broken')"]


def test_a_retry_says_when(send: Send) -> None:
    answer = run(send, tasks.try_again)

    assert answer.header("Retry-After") == "7"


def test_the_result_has_the_value(send: Send, told: list[Told]) -> None:
    run(send, tasks.add, 1, 2)

    result = told[-1].result
    assert result.return_value == 3
    assert copy.deepcopy(result) == result
    assert copy.deepcopy(result).return_value == 3


def test_a_value_is_told_as_json(send: Send, told: list[Told]) -> None:
    run(send, tasks.give, "pair")

    assert told[-1].result.return_value == [1, "two"]


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("set", "Unsupported type: <class 'set'>"),
        ("bytes", "Unsupported value: <class 'bytes'>"),
    ],
)
def test_a_value_that_is_no_json_is_dropped_and_the_work_is_done(
    send: Send,
    told: list[Told],
    caplog: pytest.LogCaptureFixture,
    kind: str,
    problem: str,
) -> None:
    answer = run(send, tasks.give, kind)

    assert (answer.status, answer.word) == (200, "done")
    assert told[-1].status == "SUCCESSFUL"
    assert told[-1].result.return_value is None
    [line] = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert line == (
        f"task=tests.backends.tasks.give id={told[-1].result.id} its return value is "
        f"not JSON and is dropped: {problem}"
    )


def test_a_value_without_an_end_is_dropped_as_well(
    send: Send, told: list[Told]
) -> None:
    answer = run(send, tasks.give, "endless")

    assert (answer.status, answer.word) == (200, "done")
    assert told[-1].status == "SUCCESSFUL"
    assert told[-1].result.return_value is None


# Receivers


def test_receivers_that_fail_break_nothing(
    send: Send, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**kwargs: Any) -> None:
        raise ValueError("a receiver's")

    task_started.connect(fail)
    task_finished.connect(fail)
    try:
        answer = run(send, tasks.add, 1, 2)
    finally:
        task_started.disconnect(fail)
        task_finished.disconnect(fail)

    assert (answer.status, answer.word) == (200, "done")
    assert ran == [("add", 1, 2)]
    assert len([r for r in caplog.records if r.name == "django.dispatch"]) == 2


def test_receivers_may_be_async(send: Send) -> None:
    received = []

    async def receive(task_result: Any, **kwargs: Any) -> None:
        received.append(str(task_result.status))

    task_started.connect(receive)
    task_finished.connect(receive)
    try:
        run(send, tasks.add)
    finally:
        task_started.disconnect(receive)
        task_finished.disconnect(receive)

    assert received == ["RUNNING", "SUCCESSFUL"]


# What does not stop here


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("name", ["leave", "aleave"])
def test_what_ends_a_process_is_not_swallowed(
    send: Send, told: list[Told], name: str, kind: type[BaseException]
) -> None:
    sent = stored(getattr(tasks, name), kind.__name__)
    told.clear()
    with pytest.raises(kind):
        dispatch(send, sent, **SECRET)

    assert [each.signal for each in told] == ["started"]


# What the answer says


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("options", [{}, ONCE], ids=["retried", "failed"])
def test_no_answer_has_a_traceback(
    send: Send, settings: Any, options: dict[str, Any], debug: bool
) -> None:
    settings.DEBUG = debug
    settings.TASKS = with_options(**options)
    answer = run(send, tasks.fail, "words of its own")

    word = "failed" if options else "retry"
    assert answer.body == f'{{"status": "{word}"}}'.encode()
    assert answer.headers == (
        ("Cache-Control", "no-store"),
        ("Content-Type", "application/json"),
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"v": 1}',
        b"null",
        b'{"args": [], "kwargs": {}, "task": "tests.backends.tasks.add"}',
    ],
)
def test_a_body_that_is_no_payload_is_the_senders_fault(
    send: Send, told: list[Told], body: bytes
) -> None:
    sent = stored(tasks.add)
    told.clear()
    answer = dispatch(send, sent, body=body, **SECRET)

    assert (answer.status, answer.word) == (400, "malformed")
    assert ran == told == []


@pytest.mark.parametrize(
    "changes",
    [
        {"backend": 5},
        {"using": None},
        {"using": []},
        {"using": {}},
        {"using": {"queue_name": 5, "priority": 0}},
        {"using": {"queue_name": "default", "priority": "0"}},
        {"using": {"queue_name": "default", "priority": 0, "run_after": "now"}},
        {"args": {}},
        {"kwargs": []},
        {"id": "1"},
        {"v": 2},
        {"enqueued_at": "2026-01-31T12:00:00"},
    ],
    ids=repr,
)
def test_a_payload_that_is_none_is_the_senders_fault(
    send: Send, changes: dict[str, Any]
) -> None:
    sent = stored(tasks.add)
    answer = dispatch(send, sent, body=changed(sent, **changes), **SECRET)

    assert (answer.status, answer.word) == (400, "malformed")
    assert ran == []


def test_arguments_that_do_not_fit_fail_the_task(
    send: Send, settings: Any, told: list[Told]
) -> None:
    settings.TASKS = with_options(RUN_ONCE=True)
    answer = run(send, tasks.add, 1, 2, 3)

    assert (answer.status, answer.word) == (200, "failed")
    assert told[-1].result.errors[0].exception_class is TypeError


# In an except block


def test_an_error_that_the_caller_handles_is_not_the_tasks(
    queue: MemoryTransport, told: list[Told]
) -> None:
    tasks.add.enqueue(1, 2)
    try:
        raise LookupError("the caller's")
    except LookupError:
        [outcome] = queue.drain()

    assert outcome.value == 3
    assert told[-1].result.errors == []
