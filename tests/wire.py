"""What goes over the wire to Cloud Tasks, and what an emulator has of it."""

from __future__ import annotations

from typing import Any, cast

import grpc
import pytest
from google.cloud.tasks_v2 import CloudTasksClient
from google.cloud.tasks_v2.services.cloud_tasks.transports import (
    CloudTasksGrpcTransport,
)
from google.cloud.tasks_v2.types import Task as GoogleTask
from grpc import insecure_channel

from cloudtask.emulator import Emulator


class Calls(grpc.UnaryUnaryClientInterceptor):
    """Notes the calls of an enqueuing process: method and request."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    @property
    def methods(self) -> list[str]:
        return [method for method, _ in self.calls]

    def intercept_unary_unary(self, go_on: Any, details: Any, request: Any) -> Any:
        self.calls.append((details.method.rpartition("/")[2], request))
        return go_on(details, request)


def watch(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """The calls over the channels that are opened from now on."""
    calls = Calls()
    open_channel = grpc.insecure_channel

    def open_watched(*args: Any) -> grpc.Channel:
        channel = grpc.intercept_channel(open_channel(*args), calls)
        return cast(grpc.Channel, channel)

    monkeypatch.setattr(grpc, "insecure_channel", open_watched)
    return calls


def messages(emulator: Emulator, queue: str = "default") -> list[GoogleTask]:
    """The tasks in a queue, bodies and all."""
    with insecure_channel(emulator.host) as channel:
        client = CloudTasksClient(transport=CloudTasksGrpcTransport(channel=channel))
        parent = emulator.queue_path(queue)
        return list(client.list_tasks({"parent": parent, "response_view": "FULL"}))


def stored(emulator: Emulator, queue: str = "default") -> dict[str, bytes]:
    """The bodies of the tasks in a queue, by their names."""
    return {each.name: each.http_request.body for each in messages(emulator, queue)}
