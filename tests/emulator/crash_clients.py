"""Clients that go on until the emulator dies, and know what they were told."""

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from typing import Any

from google.api_core.exceptions import AlreadyExists, Cancelled, ServiceUnavailable
from google.cloud.tasks_v2 import (
    BatchCreateTasksRequest,
    BatchDeleteTasksRequest,
    CloudTasksClient,
    CreateTaskRequest,
    Queue,
    Task,
)
from google.rpc.code_pb2 import ALREADY_EXISTS

PARENT = "projects/demo/locations/local"

#: What a call comes to if the process ends; Cancelled if it wanted to.
UNANSWERED = (ServiceUnavailable, Cancelled)

_MAX_BATCH = 100
_PAGE_SIZE = 1000


def queue_path(queue: str) -> str:
    return f"{PARENT}/queues/{queue}"


def queue_of(task: str) -> str:
    """Return the path of a task's queue."""
    return task.partition("/tasks/")[0]


def new_task(
    queue: str, url: str, name: str = "", body: bytes = b"", **fields: Any
) -> CreateTaskRequest:
    """Return the request for a task with these ids."""
    return CreateTaskRequest(
        parent=queue_path(queue),
        task=Task(
            name=f"{queue_path(queue)}/tasks/{name}" if name else "",
            http_request={"url": url, "body": body},
            **fields,
        ),
        response_view=Task.View.FULL,
    )


def create_all(
    client: CloudTasksClient, requests: Sequence[CreateTaskRequest]
) -> list[str]:
    """Create tasks of one queue in batches and return their names."""
    return [
        task.name
        for some in _batched(requests)
        for task in _create_batch(client, _batch(some))
    ]


def tasks_by_key(client: CloudTasksClient, queue: str) -> dict[str, Task]:
    """Return the tasks of a queue by the last parts of their URLs."""
    request = {
        "parent": queue_path(queue),
        "response_view": Task.View.FULL,
        "page_size": _PAGE_SIZE,
    }
    pages = client.list_tasks(request, retry=None)
    return {task.http_request.url.rpartition("/")[2]: task for task in pages}


def free_names(client: CloudTasksClient, names: Sequence[str]) -> list[str]:
    """Try to create tasks of one queue by these names; return which can be."""
    return [name for some in _batched(names) for name in _free_names(client, some)]


def _free_names(client: CloudTasksClient, names: Sequence[str]) -> list[str]:
    queue = queue_of(names[0]).rpartition("/")[2]
    requests = [
        new_task(queue, "http://127.0.0.1:9/", name.rpartition("/")[2])
        for name in names
    ]
    operation = client.batch_create_tasks(_batch(requests), retry=None)
    failed = operation.metadata.failed_requests
    return [
        name
        for index, name in enumerate(names)
        if index not in failed or failed[index].code != ALREADY_EXISTS
    ]


class Countdown:
    """Calls a function at the nth event, on whichever thread that is."""

    def __init__(self, number: int, function: Callable[[], object]) -> None:
        self._left = number
        self._function = function
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._function()


class Load:
    """
    Creates tasks that are sent at once.

    Attributes:
        accepted: The names of acknowledged tasks, and in which life of the
            emulator they were.
    """

    def __init__(self, name: str, url: str, random: Random) -> None:
        self.accepted: dict[str, int] = {}
        self._name = name
        self._url = url
        self._random = random
        self._numbers = count()
        self._unanswered: list[CreateTaskRequest | BatchCreateTasksRequest] = []

    def run(
        self, client: CloudTasksClient, life: int, acknowledged: Callable[[], object]
    ) -> None:
        """Go on until nobody answers."""
        while True:
            if self.accepted and self._random.random() < 0.1:
                name = self._random.choice([*self.accepted])
                try:
                    assert free_names(client, [name]) == []
                except UNANSWERED:
                    return
            else:
                request = self._new_request()
                try:
                    self._send(client, life, request)
                except UNANSWERED:
                    self._unanswered.append(request)
                    return
            acknowledged()

    def resolve(self, client: CloudTasksClient, life: int) -> None:
        """Repeat what was not answered, if that cannot make a task twice."""
        for request in self._unanswered:
            if isinstance(request, BatchCreateTasksRequest):
                self._send(client, life, request)
            elif request.task.name:
                try:
                    self._send(client, life, request)
                except AlreadyExists:
                    self.accepted[request.task.name] = life
        self._unanswered.clear()

    def _new_request(self) -> CreateTaskRequest | BatchCreateTasksRequest:
        if self._random.random() < 0.1:
            return _batch([self._new_task(named=n % 2 == 0) for n in range(10)])
        return self._new_task(named=self._random.random() < 0.5)

    def _new_task(self, *, named: bool) -> CreateTaskRequest:
        key = f"{self._name}-{next(self._numbers)}"
        behaviour = "flaky" if self._random.random() < 0.1 else "now"
        return new_task("live", f"{self._url}/{behaviour}/{key}", key if named else "")

    def _send(
        self,
        client: CloudTasksClient,
        life: int,
        request: CreateTaskRequest | BatchCreateTasksRequest,
    ) -> None:
        if isinstance(request, BatchCreateTasksRequest):
            tasks = _create_batch(client, request)
            assert len(tasks) == len(request.requests)
        else:
            tasks = [client.create_task(request, retry=None)]
        self.accepted |= {task.name: life for task in tasks}


