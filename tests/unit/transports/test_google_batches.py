"""Batches of tasks, at an emulator and at services that break them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import grpc
import pytest
from google.cloud.tasks_v2.types import (
    BatchCreateTasksMetadata,
    BatchCreateTasksResponse,
    BatchDeleteTasksMetadata,
)
from google.longrunning import operations_pb2

from cloudtask.emulator import Emulator
from cloudtask.exceptions import (
    EnqueueError,
    PermissionDenied,
    QueueNotFound,
    ServiceUnavailable,
    TaskAlreadyExists,
)
from cloudtask.transports.base import QueueTransport
from cloudtask.transports.google import operations
from cloudtask.transports.google.messages import to_message
from cloudtask.wire.headers import BATCH_HEADER
from cloudtask.wire.limits import MAX_STORED_BYTES
from cloudtask.wire.outgoing import OutgoingTask
from tests.unit.transports.conftest import QUEUE_PATH
from tests.unit.transports.service import Batches, Call, Hang, Service, refuse, store
from tests.wire import Calls, stored, watch

Code = grpc.StatusCode
Configure = Callable[..., QueueTransport]
Outgoing = Callable[..., OutgoingTask]

OTHER = QUEUE_PATH.replace("default", "other")
CREATE, DELETE = "BatchCreateTasks", "BatchDeleteTasks"
SHORT = {"RPC_TIMEOUT": timedelta(milliseconds=300)}
OPERATION = "projects/project/locations/europe-west1/operations/1"

_CreateMetadata = BatchCreateTasksMetadata.pb()
_CreateResponse = BatchCreateTasksResponse.pb()
_DeleteMetadata = BatchDeleteTasksMetadata.pb()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return watch(monkeypatch)


# At an emulator


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    queues = ["default", "other"]
    with Emulator(queues, project="project", location="europe-west1") as emulator:
        yield emulator


@pytest.fixture
def transport(
    emulator: Emulator, counted: Calls, configure: Configure
) -> Iterator[QueueTransport]:
    transport = configure(EMULATOR_HOST=emulator.host)
    yield transport
    transport.close()


@pytest.fixture
def tasks(outgoing: Outgoing) -> Callable[..., list[OutgoingTask]]:
    """Return a function that makes tasks for tomorrow, with their numbers."""

    def tasks(count: int, **fields: Any) -> list[OutgoingTask]:
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        return [
            outgoing(**{"body": b"%d" % number, "schedule_time": tomorrow, **fields})
            for number in range(count)
        ]

    return tasks


Tasks = Callable[..., list[OutgoingTask]]


def test_many_tasks_take_few_calls(
    emulator: Emulator, counted: Calls, transport: QueueTransport, tasks: Tasks
) -> None:
    sent = tasks(250)
    names = transport.send_many(sent)

    assert counted.methods == [CREATE] * 3
    assert [len(request.requests) for _, request in counted.calls] == [100, 100, 50]
    # Each name is that of its task, in whatever order they were created.
    found = stored(emulator)
    assert [found[str(name)] for name in names] == [each.body for each in sent]


def test_each_queue_has_calls_of_its_own(
    emulator: Emulator, counted: Calls, transport: QueueTransport, tasks: Tasks
) -> None:
    one, two = tasks(3), tasks(4, queue_path=OTHER)
    mixed = [two[0], one[0], two[1], one[1], one[2], two[2], two[3]]
    names = transport.send_many(mixed)

    assert [(method, request.parent) for method, request in counted.calls] == [
        (CREATE, OTHER),
        (CREATE, QUEUE_PATH),
    ]
    found = {**stored(emulator), **stored(emulator, "other")}
    for task, name in zip(mixed, names, strict=True):
        assert str(name).startswith(f"{task.route.queue_path}/tasks/")
        assert found[str(name)] == task.body


def test_one_task_is_sent_as_ever(
    counted: Calls, transport: QueueTransport, tasks: Tasks
) -> None:
    transport.send_many([*tasks(1), *tasks(2, queue_path=OTHER)])

    assert counted.methods == ["CreateTask", CREATE]


def test_a_call_takes_no_more_bytes_than_the_largest_task(
    emulator: Emulator, counted: Calls, transport: QueueTransport, tasks: Tasks
) -> None:
    sent = tasks(12, body=b"x" * 300_000) + tasks(1, body=b"x" * 1_047_000)
    names = transport.send_many(sent)

    assert counted.methods == [*[CREATE] * 4, "CreateTask"]
    for _, request in counted.calls:
        assert request.ByteSize() < MAX_STORED_BYTES + 1000
    assert set(names) == stored(emulator).keys()


def test_a_task_tells_which_of_a_batch_it_is_and_is_else_as_if_alone(
    emulator: Emulator, counted: Calls, transport: QueueTransport, outgoing: Outgoing
) -> None:
    sent = [outgoing(task_id="first"), outgoing(task_id="second")]
    transport.send_many(sent)
    [(_, request)] = counted.calls
    for number, (task, each) in enumerate(zip(sent, request.requests, strict=True)):
        assert each.task.http_request.headers.pop(BATCH_HEADER) == str(number)
        assert each == to_message(task)


def test_what_is_wrong_with_one_is_told_of_it_alone(
    emulator: Emulator, transport: QueueTransport, tasks: Tasks, outgoing: Outgoing
) -> None:
    transport.send(outgoing(task_id="taken"))
    sent = [
        *tasks(1),
        outgoing(task_id="taken"),
        *tasks(1, url="ftp://shop.example/"),
        *tasks(1),
    ]
    first, taken, invalid, last = transport.send_many(sent)

    assert {first, last} <= stored(emulator).keys()
    assert isinstance(taken, TaskAlreadyExists)
    assert taken.name == f"{QUEUE_PATH}/tasks/taken"
    assert type(invalid) is EnqueueError
    assert str(invalid) == (
        f"tests.tasks.add: {QUEUE_PATH} did not take the task: INVALID_ARGUMENT: "
        "HttpTarget.url must start with 'http://' or 'https://'."
    )


def test_all_may_be_wrong(transport: QueueTransport, tasks: Tasks) -> None:
    answers = transport.send_many(tasks(3, url="ftp://shop.example/"))

    assert [type(each) for each in answers] == [EnqueueError] * 3
    assert "HttpTarget.url must start" in str(answers[2])


def test_a_missing_queue_is_missing_for_all(
    counted: Calls, transport: QueueTransport, tasks: Tasks
) -> None:
    gone = QUEUE_PATH.replace("default", "gone")
    answers = transport.send_many([*tasks(3, queue_path=gone), *tasks(2)])

    assert [type(each) for each in answers] == [QueueNotFound] * 3 + [str] * 2
    assert counted.methods == [CREATE, CREATE]
    assert str(answers[0]).startswith(f"3 tasks for {gone}: NOT_FOUND: Queue does")
    # It may be there the next time.
    transport.send_many(tasks(3, queue_path=gone))
    assert counted.methods == [CREATE] * 3


@pytest.mark.parametrize(
    "fault", ["executed_then_unavailable", "executed_then_deadline_exceeded"]
)
def test_tasks_whose_answer_was_lost_are_enqueued_once(
    emulator: Emulator,
    counted: Calls,
    transport: QueueTransport,
    tasks: Tasks,
    outgoing: Outgoing,
    fault: Any,
) -> None:
    emulator.inject(fault, method=CREATE, times=2)
    sent = [
        *tasks(5),
        outgoing(task_id="named", schedule_time=tasks(1)[0].schedule_time),
    ]
    names = transport.send_many(sent)

    assert counted.methods == [CREATE] * 3
    assert len({request.request_id for _, request in counted.calls}) == 1
    found = stored(emulator)
    assert len(found) == 6
    assert [found[str(name)] for name in names] == [each.body for each in sent]


def test_each_batch_has_an_id_of_its_own(
    emulator: Emulator, counted: Calls, transport: QueueTransport, tasks: Tasks
) -> None:
    sent = tasks(3)
    transport.send_many(sent)
    transport.send_many(sent)

    assert len({request.request_id for _, request in counted.calls}) == 2
    assert len(stored(emulator)) == 6


def test_tasks_of_an_outage_are_told(
    emulator: Emulator, counted: Calls, configure: Configure, tasks: Tasks
) -> None:
    transport = configure(EMULATOR_HOST=emulator.host, **SHORT)
    emulator.inject("unavailable", times=None)
    answers = transport.send_many([*tasks(250), *tasks(3, queue_path=OTHER)])

    assert {type(each) for each in answers} == {ServiceUnavailable}
    assert str(answers[0]).startswith(f"100 tasks for {QUEUE_PATH}: ")
    # One call, or two of which one was given up early, and what repeats them.
    assert len({request.request_id for _, request in counted.calls}) <= 2
    emulator.clear_faults()
    assert stored(emulator) == {}
    assert {type(each) for each in transport.send_many(tasks(3))} == {str}
    transport.close()


def test_many_tasks_are_deleted_by_few_calls(
    emulator: Emulator, counted: Calls, transport: QueueTransport, tasks: Tasks
) -> None:
    names = [*map(str, transport.send_many([*tasks(4), *tasks(3, queue_path=OTHER)]))]
    counted.calls.clear()

    assert transport.delete_many([names[4], *names[:3], names[5]]) == {}

    assert counted.methods == [DELETE, DELETE]
    assert list(stored(emulator)) == [names[3]]
    assert list(stored(emulator, "other")) == [names[6]]
    # All of them, or some, or one may be gone.
    assert transport.delete_many(names[:3]) == {}
    assert transport.delete_many(names[2:4]) == {}
    assert transport.delete_many(names[:1]) == {}
    assert counted.methods[2:] == [DELETE, DELETE, "DeleteTask"]
    assert stored(emulator) == {}


def test_a_call_deletes_a_thousand_tasks(
    counted: Calls, transport: QueueTransport
) -> None:
    names = [f"{QUEUE_PATH}/tasks/{number}" for number in range(1001)]

    assert transport.delete_many(names) == {}
    assert counted.methods == [DELETE, "DeleteTask"]
    assert counted.calls[0][1].names == names[:1000]


def test_with_its_queue_a_task_is_gone(transport: QueueTransport) -> None:
    gone = QUEUE_PATH.replace("default", "gone")

    assert transport.delete_many([f"{gone}/tasks/{number}" for number in "12"]) == {}


def test_what_is_not_deleted_in_an_outage_is_told(
    emulator: Emulator, configure: Configure
) -> None:
    transport = configure(EMULATOR_HOST=emulator.host, **SHORT)
    emulator.inject("unavailable", times=None)
    names = [
        f"{path}/tasks/{number}" for path in (QUEUE_PATH, OTHER) for number in "12"
    ]
    left = transport.delete_many(names)

    assert list(left) == names
    assert str(left[names[0]]).startswith(f"2 tasks of {QUEUE_PATH}: ")
    assert {type(each) for each in left.values()} == {ServiceUnavailable}
    transport.close()


def test_a_lost_answer_of_a_deletion_is_asked_for_again(
    emulator: Emulator, counted: Calls, transport: QueueTransport, tasks: Tasks
) -> None:
    names = [*map(str, transport.send_many(tasks(3)))]
    emulator.inject("executed_then_unavailable", method=DELETE)

    assert transport.delete_many(names) == {}
    assert stored(emulator) == {}


# At services that break them


@pytest.fixture
def batches() -> Batches:
    return Batches()


def created(*indexes: int, failed: dict[int, Code] | None = None, **fields: Any) -> Any:
    """The operation that created some tasks, in this order."""
    operation = operations_pb2.Operation(name=OPERATION, done=True, **fields)
    response = _CreateResponse()
    for index in indexes:
        task = response.tasks.add(name=f"{QUEUE_PATH}/tasks/{index}")
        task.http_request.headers[BATCH_HEADER] = str(index)
    operation.response.Pack(response)
    metadata = _CreateMetadata()
    for index, code in (failed or {}).items():
        metadata.failed_requests[index].code = code.value[0]
        metadata.failed_requests[index].message = "as it was told to"
    operation.metadata.Pack(metadata)
    return operation


def under_way() -> Any:
    return operations_pb2.Operation(name=OPERATION)


def test_the_order_of_an_answer_does_not_count(
    batches: Batches, configure: Configure, tasks: Tasks
) -> None:
    batches.script = [(CREATE, created(2, 0, failed={1: Code.RESOURCE_EXHAUSTED}))]
    first, second, third = configure().send_many(tasks(3))

    assert (first, third) == (f"{QUEUE_PATH}/tasks/0", f"{QUEUE_PATH}/tasks/2")
    assert isinstance(second, ServiceUnavailable)


def test_an_operation_is_waited_for(
    batches: Batches, configure: Configure, tasks: Tasks
) -> None:
    batches.script = [
        (CREATE, under_way()),
        ("GetOperation", under_way()),
        ("GetOperation", Code.UNAVAILABLE),
        ("GetOperation", created(0, 1)),
    ]
    names = configure().send_many(tasks(2))

    assert names == [f"{QUEUE_PATH}/tasks/{index}" for index in (0, 1)]
    assert {request.name for _, request in batches.requests[1:]} == {OPERATION}


@pytest.mark.parametrize(
    ("answers", "details"),
    [
        ([under_way()] * 20, "it takes too long"),
        ([Code.PERMISSION_DENIED], "as it was told to"),
        ([Code.UNAVAILABLE] * 20, "as it was told to"),
    ],
    ids=["slow", "refused", "away"],
)
def test_what_became_of_an_operation_may_stay_unknown(
    service: Service,
    batches: Batches,
    configure: Configure,
    tasks: Tasks,
    answers: list[Any],
    details: str,
) -> None:
    batches.script = [(CREATE, under_way()), *[("GetOperation", a) for a in answers]]
    transport = configure(**SHORT)
    started = monotonic()
    unknown = transport.send_many(tasks(2))

    assert monotonic() - started < 2
    assert {type(each) for each in unknown} == {ServiceUnavailable}
    assert str(unknown[1]) == (
        f"2 tasks for {QUEUE_PATH}: UNKNOWN: what became of {OPERATION} is unknown: "
        f"{details}"
    )
    # They may be there, so they are not sent again here; and the next ones
    # are not sent like that.
    assert service.calls == []
    batches.script.clear()
    assert {type(each) for each in transport.send_many(tasks(2))} == {str}
    assert len(service.calls) == 2


@pytest.mark.parametrize(
    "code", [Code.UNIMPLEMENTED, Code.PERMISSION_DENIED, Code.INVALID_ARGUMENT]
)
def test_where_batches_are_refused_single_calls_are_made_from_then_on(
    service: Service,
    batches: Batches,
    configure: Configure,
    tasks: Tasks,
    code: grpc.StatusCode,
    caplog: pytest.LogCaptureFixture,
) -> None:
    batches.script = [(CREATE, code), (CREATE, created(0, 1)), (DELETE, code)]
    transport = configure()
    caplog.set_level(logging.INFO, "cloudtask")

    names = transport.send_many(tasks(3))
    assert names == [task.name for task in service.stored]
    transport.send_many(tasks(2))
    assert (batches.methods, len(service.calls)) == ([CREATE], 5)
    assert caplog.messages == [
        f"{QUEUE_PATH}: single calls in place of {CREATE}: {code.name}: "
        "as it was told to"
    ]
    # It is so for this queue, and this method.
    transport.send_many(tasks(2, queue_path=OTHER))
    assert batches.methods == [CREATE, CREATE]
    assert transport.delete_many(["q/tasks/1", "q/tasks/2"]) == {}
    assert transport.delete_many(["q/tasks/3", "q/tasks/4"]) == {}
    assert batches.methods[2:] == [DELETE] + ["DeleteTask"] * 4


@pytest.mark.parametrize("code", [Code.INTERNAL, Code.RESOURCE_EXHAUSTED])
def test_a_batch_that_comes_to_harm_is_not_made_again_soon(
    service: Service,
    batches: Batches,
    configure: Configure,
    tasks: Tasks,
    code: grpc.StatusCode,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One task of it may be to blame, which would hold up the others."""
    batches.script = [(CREATE, code)] * 20
    transport = configure(**SHORT)

    assert {type(e) for e in transport.send_many(tasks(2))} == {ServiceUnavailable}
    assert service.calls == []
    assert {type(e) for e in transport.send_many(tasks(2))} == {str}
    assert len(service.calls) == 2

    batches.script = [(CREATE, created(0, 1))]
    monkeypatch.setattr(operations, "monotonic", lambda: monotonic() + 3600)
    assert {type(e) for e in transport.send_many(tasks(2))} == {str}
    assert len(service.calls) == 2


