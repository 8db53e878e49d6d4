import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from google.cloud import tasks_v2
from google.cloud.location import locations_pb2
from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksTransport
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.longrunning import operations_pb2
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import code_pb2

from cloudtask.emulator.tasks.api.services import METHODS
from cloudtask.emulator.tasks.faults import ApiFaultKind, Fault
from cloudtask.emulator.values import instants
from cloudtask.emulator.values.errors import ApiError
from tests.emulator.parts import Parts, running
from tests.emulator.samples import (
    HOUR,
    NOW,
    PARENT,
    QUEUE,
    at,
    name_of,
    queue,
    task,
)

FULL, BASIC = tasks_v2.Task.View.FULL, tasks_v2.Task.View.BASIC
OTHER = f"{PARENT}/queues/other"
CMEK = f"{PARENT}/cmekConfig"


def follow(scenario: Callable[[Parts], Awaitable[Any]], *args: Any, **kw: Any) -> Any:
    """Return what a scenario comes to on parts that are at work."""

    async def main() -> Any:
        async with running(*args, **kw) as parts:
            return await scenario(parts)

    return asyncio.run(main())


async def call(parts: Parts, method: str, **fields: Any) -> Any:
    return await parts.api.call(method, METHODS[method](**fields))


async def create(parts: Parts, message: Any, **fields: Any) -> Any:
    return await call(parts, "CreateTask", parent=QUEUE, task=message, **fields)


def names(messages: Any) -> list[str]:
    return [message.name.rpartition("/")[2] for message in messages]


def test_every_method_of_googles_client_is_served() -> None:
    called = {
        name.title().replace("_", "")
        for name, value in vars(CloudTasksTransport).items()
        if isinstance(value, property)
    }

    assert called - {"Host", "Kind", "OperationsClient"} == METHODS.keys()


def test_queues() -> None:
    async def scenario(parts: Parts) -> None:
        created = await call(parts, "CreateQueue", parent=PARENT, queue=queue(OTHER))
        assert created == await call(parts, "GetQueue", name=OTHER)
        paused = await call(parts, "PauseQueue", name=OTHER)
        assert paused.state == tasks_v2.Queue.State.PAUSED
        listed = await call(parts, "ListQueues", parent=PARENT, filter="state: PAUSED")
        assert names(listed.queues) == ["other"]
        page = await call(parts, "ListQueues", parent=PARENT, page_size=1)
        assert names(page.queues) == ["default"]
        rest = await call(
            parts, "ListQueues", parent=PARENT, page_token=page.next_page_token
        )
        assert names(rest.queues) == ["other"]
        resumed = await call(parts, "ResumeQueue", name=OTHER)
        assert resumed.state == tasks_v2.Queue.State.RUNNING
        purged = await call(parts, "PurgeQueue", name=OTHER)
        assert instants.read(purged.purge_time) == NOW
        updated = await call(
            parts,
            "UpdateQueue",
            queue=queue(OTHER, retry_config={"max_attempts": 3, "max_doublings": 1}),
            update_mask=FieldMask(paths=["retry_config.max_attempts"]),
        )
        assert updated.retry_config.max_attempts == 3
        assert updated.retry_config.max_doublings == 16
        deleted = await call(parts, "DeleteQueue", name=OTHER)
        assert deleted.DESCRIPTOR.full_name == "google.protobuf.Empty"
        with pytest.raises(ApiError, match="Queue does not exist"):
            await call(parts, "GetQueue", name=OTHER)

    follow(scenario)


