"""What becomes of an attempt, and what is logged of it."""

import asyncio
import functools
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.http import HttpRequest

from cloudtask import CloudTaskRequest, Reject, Retry, RetryPolicy, TaskDefinition
from cloudtask.conf import Settings
from cloudtask.dispatch.attempts import Attempt, Observer, make_request
from cloudtask.dispatch.execution import arun, run
from cloudtask.dispatch.outcomes import Outcome, Rearm, Status
from cloudtask.dispatch.reporting import LogObserver
from cloudtask.enqueue import registry
from cloudtask.enqueue.decorators import task
from cloudtask.enqueue.kind import OBSERVERS
from cloudtask.exceptions import StoreUnavailable
from cloudtask.stores import NO_STORE, Claim, Ending, Rearming, Standing
from cloudtask.wire.payload import Payload
from tests.clocks import set_clock
from tests.tasks import aadd, add, fail, ran
from tests.unit.keeping import AWAY, FakeStore


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    monkeypatch.setattr(registry, "_conflicts", dict(registry._conflicts))


Run = Callable[[Attempt], Outcome]

#: From synchronous code, and on a running loop.
both_ways = pytest.mark.parametrize(
    "run", [run, async_to_sync(arun)], ids=["sync", "async"]
)

THRICE = RetryPolicy(max_attempts=3)
FIRST, LAST = 1, 3
NOON, NEW_YEAR = datetime(2029, 6, 1, 12, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
TWO_MINUTES = timedelta(minutes=2)


@task
def behave(request: CloudTaskRequest, how: str) -> object:
    return HOW[how]()


@task
async def abehave(request: CloudTaskRequest, how: str) -> object:
    return HOW[how]()


@task(retry=THRICE)
def try_thrice(request: CloudTaskRequest, how: str) -> object:
    return HOW[how]()


@task(run_once=True)
def pay_once(request: CloudTaskRequest, how: str) -> object:
    return HOW[how]()


@task(sensitive=("token",), retry=THRICE)
def pay(request: CloudTaskRequest, how: str, token: str) -> object:
    return LEAKS[how](token)


@task(deadline=timedelta(seconds=30), aliases=("shop.hasten",))
def hurry(request: CloudTaskRequest) -> CloudTaskRequest:
    return request


@task
def report(request: CloudTaskRequest) -> list[bool]:
    request.progress(1, 2, "half")
    before = request.check_cancelled()
    request._hold.cancelled = True  # type: ignore[attr-defined]
    return [before, request.cancelled]


both_kinds = pytest.mark.parametrize(
    "definition", [behave, abehave], ids=["def", "async def"]
)


def raising(error: BaseException) -> Callable[[], object]:
    def behave() -> object:
        raise error

    return behave


class Timeout(BaseException):
    """As gevent has it."""


class GreenletExit(BaseException):
    """As greenlet has it."""


HOW: dict[str, Callable[[], object]] = {
    "return": lambda: "value",
    "fail": raising(ValueError("broken")),
    "retry": raising(Retry("not yet")),
    "retry later": raising(Retry("not yet", after=timedelta(minutes=2))),
    "reject": raising(Reject("never")),
    "go on": raising(Rearm(NEW_YEAR, "half done")),
    "exit": raising(SystemExit(3)),
    "interrupt": raising(KeyboardInterrupt()),
    "cancel": raising(asyncio.CancelledError()),
    "close": raising(GeneratorExit()),
    "kill": raising(GreenletExit()),
    "time out": raising(Timeout()),
    "forge": raising(Retry("later\r\nERROR task=forged \x1b[31m")),
    "forge more": raising(Reject("no\r\nERROR task=forged \x1b[31m")),
}


def leak(kind: type[Exception]) -> Callable[[str], object]:
    def leak(token: str) -> object:
        raise kind(f"the gateway refuses {token}")

    return leak


LEAKS: dict[str, Callable[[str], object]] = {
    "fail": leak(ValueError),
    "retry": leak(Retry),
    "reject": leak(Reject),
    "quietly": lambda token: HOW["fail"](),
}


def payload(path: str, *args: Any, **fields: Any) -> Payload:
    return Payload(
        id="0" * 32,
        task=path,
        args=args,
        kwargs={},
        enqueued_at=datetime.now(UTC),
        **fields,
    )


def attempt_of(
    definition: TaskDefinition[..., Any],
    *args: Any,
    settings: Settings | None = None,
    attempt: int = 1,
    **headers: str,
) -> Attempt:
    meta = {"HTTP_X_CLOUDTASKS_TASKRETRYCOUNT": str(attempt - 1), **headers}
    return made(payload(definition.path, *args), settings or Settings(), meta)


def made(
    sent: Payload,
    settings: Settings | None = None,
    meta: dict[str, str] | None = None,
    http: HttpRequest | None = None,
) -> Attempt:
    definition = registry.get(sent.task)
    request = make_request(sent, definition, settings or Settings(), meta or {}, http)
    return Attempt(definition, sent, request, observers=OBSERVERS)


# What observers are told

#: What the observer below was told, in order.
told: list[tuple[Any, ...]] = []


class Told(Observer):
    """Keeps what it is told, and the exception that is handled meanwhile."""

    def starting(self, attempt: Attempt) -> None:
        told.append(("starting", *ran, sys.exception()))

    async def astarting(self, attempt: Attempt) -> None:
        told.append(("astarting", *ran, sys.exception()))

    def ended(
        self, attempt: Attempt, outcome: Outcome, error: BaseException | None
    ) -> None:
        assert sys.exception() is error
        told.append(("ended", outcome, error))

    async def aended(
        self, attempt: Attempt, outcome: Outcome, error: BaseException | None
    ) -> None:
        assert sys.exception() is error
        told.append(("aended", outcome, error))

    def refused(self, attempt: Attempt, outcome: Outcome) -> None:
        told.append(("refused", outcome))

    def lost(self, attempt: Attempt, outcome: Outcome) -> None:
        told.append(("lost", outcome))


#: That observer, after those that are always there.
TOLD = (*OBSERVERS, Told())


class Elsewhere(Attempt):
    """Calls the function with something else."""

    __slots__ = ()

    def arguments(self) -> tuple[Any, ...]:
        return (None, "return")


@pytest.fixture(params=[run, async_to_sync(arun)], ids=["sync", "async"])
def run_and_tell(request: pytest.FixtureRequest) -> Iterator[Callable[..., Outcome]]:
    """Run an attempt, and check that nothing is told in the other way."""
    told.clear()
    prefix = "" if request.param is run else "a"

    def tell(attempt: Attempt, kind: type[Attempt] = Attempt) -> Outcome:
        asked = kind(
            attempt.definition, attempt.payload, attempt.request, observers=TOLD
        )
        outcome: Outcome = request.param(asked)
        names = {str(name) for name, *_ in told}
        assert names <= {f"{prefix}starting", f"{prefix}ended"}
        told[:] = [(name.removeprefix(prefix), *rest) for name, *rest in told]
        return outcome

    yield tell
    told.clear()


@both_kinds
@pytest.mark.parametrize(
    ("how", "attempt", "status", "error"),
    [
        ("return", FIRST, Status.DONE, None),
        ("return", LAST, Status.DONE, None),
        ("fail", FIRST, Status.RETRY, ValueError),
        ("fail", LAST, Status.FAILED, ValueError),
        ("retry", FIRST, Status.RETRY, Retry),
        ("retry", LAST, Status.FAILED, Retry),
        ("reject", FIRST, Status.REJECTED, Reject),
        ("reject", LAST, Status.REJECTED, Reject),
    ],
)
def test_an_observer_is_told_once_that_an_attempt_starts_and_how_it_ended(
    run_and_tell: Callable[..., Outcome],
    definition: TaskDefinition[..., object],
    how: str,
    attempt: int,
    status: Status,
    error: type[Exception] | None,
) -> None:
    asked = attempt_of(
        definition, how, settings=Settings(retry=THRICE), attempt=attempt
    )

    outcome = run_and_tell(asked)

    (starting, ended) = told
    assert starting == ("starting", None)
    assert ended[:2] == ("ended", outcome)
    assert outcome.status is status
    # It ends while what was raised is handled: a traceback is at hand.
    if error is None:
        assert ended[2] is None
    else:
        assert type(ended[2]) is error
        assert ended[2].__traceback__ is not None
        assert outcome.error in (ended[2], None)


def test_it_is_told_of_the_start_before_the_function_runs(
    run_and_tell: Callable[..., Outcome],
) -> None:
    run_and_tell(attempt_of(add, 1, 2))

    assert told[0] == ("starting", None)  # With nothing in `ran`.
    assert ran == [("add", 1, 2)]


def test_an_attempt_too_many_ends_and_never_starts(
    run_and_tell: Callable[..., Outcome],
) -> None:
    asked = attempt_of(add, 1, 2, settings=Settings(retry=THRICE), attempt=4)

    outcome = run_and_tell(asked)

    assert outcome == Outcome(Status.FAILED)
    assert told == [("ended", outcome, None)]
    assert ran == []


@pytest.mark.parametrize(
    ("attempt", "how", "level", "reason"),
    [
        (LAST, "fail", logging.WARNING, ""),
        (LAST + 1, "fail", logging.WARNING, "no attempts are left"),
        # No failure.
        (FIRST, "fail", logging.WARNING, ""),
        (LAST, "reject", logging.WARNING, "never"),
    ],
)
@both_ways
def test_a_failure_that_others_report_is_no_error_here(
    caplog: pytest.LogCaptureFixture,
    run: Run,
    attempt: int,
    how: str,
    level: int,
    reason: str,
) -> None:
    caplog.set_level(logging.DEBUG, "cloudtask")
    asked = attempt_of(behave, how, settings=Settings(retry=THRICE), attempt=attempt)
    run(replace(asked, observers=(LogObserver(reports_failures=False),)))

    [record] = (r for r in caplog.records if r.name == "cloudtask")
    assert record.levelno == level
    assert record.getMessage().endswith(f" reason={reason!r}")
    # Who reports it has the traceback.
    assert bool(record.exc_info) is (attempt == FIRST)


def test_an_attempt_says_what_its_function_gets(
    run_and_tell: Callable[..., Outcome],
) -> None:
    outcome = run_and_tell(attempt_of(behave, "fail"), Elsewhere)

    assert outcome == Outcome(Status.DONE, value="value")


@both_ways
def test_an_attempt_that_nobody_observes_runs_as_well(
    caplog: pytest.LogCaptureFixture, run: Run
) -> None:
    caplog.set_level(logging.DEBUG, "cloudtask")
    asked = replace(attempt_of(add, 1, 2), observers=())

    assert asked.arguments() == (asked.request, 1, 2)
    assert run(asked) == Outcome(Status.DONE, value=3)
    assert [r for r in caplog.records if r.name == "cloudtask"] == []


@both_ways
@pytest.mark.parametrize("how", ["return", "fail"])
def test_an_observer_that_does_nothing_harms_nothing(run: Run, how: str) -> None:
    asked = replace(attempt_of(behave, how), observers=(Observer(),))

    assert run(asked).status is (Status.DONE if how == "return" else Status.RETRY)


def test_a_task_that_stops_an_iteration_fails_as_any_other() -> None:
    @task(path="shop.take_next")
    def take_next(request: CloudTaskRequest) -> object:
        return next(iter(()))

    assert type(run(attempt_of(take_next)).error) is StopIteration


def test_a_backend_that_runs_once_has_one_attempt() -> None:
    once = Settings(retry=THRICE).override("mails", {"RUN_ONCE": True})

    assert run(attempt_of(behave, "fail", settings=once)).status is Status.FAILED
    assert attempt_of(behave, "fail", settings=once, attempt=2).is_over
    # A task's own policy goes before it.
    assert run(attempt_of(try_thrice, "fail", settings=once)).status is Status.RETRY


@pytest.mark.parametrize(
    ("definition", "settings", "is_once"),
    [
        (behave, Settings(), False),
        (behave, Settings(run_once=True), True),
        (pay_once, Settings(), True),
        # Whatever the settings' policy.
        (pay_once, Settings(retry=THRICE), True),
        # A task's own policy goes before RUN_ONCE.
        (try_thrice, Settings(run_once=True), False),
        # One attempt alone does not say what is to become of a dead worker's.
        (behave, Settings(retry=RetryPolicy(max_attempts=1)), False),
    ],
)
def test_a_request_knows_whether_its_task_runs_once(
    definition: TaskDefinition[..., Any], settings: Settings, is_once: bool
) -> None:
    assert attempt_of(definition, "fail", settings=settings).request.run_once is is_once


@both_ways
@pytest.mark.parametrize("how", ["fail", "retry", "retry later"])
def test_a_task_that_runs_once_is_over_after_its_attempt(run: Run, how: str) -> None:
    assert run(attempt_of(pay_once, how)).status is Status.FAILED
    assert run(attempt_of(pay_once, "return", attempt=2)).status is Status.FAILED


# What is called


@both_ways
@pytest.mark.parametrize("definition", [add, aadd], ids=["def", "async def"])
def test_the_function_gets_the_request_and_the_arguments(
    run: Run, definition: TaskDefinition[..., int]
) -> None:
    assert run(attempt_of(definition, 1, 2)) == Outcome(Status.DONE, value=3)
    assert ran == [(definition.__name__, 1, 2)]


def test_keywords_arrive_as_keywords() -> None:
    sent = replace(payload(add.path, 1), kwargs={"b": 10})

    assert run(made(sent)).value == 11


def test_an_async_function_runs_on_the_running_loop() -> None:
    @task(path="shop.which_loop")
    async def which_loop(request: CloudTaskRequest) -> object:
        return asyncio.get_running_loop()

    async def main() -> bool:
        outcome = await arun(attempt_of(which_loop))
        return outcome.value is asyncio.get_running_loop()

    assert asyncio.run(main())


def test_a_sync_function_never_blocks_the_running_loop() -> None:
    released = threading.Event()

    @task(path="shop.wait_for_loop")
    def wait_for_loop(request: CloudTaskRequest) -> bool:
        return released.wait(10)

    async def release() -> None:
        released.set()

    async def main() -> Outcome:
        # The second one only gets its turn while the first one waits.
        outcome, _ = await asyncio.gather(arun(attempt_of(wait_for_loop)), release())
        return outcome

    assert asyncio.run(main()).value is True


@both_ways
def test_a_coroutine_that_nobody_awaits_is_no_success(run: Run) -> None:
    def traced(func: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(func)
        def wrapper(*args: Any) -> Any:
            return func(*args)

        return wrapper

    outcome = run(attempt_of(task(path="shop.hidden")(traced(aadd.func)), 1, 2))

    assert outcome.status is Status.RETRY
    assert isinstance(outcome.error, TypeError)
    assert str(outcome.error) == (
        "shop.hidden returned a coroutine: a decorator hides that it is `async def`. "
        "Make the decorator's wrapper `async def`, too."
    )
    assert ran == []


def test_a_task_runs_under_its_former_path() -> None:
    attempt = made(payload("shop.hasten"))

    assert attempt.definition is hurry
    assert run(attempt).status is Status.DONE


# What becomes of it


@both_ways
@both_kinds
@pytest.mark.parametrize(
    ("how", "attempt", "status", "after", "level"),
    [
        # Returned, be it the last attempt.
        ("return", FIRST, Status.DONE, None, logging.INFO),
        ("return", LAST, Status.DONE, None, logging.INFO),
        # Raised, with attempts left: no error yet.
        ("fail", FIRST, Status.RETRY, None, logging.WARNING),
        # In the last attempt it is one.
        ("fail", LAST, Status.FAILED, None, logging.ERROR),
        # Asked for another attempt: no failure.
        ("retry", FIRST, Status.RETRY, None, logging.INFO),
        ("retry later", FIRST, Status.RETRY, timedelta(minutes=2), logging.INFO),
        # There is no other.
        ("retry", LAST, Status.FAILED, None, logging.ERROR),
        ("retry later", LAST, Status.FAILED, None, logging.ERROR),
        # Refused by the task itself, whatever the attempt.
        ("reject", FIRST, Status.REJECTED, None, logging.WARNING),
        ("reject", LAST, Status.REJECTED, None, logging.WARNING),
    ],
)
def test_the_outcome_and_its_log_level(
    caplog: pytest.LogCaptureFixture,
    run: Run,
    definition: TaskDefinition[..., object],
    how: str,
    attempt: int,
    status: Status,
    after: timedelta | None,
    level: int,
) -> None:
    caplog.set_level(logging.DEBUG, "cloudtask")
    outcome = run(
        attempt_of(definition, how, settings=Settings(retry=THRICE), attempt=attempt)
    )

    [record] = (r for r in caplog.records if r.name == "cloudtask")
    assert (outcome.status, outcome.after) == (status, after)
    assert record.levelno == level


@pytest.mark.parametrize(
    ("definition", "settings", "attempt", "status"),
    [
        # Neither has a policy: Cloud Tasks decides, and nobody here knows.
        (behave, Settings(), 1_000, Status.RETRY),
        # The settings' policy.
        (behave, Settings(retry=RetryPolicy(max_attempts=1)), 1, Status.FAILED),
        # The task's goes before it.
        (try_thrice, Settings(retry=RetryPolicy(max_attempts=1)), 2, Status.RETRY),
        (try_thrice, Settings(), 3, Status.FAILED),
        # Without a limit.
        (behave, Settings(retry=RetryPolicy(max_attempts=-1)), 99, Status.RETRY),
        # Google stops only when the time is over, too.
        (
            behave,
            Settings(
                retry=RetryPolicy(
                    max_attempts=1, max_retry_duration=timedelta(minutes=1)
                )
            ),
            1,
            Status.RETRY,
        ),
    ],
)
def test_the_policy_says_which_attempt_is_the_last(
    definition: TaskDefinition[..., object],
    settings: Settings,
    attempt: int,
    status: Status,
) -> None:
    outcome = run(attempt_of(definition, "fail", settings=settings, attempt=attempt))

    assert outcome.status is status
    assert isinstance(outcome.error, ValueError)


@both_ways
def test_an_attempt_after_the_last_one_does_not_run(
    caplog: pytest.LogCaptureFixture, run: Run
) -> None:
    # The last one got no answer through: its worker died.
    settings = Settings(retry=THRICE)
    outcome = run(attempt_of(add, 1, 2, settings=settings, attempt=4))

    assert outcome == Outcome(Status.FAILED)
    assert ran == []
    assert caplog.messages == [
        f"task=tests.tasks.add id={'0' * 32} attempt=4 status=failed "
        "reason='no attempts are left'"
    ]
    assert caplog.records[0].levelno == logging.ERROR


def test_a_rejection_is_no_error() -> None:
    assert run(attempt_of(behave, "reject")) == Outcome(Status.REJECTED)


# What the request knows


@pytest.mark.parametrize(
    ("definition", "settings", "expected"),
    [
        # The task's deadline,
        (hurry, Settings(deadline=timedelta(minutes=5)), timedelta(seconds=30)),
        # the settings',
        (behave, Settings(deadline=timedelta(minutes=5)), timedelta(minutes=5)),
        # Cloud Tasks' own.
        (behave, Settings(), timedelta(minutes=10)),
    ],
)
def test_an_attempt_has_a_deadline(
    definition: TaskDefinition[..., object], settings: Settings, expected: timedelta
) -> None:
    attempt = attempt_of(definition, settings=settings)

    assert attempt.request.deadline == expected


def test_the_remaining_time_shrinks_and_is_never_negative(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr("cloudtask.wire.request.monotonic", lambda: now)
    request = attempt_of(hurry).request

    assert request.remaining() == timedelta(seconds=30)
    now += 20
    assert request.remaining() == timedelta(seconds=10)
    now += 11
    assert request.remaining() == timedelta(0)


def test_what_is_known_of_the_dispatch_reaches_the_function() -> None:
    outcome = run(
        attempt_of(
            hurry,
            attempt=2,
            HTTP_X_CLOUDTASKS_TASKNAME="ab-nightly",
            HTTP_X_CLOUDTASKS_QUEUENAME="emails",
            HTTP_X_CLOUDTASKS_TASKETA="1769817600.5",
            HTTP_X_CLOUDTASKS_TASKPREVIOUSRESPONSE="503",
            HTTP_X_SHOP="berlin",
        )
    )

    request = outcome.value
    assert isinstance(request, CloudTaskRequest)
    assert (request.id, request.request) == ("0" * 32, None)
    assert (request.task_name, request.queue) == ("ab-nightly", "emails")
    assert (request.attempt, request.previous_response) == (2, 503)
    assert request.eta == datetime(2026, 1, 31, 0, 0, 0, 500_000, UTC)
    assert request.headers["x-shop"] == "berlin"


def test_the_http_request_reaches_the_function() -> None:
    http = HttpRequest()
    attempt = made(payload(hurry.path), http=http)

    assert run(attempt).value.request is http


# Logs


def test_the_log_names_the_task_and_never_its_arguments(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "cloudtask")
    run(attempt_of(add, 41, 59, attempt=2))

    assert caplog.messages == [
        f"task=tests.tasks.add id={'0' * 32} attempt=2 status=done reason=''"
    ]


@pytest.mark.parametrize(
    ("how", "attempt", "status", "reason"),
    [
        ("retry", 1, "retry", "not yet"),
        ("reject", 1, "rejected", "never"),
        ("fail", 1, "retry", ""),
        ("fail", 3, "failed", ""),
    ],
)
def test_the_log_says_what_happened_and_why(
    caplog: pytest.LogCaptureFixture, how: str, attempt: int, status: str, reason: str
) -> None:
    caplog.set_level(logging.INFO, "cloudtask")
    run(attempt_of(try_thrice, how, attempt=attempt))

    assert caplog.messages == [
        f"task={try_thrice.path} id={'0' * 32} attempt={attempt} "
        f"status={status} reason={reason!r}"
    ]


@pytest.mark.parametrize("attempt", [1, 3])
def test_an_exception_is_logged_with_its_traceback(
    caplog: pytest.LogCaptureFixture, attempt: int
) -> None:
    run(attempt_of(try_thrice, "fail", attempt=attempt))

    [record] = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[1] is not None
    assert record.exc_info[1].args == ("broken",)


@pytest.mark.parametrize("how", ["retry", "reject"])
def test_what_a_task_asks_for_is_logged_without_a_traceback(
    caplog: pytest.LogCaptureFixture, how: str
) -> None:
    caplog.set_level(logging.INFO, "cloudtask")
    run(attempt_of(behave, how))

    [record] = caplog.records
    assert not record.exc_info


TOKEN = "tok-12345678"


@pytest.mark.parametrize(
    ("how", "attempt", "shown"),
    [
        ("fail", FIRST, "\nValueError: the gateway refuses ***\n"),
        ("fail", LAST, "\nValueError: the gateway refuses ***\n"),
        ("retry", FIRST, " reason='the gateway refuses ***'"),
        ("retry", LAST, "\ncloudtask.exceptions.Retry: the gateway refuses ***\n"),
        ("reject", FIRST, " reason='the gateway refuses ***'"),
    ],
)
def test_the_log_shows_no_value_of_a_sensitive_argument(
    caplog: pytest.LogCaptureFixture, how: str, attempt: int, shown: str
) -> None:
    caplog.set_level(logging.DEBUG, "cloudtask")
    run(attempt_of(pay, how, TOKEN, attempt=attempt))

    [record] = caplog.records
    assert record.getMessage().endswith(shown)
    # Formatted as handlers do.
    assert TOKEN not in caplog.text
    assert "Traceback" in caplog.text or how != "fail"


def test_an_exception_that_shows_nothing_sensitive_is_logged_as_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run(attempt_of(pay, "quietly", TOKEN))

    [record] = caplog.records
    assert record.exc_info is not None
    assert record.getMessage().endswith(" status=retry reason=''")


@pytest.mark.parametrize("how", ["forge", "forge more"])
def test_a_reason_cannot_forge_a_line_of_the_log(
    caplog: pytest.LogCaptureFixture, how: str
) -> None:
    caplog.set_level(logging.INFO, "cloudtask")
    run(attempt_of(behave, how))

    [message] = caplog.messages
    assert len(message.splitlines()) == 1
    assert message.isprintable()


def test_a_failing_task_is_an_error_once(caplog: pytest.LogCaptureFixture) -> None:
    for attempt in (1, 2, 3):
        run(
            attempt_of(fail, "broken", settings=Settings(retry=THRICE), attempt=attempt)
        )

    assert [r.levelname for r in caplog.records] == ["WARNING", "WARNING", "ERROR"]


# With a store


@pytest.fixture
def fake() -> FakeStore:
    return FakeStore()


def kept(store: FakeStore, attempt: Attempt) -> Attempt:
    """The same attempt, with a store that keeps what becomes of it."""
    return replace(attempt, store=store, observers=TOLD)


@pytest.fixture(autouse=True)
def _told_nothing() -> Iterator[None]:
    told.clear()
    yield
    told.clear()


@both_ways
@both_kinds
@pytest.mark.parametrize(
    ("how", "attempt", "status", "ending"),
    [
        ("return", FIRST, Status.DONE, Ending(succeeded=True, value="value")),
        ("retry", FIRST, Status.RETRY, Ending(final=False)),
        ("retry later", FIRST, Status.RETRY, Ending(final=False)),
        ("fail", FIRST, Status.RETRY, Ending(final=False)),
        ("fail", LAST, Status.FAILED, Ending()),
        ("reject", FIRST, Status.REJECTED, Ending()),
        ("return", LAST + 1, Status.FAILED, Ending()),  # Never called.
    ],
)
def test_a_store_is_told_how_an_attempt_ended(
    fake: FakeStore,
    run: Run,
    definition: TaskDefinition[..., object],
    how: str,
    attempt: int,
    status: Status,
    ending: Ending,
) -> None:
    asked = kept(
        fake,
        attempt_of(definition, how, settings=Settings(retry=THRICE), attempt=attempt),
    )

    outcome = run(asked)

    assert outcome.status is status
    [claim, (word, told_ending)] = fake.calls
    assert claim == ("claim", asked.payload, asked.request)
    assert word == "end"
    # What it raised is kept even where the outcome has none.
    is_raised = how != "return"
    assert (told_ending.error is not None) is is_raised
    assert replace(told_ending, error=None) == ending
    assert [name.removeprefix("a") for name, *_ in told][-1] == "ended"


@both_ways
@both_kinds
@pytest.mark.parametrize(
    ("how", "attempt", "rearming", "is_error"),
    [
        ("retry later", FIRST, Rearming(at=NOON + TWO_MINUTES, attempts=1), True),
        ("retry later", LAST - 1, Rearming(at=NOON + TWO_MINUTES, attempts=2), True),
        ("go on", FIRST, Rearming(at=NEW_YEAR, attempts=0), False),
        # It has not failed, so that it does not matter which one it is.
        ("go on", LAST, Rearming(at=NEW_YEAR, attempts=2), False),
    ],
)
def test_a_store_that_can_is_told_when_a_task_is_due_again(
    fake: FakeStore,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    definition: TaskDefinition[..., object],
    how: str,
    attempt: int,
    rearming: Rearming,
    is_error: bool,
) -> None:
    set_clock(monkeypatch, NOON.timestamp)
    fake.can_rearm = True
    asked = kept(
        fake,
        attempt_of(definition, how, settings=Settings(retry=THRICE), attempt=attempt),
    )

    outcome = run(asked)

    assert (outcome.status, outcome.rearming) == (Status.REARMED, rearming)
    assert (outcome.error is not None) is is_error
    [_, (_, ending)] = fake.calls
    assert ending == Ending(final=False, error=outcome.error, rearming=rearming)
    name, told_outcome, error = told[-1]
    assert (name.removeprefix("a"), told_outcome) == ("ended", outcome)
    assert isinstance(error, Retry if is_error else Rearm)


@both_ways
@both_kinds
@pytest.mark.parametrize("how", ["retry", "retry later", "fail"])
def test_a_last_attempt_is_the_last_though_the_store_could(
    fake: FakeStore, run: Run, definition: TaskDefinition[..., object], how: str
) -> None:
    fake.can_rearm = True
    asked = attempt_of(definition, how, settings=Settings(retry=THRICE), attempt=LAST)

    assert run(kept(fake, asked)).status is Status.FAILED


@both_ways
def test_a_dispatch_that_comes_too_early_is_put_off(
    fake: FakeStore,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "cloudtask")
    fake.can_rearm = True
    due = "0.2.1893456000000000"
    for early, status in ((61, Status.REARMED), (59, Status.DONE)):
        moment = NEW_YEAR.timestamp() - early
        set_clock(monkeypatch, lambda moment=moment: moment)
        asked = attempt_of(behave, "return", attempt=2, HTTP_X_TASK_REARM=due)
        assert run(kept(fake, asked)).status is status

    rearming = Rearming(at=None, attempts=2, has_begun=False)
    assert fake.calls[1] == ("end", Ending(final=False, rearming=rearming))
    names = [name.removeprefix("a") for name, *_ in told]
    assert names == ["refused", "starting", "ended"]
    assert caplog.messages[0] == (
        f"task={behave.path} id={'0' * 32} attempt=4 status=rearmed reason='' "
        "at=2030-01-01T00:00:00+00:00"
    )


@both_ways
def test_what_a_task_raised_is_what_the_store_is_told(
    fake: FakeStore, run: Run
) -> None:
    outcome = run(kept(fake, attempt_of(behave, "fail")))

    assert fake.calls[-1][1].error is outcome.error
    assert type(outcome.error) is ValueError


@both_ways
@both_kinds
@pytest.mark.parametrize(
    ("standing", "status"),
    [(Standing.BUSY, Status.BUSY), (Standing.FINISHED, Status.DUPLICATE)],
)
def test_a_task_that_is_not_free_is_not_run(
    fake: FakeStore,
    run: Run,
    caplog: pytest.LogCaptureFixture,
    definition: TaskDefinition[..., object],
    standing: Standing,
    status: Status,
) -> None:
    caplog.set_level(logging.INFO, "cloudtask")
    fake.standing = standing

    # Not even the attempt after the last one.
    for attempt in (FIRST, LAST + 1):
        asked = attempt_of(
            definition, "fail", settings=Settings(retry=THRICE), attempt=attempt
        )
        assert run(kept(fake, asked)) == Outcome(status)

    assert fake.words == ["claim", "claim"]
    assert told == [("refused", Outcome(status))] * 2
    assert caplog.record_tuples == [
        (
            "cloudtask",
            logging.INFO,
            f"task={definition.path} id={'0' * 32} attempt={attempt} "
            f"status={status.value} reason=''",
        )
        for attempt in (FIRST, LAST + 1)
    ]


@both_ways
@both_kinds
@pytest.mark.parametrize(
    ("how", "attempt"),
    [
        ("return", FIRST),
        ("fail", FIRST),
        ("fail", LAST),
        ("reject", FIRST),
        ("return", LAST + 1),
    ],
)
def test_the_end_of_an_attempt_whose_lease_was_lost_counts_for_nothing(
    fake: FakeStore,
    run: Run,
    caplog: pytest.LogCaptureFixture,
    definition: TaskDefinition[..., object],
    how: str,
    attempt: int,
) -> None:
    caplog.set_level(logging.INFO, "cloudtask")
    fake.holds = False
    asked = attempt_of(
        definition, how, settings=Settings(retry=THRICE), attempt=attempt
    )

    # Another worker's end counts: nothing of this one surfaces.
    assert run(kept(fake, asked)) == Outcome(Status.BUSY)

    assert fake.words == ["claim", "end"]
    assert "ended" not in [name.removeprefix("a") for name, *_ in told]
    assert told[-1] == ("lost", Outcome(Status.BUSY))
    assert caplog.record_tuples == [
        (
            "cloudtask",
            logging.WARNING,
            f"task={definition.path} id={'0' * 32} attempt={attempt} status=busy "
            "reason='the lease was lost meanwhile'",
        )
    ]


ENDS_MORE = pytest.mark.parametrize(
    ("how", "error"),
    [
        # A process is asked to end: it must not live on.
        ("exit", SystemExit),
        ("interrupt", KeyboardInterrupt),
        # So is a task of the loop, and a greenlet.
        ("cancel", asyncio.CancelledError),
        ("kill", GreenletExit),
    ],
)


@both_ways
@both_kinds
@ENDS_MORE
@pytest.mark.parametrize(
    ("attempt", "final", "level"),
    [(FIRST, False, logging.WARNING), (LAST, True, logging.ERROR)],
)
def test_what_ends_more_than_the_task_passes_through_once_it_is_recorded(
    fake: FakeStore,
    run: Run,
    definition: TaskDefinition[..., object],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    error: type[BaseException],
    attempt: int,
    final: bool,
    level: int,
) -> None:
    monkeypatch.setitem(
        sys.modules, "greenlet", SimpleNamespace(GreenletExit=GreenletExit)
    )
    asked = attempt_of(
        definition, how, settings=Settings(retry=THRICE), attempt=attempt
    )
    with pytest.raises(error):
        run(kept(fake, asked))

    [_, (_, ending)] = fake.calls
    assert type(ending.error) is error
    assert replace(ending, error=None) == Ending(final=final)
    assert [name.removeprefix("a") for name, *_ in told] == ["starting", "ended"]
    assert [r.levelno for r in caplog.records if r.name == "cloudtask"] == [level]


@both_ways
@both_kinds
def test_what_ends_more_than_the_task_passes_through_if_it_cannot_be_recorded(
    fake: FakeStore, run: Run, definition: TaskDefinition[..., object]
) -> None:
    fake.is_away_at_the_end = True
    with pytest.raises(KeyboardInterrupt):
        run(kept(fake, attempt_of(definition, "interrupt")))


@pytest.mark.parametrize(
    ("run", "words"), [(run, ["claim", "end"]), (async_to_sync(arun), ["claim"])]
)
@both_kinds
def test_what_closes_a_coroutine_passes_through(
    fake: FakeStore,
    run: Run,
    words: list[str],
    definition: TaskDefinition[..., object],
) -> None:
    """Nothing can be awaited any more: the lease lapses."""
    with pytest.raises(GeneratorExit):
        run(kept(fake, attempt_of(definition, "close")))

    assert fake.words == words


@both_ways
@both_kinds
def test_a_timeout_that_is_no_exception_of_pythons_kind_is_a_failure(
    fake: FakeStore, run: Run, definition: TaskDefinition[..., object]
) -> None:
    """As gevent's, which derives from BaseException."""
    outcome = run(kept(fake, attempt_of(definition, "time out")))

    assert outcome.status is Status.RETRY
    assert type(outcome.error) is Timeout
    assert fake.calls[-1] == ("end", Ending(final=False, error=outcome.error))


@both_ways
def test_nothing_is_run_while_the_store_is_away(fake: FakeStore, run: Run) -> None:
    fake.is_away = True

    with pytest.raises(StoreUnavailable, match=f"^{AWAY}$"):
        run(kept(fake, attempt_of(add, 1, 2)))

    assert (ran, told, fake.calls) == ([], [], [])


@both_ways
@both_kinds
@pytest.mark.parametrize("how", ["return", "fail", "reject"])
def test_an_end_that_cannot_be_kept_is_told_to_nobody(
    fake: FakeStore,
    run: Run,
    caplog: pytest.LogCaptureFixture,
    definition: TaskDefinition[..., object],
    how: str,
) -> None:
    fake.is_away_at_the_end = True

    with pytest.raises(StoreUnavailable, match=f"^{AWAY}$"):
        run(kept(fake, attempt_of(definition, how)))

    assert [name.removeprefix("a") for name, *_ in told] == ["starting"]
    assert caplog.messages == []


@both_ways
def test_a_task_can_ask_the_claim_of_its_attempt(fake: FakeStore, run: Run) -> None:
    asked = kept(fake, attempt_of(report))

    assert run(asked).value == [False, True]
    assert fake.words == ["claim", "progress", "look", "end"]
    assert fake.calls[1] == ("progress", 1, 2, "half")


def test_a_store_never_waits_on_the_loop(fake: FakeStore) -> None:
    threads: list[threading.Thread] = []
    claim = fake.claim

    def note(*args: Any) -> Claim:
        threads.append(threading.current_thread())
        return claim(*args)

    fake.claim = note  # type: ignore[method-assign]
    asyncio.run(arun(kept(fake, attempt_of(aadd, 1, 2))))

    assert ran == [("aadd", 1, 2)]
    [thread] = threads
    assert thread is not threading.current_thread()


def test_an_attempt_keeps_nothing_unless_it_is_told_to() -> None:
    assert attempt_of(add, 1, 2).store is NO_STORE
