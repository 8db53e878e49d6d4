"""The emulator asks for no credentials, and so stays on its machine."""

import http.client
from collections.abc import Iterator
from urllib.parse import urlsplit

import grpc
import pytest
from google.cloud import tasks_v2
from google.cloud.tasks_v2.services.cloud_tasks.transports import (
    CloudTasksGrpcTransport,
)

from cloudtask.emulator import Emulator


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(["default:max_attempts=1"]) as emulator:
        yield emulator


def status(emulator: Emulator, path: str, **headers: str) -> int:
    connection = http.client.HTTPConnection(urlsplit(emulator.http_url).netloc)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_the_emulator_listens_on_this_machine_only(emulator: Emulator) -> None:
    assert urlsplit(f"//{emulator.host}").hostname == "127.0.0.1"
    assert urlsplit(emulator.http_url).hostname == "127.0.0.1"


def test_no_web_page_gets_at_the_emulator(emulator: Emulator) -> None:
    assert status(emulator, "/certs") == 200
    assert status(emulator, "/certs", Host="evil.example") == 403  # DNS rebinding.
    assert status(emulator, "/certs", Origin="https://evil.example") == 403
    assert status(emulator, "/certs", Origin="http://localhost:8000") == 403


@pytest.mark.parametrize(
    ("url", "why"),
    [
        # Whom its machine trusts.
        ("http://169.254.169.254/computeMetadata/v1/", "gives credentials to its"),
        ("http://2852039166/computeMetadata/v1/", "not an address in its full form"),
        ("http://8.8.8.8/_tasks/", "not on this machine or network"),
        ("http://[2001:4860:4860::8888]/_tasks/", "not on this machine or network"),
    ],
)
def test_the_emulator_sends_nothing_to_the_world(
    emulator: Emulator, url: str, why: str
) -> None:
    before = len(emulator.attempts)
    with grpc.insecure_channel(emulator.host) as channel:
        transport = CloudTasksGrpcTransport(channel=channel)
        tasks_v2.CloudTasksClient(transport=transport).create_task(
            parent=emulator.queue_path("default"), task={"http_request": {"url": url}}
        )
    emulator.wait_for(lambda: emulator.idle)

    [attempt] = emulator.attempts[before:]
    assert (attempt.status, attempt.outcome) == (None, "gave up")
    assert why in (attempt.error or "")