@dataclass
class QueueModel:
    """A queue as it has to be; a task is None if nobody told what it is."""

    state: int = Queue.State.RUNNING
    max_attempts: int = 100
    tasks: dict[str, Task | None] = field(default_factory=dict)  # By key.

    def copy(self) -> "QueueModel":
        return replace(self, tasks=dict(self.tasks))


Model = dict[str, QueueModel]  # By the queues' ids.
Call = Callable[[CloudTasksClient], object]


@dataclass
class Change:
    """A call, and what is there once it was carried out."""

    call: Call
    after: Model
    is_idempotent: bool = False  # It has a request_id.


class Controller:
    """
    Makes all changes of its own queues, one after the other.

    So it knows exactly what is there: what it was told; or, after a call that
    was not answered, either that or all of what the call was to do. Its tasks
    are for later, so that nothing else changes them.

    Attributes:
        model: What is there.
        gone: The names of tasks that are not there any more.
    """

    def __init__(self, name: str, url: str, random: Random) -> None:
        self.model: Model = {}
        self.gone: set[str] = set()
        self._name = name
        self._url = url
        self._random = random
        self._numbers = count()
        self._kept = f"{name}-kept"
        self._purged = f"{name}-purged"
        self._unanswered: Change | None = None

    def prepare(self, client: CloudTasksClient, tasks: int) -> None:
        """Create queues and so many tasks."""
        for queue in (self._kept, self._purged):
            _create_queue(client, queue)
            self.model[queue] = QueueModel()
        create_all(client, [self._new_task(self._kept) for _ in range(tasks)])
        self.model = self._found(client)

    def run(self, client: CloudTasksClient, acknowledged: Callable[[], object]) -> None:
        """Go on until nobody answers."""
        while True:
            change = self._plan()
            try:
                change.call(client)
            except UNANSWERED:
                self._unanswered = change
                return
            self._become(change.after)
            acknowledged()

    def resolve(self, client: CloudTasksClient) -> None:
        """Check what is there, and find out what was done if that is open."""
        found, expected = self._found(client), self.model
        change, self._unanswered = self._unanswered, None
        if change is not None:
            was_done = not _differences(found, change.after)
            assert was_done or not _differences(found, self.model), "done in part"
            if change.is_idempotent:
                change.call(client)
                found = self._found(client)
            if was_done or change.is_idempotent:
                expected = change.after
        assert _differences(found, expected) == []
        self._become(found)

    @property
    def there(self) -> set[str]:
        """The names of the tasks that are there."""
        return {
            task.name for queue in self.model.values() for task in queue.tasks.values()
        }

    @property
    def names(self) -> set[str]:
        """All names of tasks so far, but of those whose queue is gone."""
        paths = {queue_path(queue) for queue in self.model}
        return self.there | {name for name in self.gone if queue_of(name) in paths}

    def _become(self, model: Model) -> None:
        for name, queue in self.model.items():
            left = model[name].tasks if name in model else {}
            lost = queue.tasks.keys() - left.keys()
            self.gone |= {queue.tasks[key].name for key in lost}
        self.model = model

    def _found(self, client: CloudTasksClient) -> Model:
        queues = {
            queue.name.rpartition("/")[2]: queue
            for queue in client.list_queues(parent=PARENT, retry=None)
        }
        return {
            name: QueueModel(
                queue.state, queue.retry_config.max_attempts, tasks_by_key(client, name)
            )
            for name, queue in queues.items()
            if name.startswith(f"{self._name}-")
        }

    def _plan(self) -> Change:
        """Return a change that can be made to what is there."""
        after = {name: queue.copy() for name, queue in self.model.items()}
        name, queue = self._random.choice([*after.items()])
        plans = {
            self._create: 20,
            self._create_batch: 5,
            self._pause_or_resume: 3,
            self._update: 3,
            self._purge: 3,
            self._create_or_delete_queue: 3,
        }
        if queue.tasks:
            plans |= {self._delete: 15, self._delete_batch: 5}
        (plan,) = self._random.choices([*plans], [*plans.values()])
        return plan(after, name, queue)

    def _create(self, after: Model, name: str, queue: QueueModel) -> Change:
        request = self._new_task(name, named=self._random.random() < 0.5)
        queue.tasks[_key(request)] = None

        def call(client: CloudTasksClient) -> None:
            queue.tasks[_key(request)] = client.create_task(request, retry=None)

        return Change(call, after)

    def _create_batch(self, after: Model, name: str, queue: QueueModel) -> Change:
        requests = [self._new_task(name, named=n % 2 == 0) for n in range(6)]
        request = _batch(requests)
        keys = [_key(each) for each in requests]
        queue.tasks |= dict.fromkeys(keys)

        def call(client: CloudTasksClient) -> None:
            created = _create_batch(client, request)
            queue.tasks |= zip(keys, created, strict=True)

        return Change(call, after, is_idempotent=True)

    def _delete(self, after: Model, name: str, queue: QueueModel) -> Change:
        task = queue.tasks.pop(self._random.choice([*queue.tasks]))
        return Change(
            lambda client: client.delete_task(name=task.name, retry=None), after
        )

    def _delete_batch(self, after: Model, name: str, queue: QueueModel) -> Change:
        keys = self._random.sample([*queue.tasks], min(5, len(queue.tasks)))
        request = BatchDeleteTasksRequest(
            parent=queue_path(name),
            names=[queue.tasks.pop(key).name for key in keys],
            request_id=str(uuid.uuid4()),
        )

        def call(client: CloudTasksClient) -> None:
            operation = client.batch_delete_tasks(request, retry=None)
            assert not operation.metadata.failed_requests

        return Change(call, after, is_idempotent=True)

    def _pause_or_resume(self, after: Model, name: str, queue: QueueModel) -> Change:
        path = queue_path(name)
        if queue.state == Queue.State.PAUSED:
            queue.state = Queue.State.RUNNING
            return Change(
                lambda client: client.resume_queue(name=path, retry=None), after
            )
        queue.state = Queue.State.PAUSED
        return Change(lambda client: client.pause_queue(name=path, retry=None), after)

    def _update(self, after: Model, name: str, queue: QueueModel) -> Change:
        queue.max_attempts += 1
        retry_config = {"max_attempts": queue.max_attempts}
        request = {
            "queue": {"name": queue_path(name), "retry_config": retry_config},
            "update_mask": {"paths": ["retry_config.max_attempts"]},
        }
        return Change(lambda client: client.update_queue(request, retry=None), after)

    def _purge(self, after: Model, name: str, queue: QueueModel) -> Change:
        after[self._purged].tasks.clear()
        path = queue_path(self._purged)
        return Change(lambda client: client.purge_queue(name=path, retry=None), after)

    def _create_or_delete_queue(
        self, after: Model, name: str, queue: QueueModel
    ) -> Change:
        others = after.keys() - {self._kept, self._purged}
        if not others:
            new = f"{self._name}-{next(self._numbers)}"
            after[new] = QueueModel()
            return Change(lambda client: _create_queue(client, new), after)
        other = others.pop()
        del after[other]
        path = queue_path(other)
        return Change(lambda client: client.delete_queue(name=path, retry=None), after)

    def _new_task(self, queue: str, *, named: bool = False) -> CreateTaskRequest:
        key = f"{self._name}-{next(self._numbers)}"
        in_an_hour = datetime.now(UTC) + timedelta(hours=1)
        return new_task(
            queue,
            f"{self._url}/now/{key}",
            key if named else "",
            schedule_time=in_an_hour,
        )