def test_tasks_of_which_nothing_is_said_are_told(
    service: Service, batches: Batches, configure: Configure, tasks: Tasks
) -> None:
    unmarked = created(1)
    response = _CreateResponse(tasks=[{"name": "lost"}])
    unmarked.response.Pack(response)
    batches.script = [(CREATE, created(0)), (CREATE, unmarked)]
    transport = configure()

    known, unknown = transport.send_many(tasks(2))
    assert known == f"{QUEUE_PATH}/tasks/0"
    assert isinstance(unknown, ServiceUnavailable)
    assert str(unknown).endswith("UNKNOWN: nothing is said of it")
    assert {type(e) for e in transport.send_many(tasks(2, queue_path=OTHER))} == {
        ServiceUnavailable
    }
    # Each may be there; the next ones are sent one by one.
    assert {type(each) for each in transport.send_many(tasks(2))} == {str}
    assert len(service.calls) == 2


def test_an_operation_may_fail_as_a_whole(
    batches: Batches, configure: Configure, tasks: Tasks
) -> None:
    failed = created(failed={1: Code.PERMISSION_DENIED})
    failed.error.code, failed.error.message = 13, "it broke"
    batches.script = [(CREATE, failed), (CREATE, failed)]
    whole, own = configure().send_many(tasks(2))

    assert isinstance(whole, ServiceUnavailable)
    assert str(whole).endswith("INTERNAL: it broke")
    assert isinstance(own, PermissionDenied)


