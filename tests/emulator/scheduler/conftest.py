"""Fixtures of the tests of Cloud Scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest
from google.cloud.scheduler_v1 import CloudSchedulerClient
from google.cloud.scheduler_v1.services.cloud_scheduler.transports import (
    CloudSchedulerGrpcTransport,
)

from cloudtask.emulator import Emulator
from cloudtask.emulator.scheduler.engine.engine import Engine

from .samples import open_engine


@pytest.fixture
def make_engine() -> Iterator[Callable[..., Engine]]:
    """Return a function that makes engines without jobs."""
    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(
            open_engine(*args, **options)
        )


@pytest.fixture
def engine(make_engine: Callable[..., Engine]) -> Engine:
    return make_engine()


@pytest.fixture
def jobs(emulator: Emulator) -> Iterator[CloudSchedulerClient]:
    """Google's client for the emulator."""
    with grpc.insecure_channel(emulator.host) as channel:
        transport = CloudSchedulerGrpcTransport(channel=channel)
        yield CloudSchedulerClient(transport=transport)


@pytest.fixture
def create(emulator: Emulator, jobs: CloudSchedulerClient) -> Callable[..., Any]:
    """Return a function that creates a job of an HTTP target."""

    def create(job_id: str, uri: str, **fields: Any) -> Any:
        http = {"uri": uri, **fields.pop("http", {})}
        job = {
            "name": emulator.job_path(job_id),
            "schedule": "* * * * *",
            "http_target": http,
            **fields,
        }
        return jobs.create_job(parent=emulator.parent, job=job)

    return create
