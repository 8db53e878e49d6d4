"""The gcloud command line. Each call takes a second, so the tests are few."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.clients.conftest import LOCATION, Service, until
from tests.emulator.conftest import Target

pytestmark = pytest.mark.external

ACCOUNT = "tasks@project.iam.gserviceaccount.com"

Gcloud = Callable[..., Any]


class Failed(Exception):
    """gcloud ended with an error, which is the message."""


@pytest.fixture
def gcloud(service: Service, project: str, tmp_path: Path) -> Gcloud:
    """Return a function that runs `gcloud tasks ...` and gives its JSON."""
    return make_gcloud("tasks", service, project, tmp_path)


def make_gcloud(group: str, service: Service, project: str, tmp_path: Path) -> Gcloud:
    """Return a function that runs commands of a group and gives their JSON."""
    program = shutil.which("gcloud")
    if program is None:
        pytest.skip("gcloud is not installed")
    environment = {
        **os.environ,
        "CLOUDSDK_CONFIG": str(tmp_path),
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDTASKS": f"{service.http_url}/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDSCHEDULER": f"{service.http_url}/",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_PROJECT": project,
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "true",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
    }

    def run(*arguments: str, location: str = f"--location={LOCATION}") -> Any:
        result = subprocess.run(
            [program, group, *arguments, location, "--format=json"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if result.returncode:
            raise Failed(result.stderr)
        return json.loads(result.stdout) if result.stdout.strip() else None

    return run


def test_queue(gcloud: Gcloud, location: str) -> None:
    path = f"{location}/queues/emails"
    gcloud(
        "queues",
        "create",
        "emails",
        "--max-dispatches-per-second=5",
        "--max-attempts=7",
    )
    queue = gcloud("queues", "describe", "emails")
    assert queue["name"] == path
    assert queue["state"] == "RUNNING"
    assert queue["rateLimits"] == {
        "maxBurstSize": 10,
        "maxConcurrentDispatches": 1000,
        "maxDispatchesPerSecond": 5.0,
    }
    assert queue["retryConfig"]["maxAttempts"] == 7
    with pytest.raises(Failed, match="Queue already exists"):
        gcloud("queues", "create", "emails")

    updated = gcloud(
        "queues",
        "update",
        "emails",
        "--max-concurrent-dispatches=3",
        "--max-backoff=60s",
        "--clear-max-attempts",
    )
    assert updated["rateLimits"]["maxConcurrentDispatches"] == 3
    assert updated["rateLimits"]["maxDispatchesPerSecond"] == 5.0
    assert updated["retryConfig"]["maxBackoff"] == "60s"
    assert updated["retryConfig"]["maxAttempts"] == 100

    gcloud("queues", "pause", "emails")
    [listed] = gcloud("queues", "list", "--filter=state:PAUSED")
    assert listed["name"] == path
    gcloud("queues", "resume", "emails")
    assert gcloud("queues", "describe", "emails")["state"] == "RUNNING"

    gcloud("queues", "delete", "emails")
    with pytest.raises(Failed, match="Queue does not exist"):
        gcloud("queues", "describe", "emails")


def test_tasks(gcloud: Gcloud, location: str, target: Target) -> None:
    tomorrow = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    gcloud("queues", "create", "emails")
    created = gcloud(
        "create-http-task",
        "invoice",
        "--queue=emails",
        f"--url={target.url}",
        "--method=PUT",
        "--header=X-Kind: invoice",
        "--body-content=hello",
        f"--schedule-time={tomorrow}",
        f"--oidc-service-account-email={ACCOUNT}",
    )
    assert created["name"] == f"{location}/queues/emails/tasks/invoice"
    gcloud("create-http-task", "--queue=emails", f"--url={target.url}/at-once")
    assert target.reached.wait(10)
    assert target.received[0].path == "/run/at-once"
    until(lambda: len(gcloud("list", "--queue=emails")) == 1)

    task = gcloud("describe", "invoice", "--queue=emails", "--response-view=full")
    assert task["httpRequest"]["httpMethod"] == "PUT"
    assert task["httpRequest"]["body"] == "aGVsbG8="
    assert task["scheduleTime"] == tomorrow
    target.reached.clear()
    gcloud("run", "invoice", "--queue=emails")
    assert target.reached.wait(10)
    assert target.received[1].method == "PUT"
    assert target.received[1].body == b"hello"
    assert target.received[1].header("X-Kind") == "invoice"
    with pytest.raises(Failed, match="a task with this name existed recently"):
        gcloud("describe", "invoice", "--queue=emails")


def test_tasks_are_deleted_and_purged(gcloud: Gcloud) -> None:
    gcloud("queues", "create", "emails")
    gcloud("queues", "pause", "emails")
    for task in ("a", "b"):
        gcloud("create-http-task", task, "--queue=emails", "--url=http://127.0.0.1:9/")
    gcloud("delete", "a", "--queue=emails")
    [left] = gcloud("list", "--queue=emails")
    assert left["name"].endswith("/tasks/b")
    gcloud("queues", "purge", "emails")
    assert gcloud("list", "--queue=emails") == []


def test_buffered_task(gcloud: Gcloud, target: Target) -> None:
    url = urlsplit(target.url)
    gcloud(
        "queues",
        "create",
        "emails",
        f"--http-uri-override=scheme:http,host:{url.hostname},port:{url.port},path:/x",
        "--http-method-override=PUT",
    )
    gcloud("buffer", "--queue=emails", "--task-id=first")
    assert target.reached.wait(10)
    [received] = target.received
    assert received.method == "PUT"
    assert received.path == "/x"
    assert received.header("X-CloudTasks-TaskName") == "first"

    gcloud("buffer", "--queue=emails")
    until(lambda: len(target.received) == 2)


def test_the_target_of_a_queue_is_cleared_part_by_part(gcloud: Gcloud) -> None:
    uri = "scheme:http,host:localhost,port:8000,path:/x,query:a=1"
    gcloud(
        "queues",
        "create",
        "emails",
        f"--http-uri-override={uri},mode:ALWAYS",
        "--http-method-override=PUT",
        "--http-header-override=X-Kind:invoice",
        f"--http-oidc-service-account-email-override={ACCOUNT}",
        "--http-oidc-token-audience-override=https://shop.example/",
    )
    account = f"--http-oidc-service-account-email-override={ACCOUNT}"
    updated = gcloud(
        *("queues", "update", "emails", account),
        "--clear-http-oidc-token-audience-override",
    )
    assert updated["httpTarget"]["oidcToken"] == {"serviceAccountEmail": ACCOUNT}
    for part, left in (
        (
            "oidc-service-account-email",
            {"uriOverride", "httpMethod", "headerOverrides"},
        ),
        ("header", {"uriOverride", "httpMethod"}),
        ("method", {"uriOverride"}),
        ("uri", set()),
    ):
        updated = gcloud("queues", "update", "emails", f"--clear-http-{part}-override")
        assert updated.get("httpTarget", {}).keys() == left


def test_policy_and_location(gcloud: Gcloud, location: str) -> None:
    gcloud("queues", "create", "emails")
    binding = ["--member=user:a@shop.example", "--role=roles/cloudtasks.enqueuer"]
    gcloud("queues", "add-iam-policy-binding", "emails", *binding)
    policy = gcloud("queues", "get-iam-policy", "emails")
    assert policy["bindings"] == [
        {"members": ["user:a@shop.example"], "role": "roles/cloudtasks.enqueuer"}
    ]
    listed = gcloud("locations", "list", location="--verbosity=warning")
    assert location in [each["name"] for each in listed]
