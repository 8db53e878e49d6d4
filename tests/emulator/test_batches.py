from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.cloud import tasks_v2
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from google.rpc import code_pb2

from cloudtask.emulator.tasks.api import batches
from cloudtask.emulator.tasks.engine.engine import Engine
from cloudtask.emulator.tasks.limits import MAX_CREATED, MAX_DELETED
from cloudtask.emulator.values import instants
from cloudtask.emulator.values.errors import ApiError
from tests.emulator.samples import (
    HOUR,
    NOW,
    PARENT,
    QUEUE,
    at,
    name_of,
    open_engine,
    task,
)

OTHER = f"{PARENT}/queues/other"
FULL = tasks_v2.Task.View.FULL
CreateMetadata = tasks_v2.BatchCreateTasksMetadata.pb()
DeleteMetadata = tasks_v2.BatchDeleteTasksMetadata.pb()
CreateResponse = tasks_v2.BatchCreateTasksResponse.pb()
ALL_FAILED = (
    "None of the requests succeeded, refer to {}.failed_requests for individual "
    "error details"
)


def creation(message: Any, **fields: Any) -> Any:
    return tasks_v2.CreateTaskRequest.pb()(
        **{"parent": QUEUE, "task": message, **fields}
    )


def create(engine: Engine, *requests: Any, **fields: Any) -> Any:
    request = tasks_v2.BatchCreateTasksRequest.pb()(
        **{"parent": QUEUE, "requests": requests, **fields}
    )
    return batches.create_tasks(engine, request, NOW)


def delete(engine: Engine, *names: str, **fields: Any) -> Any:
    request = tasks_v2.BatchDeleteTasksRequest.pb()(
        **{"parent": QUEUE, "names": names, **fields}
    )
    return batches.delete_tasks(engine, request, NOW)


def metadata(operation: Any, kind: Any) -> Any:
    found = kind()
    assert operation.done
    assert operation.metadata.Unpack(found)
    assert instants.read(found.start_time) == instants.read(found.end_time) == NOW
    return found


def failures(found: Any) -> dict[int, tuple[int, str]]:
    return {
        index: (status.code, status.message)
        for index, status in found.failed_requests.items()
    }


def created(operation: Any) -> list[Any]:
    response = CreateResponse()
    assert operation.response.Unpack(response)
    return list(response.tasks)


def task_ids(engine: Engine) -> list[str]:
    page, _ = engine.tasks.list(QUEUE, NOW)
    return [each.name.rpartition("/")[2] for each in page]


def test_a_batch_creates_its_tasks(engine: Engine) -> None:
    hi = {"body": b"hi"}
    operation = create(
        engine,
        creation(task("t1", http=hi)),
        creation(task("t2", http=hi), response_view=FULL),
    )

    found = metadata(operation, CreateMetadata)
    assert found.state == found.SUCCEEDED
    assert failures(found) == {}
    basic, full = created(operation)
    assert (basic.name, basic.http_request.body) == (name_of("t1"), b"")
    assert (full.name, full.http_request.body) == (name_of("t2"), b"hi")
    assert task_ids(engine) == ["t1", "t2"]


def test_a_batch_deletes_its_tasks(engine: Engine) -> None:
    for task_id in ("t1", "t2", "t3"):
        engine.tasks.create(QUEUE, task(task_id), NOW)

    operation = delete(engine, name_of("t1"), name_of("t3"))

    found = metadata(operation, DeleteMetadata)
    assert found.state == found.SUCCEEDED
    response = empty_pb2.Empty()
    assert operation.response.Unpack(response)
    assert task_ids(engine) == ["t2"]


def test_what_fails_of_a_batch_is_told_by_its_index(engine: Engine) -> None:
    operation = create(
        engine,
        creation(task("t1")),
        creation(task("t1")),
        creation(task("a b")),
        creation(task("t2")),
    )

    found = metadata(operation, CreateMetadata)
    assert found.state == found.PARTIALLY_SUCCEEDED
    assert failures(found) == {
        1: (code_pb2.ALREADY_EXISTS, "Requested entity already exists"),
        2: (
            code_pb2.INVALID_ARGUMENT,
            'Task ID "a b" can contain only letters ([A-Za-z]), numbers ([0-9]), '
            "hyphens (-), or underscores (_). "
            "Task ID must between 1 and 500 characters.",
        ),
    }
    assert found.failed_requests[2].details
    assert [each.name for each in created(operation)] == [name_of("t1"), name_of("t2")]
    assert task_ids(engine) == ["t1", "t2"]


def test_deletions_can_fail_in_part(engine: Engine) -> None:
    engine.tasks.create(QUEUE, task("t1"), NOW)

    operation = delete(engine, name_of("no"), name_of("t1"), name_of("t1"))

    found = metadata(operation, DeleteMetadata)
    assert found.state == found.PARTIALLY_SUCCEEDED
    missing = (code_pb2.NOT_FOUND, "Requested entity was not found.")
    assert failures(found) == {0: missing, 2: missing}
    assert task_ids(engine) == []


