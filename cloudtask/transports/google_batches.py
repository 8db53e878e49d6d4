"""
Batch calls of Cloud Tasks: what goes into one, and what came of it.

Each of them starts an operation, which does for some what was asked and fails
for others.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import grpc
from google.cloud.tasks_v2.types import (
    BatchCreateTasksMetadata,
    BatchCreateTasksRequest,
    BatchCreateTasksResponse,
    BatchDeleteTasksMetadata,
    BatchDeleteTasksRequest,
)

from cloudtask.wire.headers import BATCH_HEADER
from cloudtask.wire.limits import MAX_STORED_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

#: Tasks that one call creates, and that one deletes, at the most.
MAX_CREATED, MAX_DELETED = 100, 1000
#: Bytes of the tasks that one call creates. Google tells no limit; that of
#: one task is a size that it takes for certain.
MAX_BYTES = MAX_STORED_BYTES
#: Bytes of BATCH_HEADER in a message.
_HEADER_BYTES = 32

CreateRequest = BatchCreateTasksRequest.pb()
DeleteRequest = BatchDeleteTasksRequest.pb()
_CreateMetadata = BatchCreateTasksMetadata.pb()
_CreateResponse = BatchCreateTasksResponse.pb()
_DeleteMetadata = BatchDeleteTasksMetadata.pb()

_CODES = {code.value[0]: code for code in grpc.StatusCode}

#: Why, for each index that failed: a code and what the service says.
Failures = dict[int, tuple[grpc.StatusCode, str]]


def creations(messages: Sequence[Any]) -> Iterator[list[int]]:
    """The indexes of the CreateTaskRequests that go into one call each."""
    for indexes in _by_queue([message.parent for message in messages]):
        chunk: list[int] = []
        taken = 0
        for index in indexes:
            size = messages[index].ByteSize() + _HEADER_BYTES
            if chunk and (len(chunk) == MAX_CREATED or taken + size > MAX_BYTES):
                yield chunk
                chunk, taken = [], 0
            chunk.append(index)
            taken += size
        yield chunk


def deletions(names: Sequence[str]) -> Iterator[list[str]]:
    """The names of tasks that go into one call each."""
    for indexes in _by_queue([queue_path_of(name) for name in names]):
        for start in range(0, len(indexes), MAX_DELETED):
            yield [names[index] for index in indexes[start : start + MAX_DELETED]]


def _by_queue(queue_paths: Iterable[str]) -> Iterable[list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for index, queue_path in enumerate(queue_paths):
        found[queue_path].append(index)
    return found.values()


def queue_path_of(name: str) -> str:
    return name.partition("/tasks/")[0]


def create_request(parent: str, messages: Sequence[Any], request_id: str) -> Any:
    """The BatchCreateTasksRequest of some CreateTaskRequests."""
    request = CreateRequest(parent=parent, request_id=request_id)
    for index, message in enumerate(messages):
        each = request.requests.add()
        each.CopyFrom(message)
        # Nothing promises the order of an answer.
        each.task.http_request.headers[BATCH_HEADER] = str(index)
    return request


def created(operation: Any, count: int) -> tuple[dict[int, str], Failures]:
    """
    What became of the tasks that an operation was to create.

    Returns:
        The names of those that it did, and why it did not for others. Of an
        index that is in neither nothing is known.
    """
    response = _CreateResponse()
    operation.response.Unpack(response)
    names = {}
    for task in response.tasks:
        index = task.http_request.headers.get(BATCH_HEADER, "")
        if index.isdecimal():
            names[int(index)] = task.name
    return names, _failures(operation, _CreateMetadata(), count)


def undeleted(operation: Any, count: int) -> Failures:
    """Why an operation did not delete some tasks."""
    return _failures(operation, _DeleteMetadata(), count)


def _failures(operation: Any, metadata: Any, count: int) -> Failures:
    operation.metadata.Unpack(metadata)
    failed: Failures = {}
    if operation.HasField("error"):
        # One for all, where nothing tells of each.
        failed = dict.fromkeys(range(count), _reason(operation.error))
    for index, status in metadata.failed_requests.items():
        failed[index] = _reason(status)
    return failed


def _reason(status: Any) -> tuple[grpc.StatusCode, str]:
    return _CODES.get(status.code, grpc.StatusCode.UNKNOWN), status.message