def _create_queue(client: CloudTasksClient, name: str) -> None:
    queue = {"name": queue_path(name)}
    client.create_queue(parent=PARENT, queue=queue, retry=None)


def _create_batch(
    client: CloudTasksClient, request: BatchCreateTasksRequest
) -> list[Task]:
    return list(client.batch_create_tasks(request, retry=None).result().tasks)


def _batch(requests: Sequence[CreateTaskRequest]) -> BatchCreateTasksRequest:
    return BatchCreateTasksRequest(
        parent=requests[0].parent, requests=requests, request_id=str(uuid.uuid4())
    )


def _batched(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), _MAX_BATCH):
        yield items[start : start + _MAX_BATCH]


def _key(request: CreateTaskRequest) -> str:
    return str(request.task.http_request.url.rpartition("/")[2])


def _differences(found: Model, expected: Model) -> list[str]:
    different = [f"queue {name}" for name in found.keys() ^ expected.keys()]
    for name in found.keys() & expected.keys():
        queue, model = found[name], expected[name]
        if (queue.state, queue.max_attempts) != (model.state, model.max_attempts):
            different.append(f"configuration of {name}")
        keys = queue.tasks.keys() ^ model.tasks.keys()
        keys |= {
            key
            for key in queue.tasks.keys() & model.tasks.keys()
            if model.tasks[key] not in (None, queue.tasks[key])
        }
        different += [f"task {key} of {name}" for key in sorted(keys)]
    return different
