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
    BatchCreateTasksResponse,
    BatchDeleteTasksMetadata,
)

from cloudtask.transports.google.messages import BatchCreateTasks, BatchDeleteTasks
from cloudtask.wire.headers import BATCH_HEADER
from cloudtask.wire.limits import (
    MAX_BATCH_CREATED,
    MAX_BATCH_DELETED,
    MAX_STORED_BYTES,
)
from cloudtask.wire.naming import find_queue_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

#: Bytes of the tasks that one call creates. Google tells no limit; that of
#: one task is a size that it takes for certain.
MAX_BYTES = MAX_STORED_BYTES
#: Bytes of BATCH_HEADER in a message.
_HEADER_BYTES = 32

_CreateMetadata = BatchCreateTasksMetadata.pb()
_CreateResponse = BatchCreateTasksResponse.pb()
_DeleteMetadata = BatchDeleteTasksMetadata.pb()

_CODES = {code.value[0]: code for code in grpc.StatusCode}

#: Why, for each index that failed: a code and what the service says.
Failures = dict[int, tuple[grpc.StatusCode, str]]


def chunk_creations(messages: Sequence[Any]) -> Iterator[list[int]]:
    """Find the indexes of CreateTaskRequests that go into one call each."""
    for indexes in _group_by_queue([message.parent for message in messages]):
        chunk: list[int] = []
        room = MAX_BYTES
        for index in indexes:
            size = messages[index].ByteSize() + _HEADER_BYTES
            if chunk and (len(chunk) == MAX_BATCH_CREATED or size > room):
                yield chunk
                chunk, room = [], MAX_BYTES
            chunk.append(index)
            room -= size
        yield chunk


def chunk_deletions(names: Sequence[str]) -> Iterator[list[str]]:
    """Find the names of tasks that go into one call each."""
    for indexes in _group_by_queue([find_queue_path(name) for name in names]):
        for start in range(0, len(indexes), MAX_BATCH_DELETED):
            yield [names[index] for index in indexes[start : start + MAX_BATCH_DELETED]]


def _group_by_queue(queue_paths: Iterable[str]) -> Iterable[list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for index, queue_path in enumerate(queue_paths):
        found[queue_path].append(index)
    return found.values()


def make_creation(parent: str, messages: Sequence[Any], request_id: str) -> Any:
    """Make the BatchCreateTasksRequest of some CreateTaskRequests."""
    request = BatchCreateTasks(parent=parent, request_id=request_id)
    for index, message in enumerate(messages):
        each = request.requests.add()
        each.CopyFrom(message)
        # Nothing promises the order of an answer.
        each.task.http_request.headers[BATCH_HEADER] = str(index)
    return request


def make_deletion(parent: str, names: Sequence[str]) -> Any:
    """Make the BatchDeleteTasksRequest of some names."""
    return BatchDeleteTasks(parent=parent, names=names)


def read_creation(operation: Any, count: int) -> tuple[dict[int, str], Failures]:
    """
    Read what became of the tasks that an operation was to create.

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
    return names, _read_failures(operation, _CreateMetadata(), count)


def read_deletion(operation: Any, count: int) -> Failures:
    """Read why an operation did not delete some tasks."""
    return _read_failures(operation, _DeleteMetadata(), count)


def _read_failures(operation: Any, metadata: Any, count: int) -> Failures:
    operation.metadata.Unpack(metadata)
    failed: Failures = {}
    if operation.HasField("error"):
        # One for all, where nothing tells of each.
        failed = dict.fromkeys(range(count), _read_reason(operation.error))
    for index, status in metadata.failed_requests.items():
        failed[index] = _read_reason(status)
    return failed


def _read_reason(status: Any) -> tuple[grpc.StatusCode, str]:
    return _CODES.get(status.code, grpc.StatusCode.UNKNOWN), status.message
