"""The site that the benchmark of results asks, and its settings."""

from __future__ import annotations

import os
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import include, path

from benchmarks import database, peers
from benchmarks.results import KEPT, PLAIN
from benchmarks.serving import EMAIL, URL


def _ours(results: str) -> dict[str, Any]:
    return {
        "BACKEND": "cloudtask.backends.CloudTasksBackend",
        "OPTIONS": {"RESULTS": results},
    }


settings.configure(
    SECRET_KEY="benchmark",  # noqa: S106
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["cloudtask", "cloudtask.results", "benchmarks", *peers.apps()],
    DATABASES={"default": database.entry(os.environ["BENCHMARK_DATABASE"])},
    TASKS={
        "default": _ours("all"),
        KEPT: _ours("all"),
        PLAIN: _ours("none"),
        **peers.backends(),
    },
    CLOUDTASK={
        "PROJECT": "project",
        "LOCATION": "europe-west1",
        "QUEUE": "default",
        "URL": URL,
        "SAE": EMAIL,
        "IMPORTS": ["benchmarks.django_tasks"],
        "EMULATOR_HOST": "127.0.0.1:1",
        "EMULATOR_HTTP_HOST": os.environ["BENCHMARK_KEYS_HOST"],
    },
)
application = get_wsgi_application()
peers.trust(os.environ["BENCHMARK_KEYS_HOST"])
urlpatterns = [path("_tasks/", include("cloudtask.urls")), *peers.urls()]
