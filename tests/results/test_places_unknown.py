"""What is enqueued while the metadata server does not answer is kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from time import monotonic
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction

from cloudtask.conf import environment, get_settings
from cloudtask.results.models import TaskRecord
from cloudtask.results.sweeping import Swept, sweep
from cloudtask.transports import get_transport
from cloudtask.transports.memory import MemoryTransport
from tests.backends import tasks as django_tasks
from tests.field.placing import PLACED
from tests.results.samples import add, ago, elsewhere, urgent
from tests.unit.metadata import Answer, MetadataServer

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]

ENQUEUE: dict[str, Callable[[], Any]] = {
    "SDK": lambda: add(1, 2).delay(),
    "SDK, async": lambda: async_to_sync(add(1, 2).adelay)(),
    "SDK, own URL": lambda: elsewhere().delay(),
    "SDK, priority": lambda: urgent().delay(),
    "Django": lambda: django_tasks.add.enqueue(1, 2),
    "Django, async": lambda: async_to_sync(django_tasks.add.aenqueue)(1, 2),
}


@pytest.fixture
def metadata(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MetadataServer]:
    """Cloud Run's, which does not answer yet."""
    monkeypatch.delenv("NO_GCE_CHECK")
    monkeypatch.setenv("K_SERVICE", "web")
    server = MetadataServer(
        {
            "project/project-id": "shop",
            "project/numeric-project-id": "123",
            "instance/region": "projects/123/regions/europe-west1",
            "instance/service-accounts/default/email": "tasks@shop.example",
        }
    )
    server.answer = lambda key: Answer("not yet", status=503)
    server.start()
    monkeypatch.setenv("GCE_METADATA_HOST", server.address)
    settings.CLOUDTASK = {
        "QUEUE": "default",
        "TRANSPORT": PLACED,
        "PRIORITY_QUEUES": {0: "default", 50: "urgent"},
    }
    yield server
    server.stop()


@pytest.fixture
def recover(
    metadata: MetadataServer, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], None]:
    def recover() -> None:
        metadata.answer = metadata._look_up
        monkeypatch.setattr(environment, "monotonic", lambda: monotonic() + 3)

    return recover


def due() -> None:
    TaskRecord.objects.update(send_at=ago())


def sent() -> list[Any]:
    transport = get_transport(get_settings())
    assert isinstance(transport, MemoryTransport)
    return [task.sent for task in transport.tasks]


@pytest.mark.parametrize(
    ("name", "within"),
    [
        *((name, False) for name in ENQUEUE),
        *((name, True) for name in ENQUEUE if "async" not in name),
    ],
)
def test_a_task_is_kept_and_sent_once_its_place_is_known(
    recover: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
    name: str,
    within: bool,
) -> None:
    with transaction.atomic() if within else nullcontext():
        enqueued = ENQUEUE[name]()

    assert enqueued.name is None
    kept = TaskRecord.objects.get()
    queue = "urgent" if "priority" in name else "default"
    url = "https://other.example/_tasks/" if "own" in name else ""
    assert (kept.pk, kept.status, kept.queue, kept.url) == (
        enqueued.id,
        "READY",
        queue,
        url,
    )
    assert "is kept, and sent later" in caplog.text
    assert "is of no help: it answers with status 503" in caplog.text

    # The sweeper waits for it, as for any outage.
    caplog.clear()
    due()
    assert sweep() == Swept(unsent=1)
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert sent() == []

    recover()
    due()
    assert sweep() == Swept(sent=1)
    [task] = sent()
    assert task.id == enqueued.id
    assert task.route.queue_path == (
        f"projects/shop/locations/europe-west1/queues/{queue}"
    )
    found = "https://web-123.europe-west1.run.app/_tasks/"
    assert task.route.url == (url or found)
    assert task.route.oidc.email == "tasks@shop.example"
    assert TaskRecord.objects.get().send_at is None


def test_what_was_kept_while_unknown_needs_a_url_in_the_end(
    recover: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    add(1, 2).delay()
    recover()
    monkeypatch.delenv("K_SERVICE")
    due()

    assert sweep() == Swept(unsent=1)
    assert "CLOUDTASK['URL']: is not set" in caplog.text


def test_nothing_is_kept_of_what_is_rolled_back(metadata: MetadataServer) -> None:
    with transaction.atomic():
        add(1, 2).delay()
        transaction.set_rollback(True)
    assert not TaskRecord.objects.exists()