def test_tasks() -> None:
    async def scenario(parts: Parts) -> None:
        message = at(NOW + HOUR, "t1", http={"body": b"hi"})
        created = await create(parts, message)
        assert (created.view, created.http_request.body) == (BASIC, b"")
        full = await call(parts, "GetTask", name=name_of("t1"), response_view=FULL)
        assert (full.view, full.http_request.body) == (FULL, b"hi")
        assert created == await call(parts, "GetTask", name=name_of("t1"))
        await create(parts, at(NOW + HOUR, "t2", http={"body": b"hi"}))
        page = await call(
            parts, "ListTasks", parent=QUEUE, page_size=1, response_view=FULL
        )
        [first] = page.tasks
        assert first.http_request.body == b"hi"
        rest = await call(
            parts, "ListTasks", parent=QUEUE, page_token=page.next_page_token
        )
        [second] = rest.tasks
        assert second.http_request.body == b""
        assert {first.name, second.name} == {name_of("t1"), name_of("t2")}
        deleted = await call(parts, "DeleteTask", name=name_of("t1"))
        assert deleted.DESCRIPTOR.full_name == "google.protobuf.Empty"
        with pytest.raises(ApiError, match="The task no longer exists"):
            await call(parts, "GetTask", name=name_of("t1"))

    follow(scenario)


def test_a_full_view_can_be_asked_for_at_once() -> None:
    async def scenario(parts: Parts) -> Any:
        message = at(NOW + HOUR, "t1", http={"body": b"hi"})
        return await create(parts, message, response_view=FULL)

    assert follow(scenario).http_request.body == b"hi"


def test_a_created_task_is_shown_as_not_yet_sent_and_then_sent() -> None:
    async def scenario(parts: Parts) -> Any:
        created = await create(parts, task("t1"))
        await parts.until(lambda: parts.journal.attempts)
        return created

    assert follow(scenario).dispatch_count == 0


def test_a_task_is_run() -> None:
    async def scenario(parts: Parts) -> None:
        await call(parts, "PauseQueue", name=QUEUE)
        await create(parts, at(NOW + HOUR, "t1", http={"body": b"hi"}))
        ran = await call(parts, "RunTask", name=name_of("t1"))
        assert (ran.dispatch_count, ran.http_request.body) == (1, b"")
        assert ran.HasField("last_attempt")
        assert not ran.last_attempt.HasField("response_time")
        await parts.until(lambda: parts.journal.attempts)
        [attempt] = parts.journal.attempts
        assert attempt.outcome == "done"
        with pytest.raises(ApiError, match="entity was not found"):
            await call(parts, "RunTask", name=name_of("t1"))

    follow(scenario)


def test_a_task_that_is_run_can_be_shown_in_full() -> None:
    async def scenario(parts: Parts) -> Any:
        await create(parts, at(NOW + HOUR, "t1", http={"body": b"hi"}))
        return await call(parts, "RunTask", name=name_of("t1"), response_view=FULL)

    assert follow(scenario).http_request.body == b"hi"


@pytest.mark.parametrize("turns", range(4))
def test_a_task_is_run_even_if_the_caller_gives_up(turns: int) -> None:
    async def scenario(parts: Parts) -> list[str]:
        await create(parts, at(NOW + HOUR, "t1"))
        running = asyncio.create_task(call(parts, "RunTask", name=name_of("t1")))
        while not parts.engine.launcher.flights:
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await parts.travel.wait_until_idle()
        return [each.outcome for each in parts.journal.attempts]

    assert follow(scenario) == ["done"]


def test_a_task_is_buffered() -> None:
    target = {"uri_override": {"host": "127.0.0.1", "scheme": "HTTP"}}

    async def scenario(parts: Parts) -> Any:
        task = await parts.api.buffer_task(QUEUE, "t1", b"hi", {"X-A": "1"})
        await parts.until(lambda: parts.journal.attempts)
        [sent] = parts.delivery.sent
        assert (sent.url, sent.body) == ("http://127.0.0.1", b"hi")
        return task

    buffered = follow(scenario, fields={"http_target": target})

    assert buffered.name == name_of("t1")
    assert (buffered.view, buffered.http_request.body) == (BASIC, b"")