def test_a_code_that_is_not_known_is_unknown(
    batches: Batches, configure: Configure, tasks: Tasks
) -> None:
    failed = created()
    failed.error.code = 99
    batches.script = [(CREATE, failed)]

    assert "UNKNOWN: " in str(configure().send_many(tasks(2))[0])


def test_what_was_not_deleted_is_told_by_name(
    batches: Batches, configure: Configure
) -> None:
    operation = operations_pb2.Operation(done=True)
    metadata = _DeleteMetadata()
    metadata.failed_requests[0].code = Code.NOT_FOUND.value[0]
    metadata.failed_requests[2].code = Code.PERMISSION_DENIED.value[0]
    metadata.failed_requests[2].message = "not you"
    operation.metadata.Pack(metadata)
    batches.script = [(DELETE, operation)]
    names = [f"{QUEUE_PATH}/tasks/{number}" for number in range(3)]
    left = configure().delete_many(names)

    [(name, error)] = left.items()
    assert name == names[2]
    assert isinstance(error, PermissionDenied)
    assert str(error) == f"{name}: PERMISSION_DENIED: not you"
    assert error.queue_path == QUEUE_PATH


def test_one_timeout_is_waited_for_single_calls(
    service: Service, batches: Batches, configure: Configure, tasks: Tasks
) -> None:
    batches.script = [(CREATE, Code.UNIMPLEMENTED)]
    service.answers(refuse(Code.UNAVAILABLE), store, Hang())
    transport = configure(**SHORT)
    answers = transport.send_many(tasks(5))

    # What is refused at once holds up nothing.
    assert [type(each) for each in answers] == [
        *(ServiceUnavailable, str, ServiceUnavailable),
        *(ServiceUnavailable, ServiceUnavailable),
    ]
    assert answers[2] is answers[3] is answers[4]
    assert len(service.calls) == 3


