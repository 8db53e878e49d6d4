"""Clients for Node.js, as npm installs them."""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import grpc
import pytest
from google.cloud import tasks_v2
from google.cloud.tasks_v2.services.cloud_tasks.transports import (
    CloudTasksGrpcTransport,
)

from tests.clients.conftest import Service
from tests.emulator.conftest import Target

pytestmark = pytest.mark.external

PACKAGE = Path(__file__).parent / "node"
#: What npm says where the registry is out of reach.
OFFLINE = re.compile(
    r"E(AI_AGAIN|CONNREFUSED|CONNRESET|NOTFOUND|TIMEDOUT|NETUNREACH|HOSTUNREACH)"
)


@pytest.fixture(scope="session")
def scripts(pytestconfig: pytest.Config) -> Path:
    """The scripts beside what they need, kept for the next runs."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    lock = (PACKAGE / "package-lock.json").read_bytes()
    cache = pytestconfig.cache.mkdir("node-clients")
    installed = cache / hashlib.sha256(lock).hexdigest()[:16]
    if not installed.exists():
        _install(npm, cache / f"new-{os.getpid()}", installed)
    for script in PACKAGE.glob("*.js"):
        shutil.copy(script, installed)
    return installed


def _install(npm: str, fresh: Path, installed: Path) -> None:
    shutil.copytree(PACKAGE, fresh)
    try:
        result = subprocess.run(
            [npm, "ci"], cwd=fresh, capture_output=True, text=True, check=False
        )
        if result.returncode and OFFLINE.search(result.stderr):
            pytest.skip(f"npm does not reach its registry: {result.stderr[-200:]}")
        assert result.returncode == 0, result.stderr
        # Whole or not at all, whoever else installs it at this moment.
        if not installed.exists():
            fresh.rename(installed)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def run(script: Path, *arguments: str, **environment: str) -> None:
    """Run a script, which ends with 0 if all was as it should be."""
    node = shutil.which("node")
    assert node is not None
    result = subprocess.run(
        [node, script, *arguments],
        env={**os.environ, "METADATA_SERVER_DETECTION": "none", **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_google_client(
    scripts: Path, service: Service, project: str, target: Target, transport: str
) -> None:
    address = service.grpc_address if transport == "grpc" else service.http_address
    run(scripts / "cloud_tasks.js", transport, address, project, target.url)
    assert target.reached.wait(10)
    [received] = target.received
    assert received.method == "PUT"
    assert received.body == b"hello"
    assert received.header("X-Kind") == "invoice"
    assert received.header("X-CloudTasks-TaskName") == "a"


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_google_client_of_jobs(
    scripts: Path, service: Service, project: str, target: Target, transport: str
) -> None:
    address = service.grpc_address if transport == "grpc" else service.http_address
    run(scripts / "cloud_scheduler.js", transport, address, project, target.url)
    target.wait_for(1)
    [received] = target.received
    assert (received.method, received.body) == ("PUT", b"hello")
    assert received.header("X-Kind") == "tick"
    assert received.header("X-CloudScheduler-JobName") == "nightly"


def test_google_client_of_http_queues(
    scripts: Path, service: Service, project: str, target: Target
) -> None:
    run(scripts / "http_queue.js", service.grpc_address, project, target.url)
    assert target.reached.wait(10)
    [received] = target.received
    assert received.method == "PUT"
    assert received.body == b"hello"
    assert received.header("X-Kind") == "invoice"
    assert received.header("X-CloudTasks-TaskName") == "a"


def test_firebase(
    scripts: Path, service: Service, project: str, target: Target
) -> None:
    parent = f"projects/{project}/locations/us-central1"
    queue = f"{parent}/queues/resize"
    with grpc.insecure_channel(service.grpc_address) as channel:
        transport = CloudTasksGrpcTransport(channel=channel)
        client = tasks_v2.CloudTasksClient(transport=transport)
        client.create_queue(parent=parent, queue=tasks_v2.Queue(name=queue))
        run(
            scripts / "firebase.js",
            project,
            target.url,
            CLOUD_TASKS_EMULATOR_HOST=service.http_address,
        )
        assert target.reached.wait(10)
        waiting = client.get_task(name=f"{queue}/tasks/waiting")
    [received] = target.received
    assert received.body == b'{"data":{"image":3}}'
    assert received.header("Content-Type") == "application/json"
    assert (received.header("Authorization") or "").startswith("Bearer ")
    account = waiting.http_request.oidc_token.service_account_email
    assert account == "emulated-service-acct@email.com"
    assert waiting.dispatch_deadline.total_seconds() == 60
