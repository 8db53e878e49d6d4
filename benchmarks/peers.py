"""Other packages' backends for Cloud Tasks, to be measured beside ours."""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from collections.abc import Iterator

_EMAIL = "tasks@project.iam.gserviceaccount.com"

_BACKENDS: dict[str, dict[str, Any]] = {
    "django_tasks_gcp": {
        "BACKEND": "django_tasks_gcp.backend.CloudTasksBackend",
        "OPTIONS": {
            "PROJECT_ID": "project",
            "LOCATION": "europe-west1",
            "DEFAULT_TARGET": "https://shop.example/_tasks/",
            "CREDENTIALS": "none",
        },
    },
    "django_tasks_cloud_tasks": {
        "BACKEND": "django_tasks_cloud_tasks.CloudTasksBackend",
        "OPTIONS": {
            "CLOUD_TASKS_PROJECT": "project",
            "CLOUD_TASKS_LOCATION": "europe-west1",
            "TASK_HANDLER_HOST": "https://shop.example",
            "OIDC_SERVICE_ACCOUNT_EMAIL": _EMAIL,
        },
    },
    "django_tasks_google": {
        "BACKEND": "django_tasks_google.backends.CloudTasksBackend",
        "OPTIONS": {
            "project_id": "project",
            "location": "europe-west1",
            "base_url": "https://shop.example/_tasks/",
            "oidc_service_account": _EMAIL,
        },
    },
}
#: Those that build a client for each call.
_PATIENT = frozenset({"django_tasks_cloud_tasks", "django_tasks_google"})
#: Those with tables of their own.
_APPS = frozenset({"django_tasks_google"})

#: Where django-tasks-google is dispatched to, for whom, and as what.
EXECUTE, AUDIENCE = "/peer/execute/", "https://shop.example"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def backends() -> dict[str, dict[str, Any]]:
    """The entries in TASKS of those that are installed, by package."""
    return {name: entry for name, entry in _BACKENDS.items() if find_spec(name)}


def apps() -> list[str]:
    """What they need in INSTALLED_APPS."""
    return sorted(_APPS & backends().keys())


def installed() -> Iterator[tuple[str, float]]:
    """Each package, and the share of its time that ours may take."""
    for name in backends():
        yield name, 0.5 if name in _PATIENT else 1.0


@contextmanager
def clients_at(address: str) -> Iterator[None]:
    """Have every client that they make connect to one address."""
    import grpc
    from google.cloud import tasks_v2
    from google.cloud.tasks_v2.services.cloud_tasks.transports import (
        CloudTasksGrpcTransport,
    )

    real = tasks_v2.CloudTasksClient

    def client(**kwargs: object) -> tasks_v2.CloudTasksClient:
        channel = grpc.insecure_channel(address)
        return real(transport=CloudTasksGrpcTransport(channel=channel))

    client.queue_path = real.queue_path  # type: ignore[attr-defined]
    with mock.patch.object(tasks_v2, "CloudTasksClient", client):
        yield


def urls() -> list[Any]:
    """The dispatch view of django-tasks-google."""
    from django.urls import include, path

    return [path("peer/", include(f"{name}.urls")) for name in apps()]


def trust(keys_host: str) -> None:
    """Have django-tasks-google take the keys there for Google's."""
    if apps():
        from google.oauth2 import id_token

        id_token._GOOGLE_OAUTH2_CERTS_URL = f"http://{keys_host}/"


def kept_tasks(number: int) -> dict[str, list[str]]:
    """Tasks that wait for their dispatch, as it is posted, by package."""
    made: dict[str, list[str]] = {}
    for name in apps():
        model = import_module(f"{name}.models").TaskExecution
        task = {"module_path": "benchmarks.django_tasks.noop", "kwargs": {"a": 1}}
        rows = [model(backend_alias=name, **task) for _ in range(number)]
        model.objects.bulk_create(rows)
        made[name] = [f"execution_id={row.pk}&backend={name}" for row in rows]
    return made