@dataclass
class Slow:
    """Fail after a while."""

    seconds: float

    def __call__(self, service: Service, call: Call, context: Any) -> Any:
        service.closing.wait(self.seconds)
        context.abort(Code.UNAVAILABLE, "try later")


def test_a_call_gets_the_time_that_failed_ones_have_left(
    service: Service, configure: Configure, tasks: Tasks
) -> None:
    service.answers(store, Slow(0.4), Hang())
    transport = configure(RPC_TIMEOUT=timedelta(seconds=1))
    paths = [QUEUE_PATH.replace("default", name) for name in "abcd"]
    several = [tasks(1, queue_path=path)[0] for path in paths]
    answers = transport.send_many(several)

    assert [isinstance(each, str) for each in answers] == [True, False, False, False]
    seconds = [call.seconds for call in service.calls]
    # What is answered takes nothing from the others.
    assert min(seconds[:2]) > 0.9
    assert 0.5 < seconds[2] < 0.65
    assert len(seconds) == 3


def test_calls_of_one_caller_share_its_patience(
    service: Service, configure: Configure, tasks: Tasks
) -> None:
    service.answers(Hang())
    transport = configure(**SHORT)
    patience = transport.patience()
    [first] = transport.send_many(tasks(1), patience)
    [second] = transport.send_many(tasks(1), patience)

    assert first is second
    assert len(service.calls) == 1
    assert {type(each) for each in transport.send_many(tasks(1))} == {str}
