"""A view that enqueues, in both kinds, and the dispatch view."""

import asyncio
import os
import sys
from typing import Any

from django.http import HttpRequest, JsonResponse
from django.urls import include, path

from tests.integration.served import tasks

#: gRPC, and with it a client, in the process that forks.
HAD_GRPC = "grpc" in sys.modules


def enqueue(request: HttpRequest, task: str, word: str) -> JsonResponse:
    enqueued = getattr(tasks, task)(word).delay()
    return JsonResponse({**_here(), "name": enqueued.name})


async def aenqueue(request: HttpRequest, task: str, word: str) -> JsonResponse:
    enqueued = await getattr(tasks, task)(word).adelay()
    loop = id(asyncio.get_running_loop())
    return JsonResponse({**_here(), "name": enqueued.name, "loop": loop})


def _here() -> dict[str, Any]:
    return {"pid": os.getpid(), "had_grpc": HAD_GRPC}


urlpatterns = [
    path("_tasks/", include("cloudtask.urls")),
    path("enqueue/<task>/<word>/", enqueue),
    path("aenqueue/<task>/<word>/", aenqueue),
]
