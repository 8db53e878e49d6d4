"""The gcloud command line with jobs. Each call takes a second or so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.conftest import Service, until
from tests.clients.test_gcloud import Failed, Gcloud, make_gcloud
from tests.emulator.conftest import Target

pytestmark = pytest.mark.external

ACCOUNT = "jobs@project.iam.gserviceaccount.com"


@pytest.fixture
def gcloud(service: Service, project: str, tmp_path: Path) -> Gcloud:
    """Return a function that runs `gcloud scheduler ...`, giving its JSON."""
    return make_gcloud("scheduler", service, project, tmp_path)


def test_jobs(gcloud: Gcloud, location: str, target: Target) -> None:
    created = gcloud(
        *("jobs", "create", "http", "nightly", "--schedule=0 0 1 1 *"),
        *(f"--uri={target.url}", "--http-method=PUT", "--message-body=hello"),
        *("--headers=X-Kind=tick", "--time-zone=Asia/Tokyo"),
        f"--oidc-service-account-email={ACCOUNT}",
    )
    assert created["name"] == f"{location}/jobs/nightly"
    [listed] = gcloud("jobs", "list")
    assert listed["name"] == created["name"]
    assert gcloud("jobs", "describe", "nightly")["timeZone"] == "Asia/Tokyo"

    updated = gcloud(
        *("jobs", "update", "http", "nightly", "--schedule=0 9 1 1 *"),
        *("--max-retry-attempts=2", "--attempt-deadline=30s"),
    )
    assert updated["schedule"] == "0 9 1 1 *"
    assert updated["retryConfig"]["retryCount"] == 2
    assert updated["attemptDeadline"] == "30s"
    assert updated["httpTarget"]["httpMethod"] == "PUT"

    gcloud("jobs", "pause", "nightly")
    assert gcloud("jobs", "describe", "nightly")["state"] == "PAUSED"
    gcloud("jobs", "resume", "nightly")
    gcloud("jobs", "run", "nightly")
    target.wait_for(1)
    [received] = target.received
    assert (received.method, received.body) == ("PUT", b"hello")
    assert received.header("X-Kind") == "tick"
    until(lambda: gcloud("jobs", "describe", "nightly")["status"] == {})

    gcloud("jobs", "delete", "nightly")
    with pytest.raises(Failed, match="Job not found"):
        gcloud("jobs", "describe", "nightly")


def test_refusals(gcloud: Gcloud) -> None:
    with pytest.raises(Failed, match="The provided schedule or timezone are invalid"):
        gcloud(
            *("jobs", "create", "http", "nightly", "--schedule=huh"),
            "--uri=http://127.0.0.1:9/",
        )