def test_policies() -> None:
    async def scenario(parts: Parts) -> None:
        empty = await call(parts, "GetIamPolicy", resource=QUEUE)
        assert list(empty.bindings) == []
        policy = policy_pb2.Policy()
        policy.bindings.add(role="roles/viewer", members=["user:a@b.example"])
        kept = await call(parts, "SetIamPolicy", resource=QUEUE, policy=policy)
        assert kept == await call(parts, "GetIamPolicy", resource=QUEUE)
        assert list(kept.bindings) == list(policy.bindings)
        cleared = await parts.api.call(
            "SetIamPolicy",
            iam_policy_pb2.SetIamPolicyRequest(
                resource=QUEUE,
                policy=policy_pb2.Policy(),
                update_mask=FieldMask(paths=["bindings"]),
            ),
        )
        assert list(cleared.bindings) == []
        for resource, granted in [(QUEUE, ["cloudtasks.tasks.run"]), (OTHER, [])]:
            tested = await call(
                parts,
                "TestIamPermissions",
                resource=resource,
                permissions=["cloudtasks.tasks.run"],
            )
            assert list(tested.permissions) == granted

    follow(scenario)


def test_locations_are_those_that_have_queues() -> None:
    async def scenario(parts: Parts) -> None:
        elsewhere = "projects/demo/locations/europe-west1"
        for parent in (elsewhere, "projects/other/locations/asia-east1"):
            path = f"{parent}/queues/q"
            await call(parts, "CreateQueue", parent=parent, queue=queue(path))
        found = await call(parts, "ListLocations", name="projects/demo")
        assert [each.name for each in found.locations] == [elsewhere, PARENT]
        location = await call(parts, "GetLocation", name=elsewhere)
        assert location == found.locations[0]
        assert location.location_id == "europe-west1"
        assert dict(location.labels) == {"cloud.googleapis.com/region": "europe-west1"}
        nothing = await call(parts, "ListLocations", name="projects/nothing")
        assert nothing == locations_pb2.ListLocationsResponse()

    follow(scenario)


def test_a_key_belongs_to_a_location() -> None:
    async def scenario(parts: Parts) -> None:
        unset = await call(parts, "GetCmekConfig", name=CMEK)
        assert (unset.name, unset.kms_key) == (CMEK, "")
        updated = await call(
            parts, "UpdateCmekConfig", cmek_config={"name": CMEK, "kms_key": "k"}
        )
        assert updated == await call(parts, "GetCmekConfig", name=CMEK)
        assert updated.kms_key == "k"
        elsewhere = "projects/demo/locations/elsewhere/cmekConfig"
        assert (await call(parts, "GetCmekConfig", name=elsewhere)).kms_key == ""

    follow(scenario)


@pytest.mark.parametrize(
    ("method", "fields", "code", "message"),
    [
        ("GetCmekConfig", {"name": PARENT}, "INVALID_ARGUMENT", "Invalid resource fie"),
        ("GetCmekConfig", {"name": "x"}, "PERMISSION_DENIED", "Permission denied on"),
        (
            "UpdateCmekConfig",
            {"cmek_config": {"name": PARENT}},
            "INVALID_ARGUMENT",
            "Invalid resource field",
        ),
        ("GetLocation", {"name": "x"}, "PERMISSION_DENIED", "Permission denied on res"),
        ("ListLocations", {"name": "x"}, "PERMISSION_DENIED", "Permission denied on "),
        (
            "ListLocations",
            {"name": "projects/p/q"},
            "INVALID_ARGUMENT",
            "Invalid resource field",
        ),
        ("GetOperation", {"name": "x"}, "PERMISSION_DENIED", "Permission denied on re"),
        (
            *("GetOperation", {"name": f"{PARENT}/operations/x"}),
            *("NOT_FOUND", "Requested entity was not found."),
        ),
    ],
)
def test_a_wrong_call_is_refused(
    method: str, fields: dict[str, Any], code: str, message: str
) -> None:
    async def scenario(parts: Parts) -> ApiError:
        with pytest.raises(ApiError) as caught:
            await call(parts, method, **fields)
        return caught.value

    error = follow(scenario)

    assert code_pb2.Code.Name(error.code) == code
    assert error.message.startswith(message)


# Faults.