@pytest.mark.parametrize(
    ("run", "kind"),
    [
        (lambda engine: create(engine, creation(task("a b"))), CreateMetadata),
        (lambda engine: delete(engine, name_of("no")), DeleteMetadata),
    ],
    ids=["create", "delete"],
)
def test_a_batch_of_failures_fails(
    engine: Engine, run: Callable[[Engine], Any], kind: Any
) -> None:
    operation = run(engine)

    found = metadata(operation, kind)
    assert found.state == found.FAILED
    assert list(found.failed_requests) == [0]
    assert operation.WhichOneof("result") == "error"
    assert operation.error.code == code_pb2.ABORTED
    assert operation.error.message == ALL_FAILED.format(kind.DESCRIPTOR.name)


def test_a_repeated_request_is_carried_out_once(engine: Engine) -> None:
    first = create(engine, creation(task()), request_id="r1")

    assert create(engine, creation(task()), request_id="r1") == first
    assert len(task_ids(engine)) == 1
    assert create(engine, creation(task()), request_id="r2") != first
    assert len(task_ids(engine)) == 2


def test_requests_without_an_id_are_all_carried_out(engine: Engine) -> None:
    names = {create(engine, creation(task())).name for _ in range(2)}

    assert len(names) == 2
    assert len(task_ids(engine)) == 2


def test_an_id_is_of_one_kind_and_one_queue(
    make_engine: Callable[..., Engine],
) -> None:
    engine = make_engine(create_queues=True)
    create(engine, creation(task("t1")), request_id="r1")

    delete(engine, name_of("t1"), request_id="r1")
    create(engine, creation(task(), parent=OTHER), parent=OTHER, request_id="r1")

    assert task_ids(engine) == []
    assert len(engine.tasks.list(OTHER, NOW)[0]) == 1


def test_a_request_is_known_after_a_restart(
    make_engine: Callable[..., Engine], tmp_path: Path
) -> None:
    path = tmp_path / "store.sqlite3"
    engine = make_engine(path=path)
    first = create(engine, creation(at(NOW + HOUR, "t1")), request_id="r1")
    engine.commit()
    engine.store.file.close()

    again = open_engine(path)

    try:
        assert create(again, creation(task("t1")), request_id="r1") == first
        assert batches.get(again.store, first.name) == first
        assert task_ids(again) == ["t1"]
    finally:
        again.store.file.close()


def test_an_operation_has_a_name_in_its_location(engine: Engine) -> None:
    operation = create(engine, creation(task()))

    assert isinstance(operation, operations_pb2.Operation)
    location, _, number = operation.name.rpartition("/operations/")
    assert location == PARENT
    assert number.isdigit()
    with pytest.raises(ApiError, match="entity was not found"):
        batches.get(engine.store, f"{PARENT}/operations/1")


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda e: create(e), "requests must hold 1 to 100 items."),
        (
            lambda e: create(e, *[creation(task())] * (MAX_CREATED + 1)),
            "requests must hold 1 to 100 items.",
        ),
        (lambda e: delete(e), "names must hold 1 to 1000 items."),
        (
            lambda e: delete(e, *[name_of("t1")] * (MAX_DELETED + 1)),
            "names must hold 1 to 1000 items.",
        ),
        (
            lambda e: create(e, creation(task(), parent=OTHER)),
            f"Every item of a batch must name its queue, '{QUEUE}', not '{OTHER}'.",
        ),
        (
            lambda e: delete(e, name_of("t1"), f"{OTHER}/tasks/t1"),
            f"Every item of a batch must name its queue, '{QUEUE}', not '{OTHER}'.",
        ),
        (lambda e: delete(e, "t1"), "Task name must be formatted: "),
        (
            lambda e: create(e, creation(task(), parent=OTHER), parent=OTHER),
            "Queue does not exist.",
        ),
        (
            lambda e: delete(e, f"{OTHER}/tasks/t1", parent=OTHER),
            "Queue does not exist.",
        ),
        (
            lambda e: create(e, creation(task()), parent="q"),
            "Queue name must be formatted",
        ),
        (
            lambda e: delete(e, name_of("t1"), parent="q"),
            "Queue name must be formatted",
        ),
    ],
)
def test_a_wrong_batch_is_refused_as_a_whole(
    engine: Engine, run: Callable[[Engine], Any], message: str
) -> None:
    engine.tasks.create(QUEUE, task("t1"), NOW)

    with pytest.raises(ApiError) as caught:
        run(engine)

    assert caught.value.message.startswith(message)
    assert task_ids(engine) == ["t1"]


def test_the_largest_batches_are_carried_out(engine: Engine) -> None:
    found = created(create(engine, *[creation(task())] * MAX_CREATED))
    names = [each.name for each in found]

    delete(engine, *names, *[name_of("no")] * (MAX_DELETED - MAX_CREATED))

    assert (len(names), task_ids(engine)) == (MAX_CREATED, [])