@pytest.mark.parametrize(
    ("kind", "code", "executed"),
    [
        ("unavailable", "UNAVAILABLE", False),
        ("deadline_exceeded", "DEADLINE_EXCEEDED", False),
        ("executed_then_unavailable", "UNAVAILABLE", True),
        ("executed_then_deadline_exceeded", "DEADLINE_EXCEEDED", True),
    ],
)
def test_a_fault_spoils_a_call(kind: ApiFaultKind, code: str, executed: bool) -> None:
    async def scenario(parts: Parts) -> tuple[ApiError, int]:
        parts.faults.add(Fault(kind, method="CreateTask"))
        with pytest.raises(ApiError) as caught:
            await create(parts, at(NOW + HOUR))
        pending = parts.journal.pending
        await create(parts, at(NOW + HOUR))
        assert parts.journal.pending == pending + 1
        return caught.value, pending

    error, pending = follow(scenario)

    assert code_pb2.Code.Name(error.code) == code
    assert error.message == f"fault: {kind}"
    assert pending == executed


def test_a_task_is_run_even_if_the_caller_does_not_hear_of_it() -> None:
    async def scenario(parts: Parts) -> list[str]:
        await create(parts, at(NOW + HOUR, "t1"))
        parts.faults.add(Fault("executed_then_unavailable", task="t1"))
        with pytest.raises(ApiError, match="executed_then_unavailable"):
            await call(parts, "RunTask", name=name_of("t1"))
        await parts.travel.wait_until_idle()
        return [each.outcome for each in parts.journal.attempts]

    assert follow(scenario) == ["done"]


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("GetQueue", {"name": QUEUE}),
        ("CreateTask", {"parent": QUEUE, "task": task()}),
        ("GetTask", {"name": name_of("t1")}),
        ("GetIamPolicy", {"resource": QUEUE}),
        ("UpdateQueue", {"queue": queue()}),
        ("BatchDeleteTasks", {"parent": QUEUE, "names": [name_of("t1")]}),
    ],
)
def test_a_fault_of_a_queue_meets_what_is_about_it(
    method: str, fields: dict[str, Any]
) -> None:
    async def scenario(parts: Parts) -> None:
        await create(parts, at(NOW + HOUR, "t1"))
        parts.faults.add(Fault("unavailable", queue="default"))
        parts.faults.add(Fault("unavailable", queue="another", times=None))
        with pytest.raises(ApiError, match="fault: unavailable"):
            await call(parts, method, **fields)
        await call(parts, method, **fields)

    follow(scenario)


def test_a_buffered_task_can_meet_a_fault() -> None:
    async def scenario(parts: Parts) -> None:
        parts.faults.add(Fault("unavailable", method="BufferTask"))
        with pytest.raises(ApiError, match="fault: unavailable"):
            await parts.api.buffer_task(QUEUE, "t1", b"", {})

    follow(scenario)


# Durability.


def test_a_call_on_a_full_disk_is_unavailable_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.sqlite3"
    body = b"x" * 100_000

    async def scenario(parts: Parts) -> None:
        parts.fill_disk()
        for _ in range(3):
            with pytest.raises(ApiError) as caught:
                await create(parts, at(NOW + HOUR, "t1", http={"body": body}))
            assert caught.value.code == code_pb2.UNAVAILABLE
            assert caught.value.message == (
                "The emulator cannot write its store; nothing of this call is "
                "kept: database or disk is full"
            )
        assert parts.journal.pending == 0
        parts.free_disk()
        await create(parts, at(NOW + HOUR, "t1", http={"body": body}))

    follow(scenario, path)

    async def again(parts: Parts) -> list[str]:
        return names((await call(parts, "ListTasks", parent=QUEUE)).tasks)

    assert follow(again, path) == ["t1"]


def test_an_operation_is_got_by_its_name() -> None:
    async def scenario(parts: Parts) -> None:
        operation = await call(
            parts,
            "BatchCreateTasks",
            parent=QUEUE,
            requests=[{"parent": QUEUE, "task": at(NOW + HOUR, "t1")}],
        )
        assert isinstance(operation, operations_pb2.Operation)
        assert operation == await call(parts, "GetOperation", name=operation.name)

    follow(scenario)
