"""Tasks that are looked for, and taken back, in the emulator."""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.conf import settings as django_settings
from django.test import override_settings

from cloudtask.conf import GOOGLE_TRANSPORT, get_settings
from cloudtask.exceptions import EnqueueError, ServiceUnavailable
from cloudtask.transports import get_transport
from cloudtask.transports.base import QueueTransport
from tests.live import FAST_QUEUE, Live, live
from tests.tasks import add, ran

HOUR = timedelta(hours=1)
QUEUES = "projects/project/locations/europe-west1/queues"


@pytest.fixture
def site() -> Iterator[Live]:
    with live(FAST_QUEUE) as site:
        yield site


def transport() -> QueueTransport:
    transport = get_transport(get_settings())
    assert isinstance(transport, QueueTransport)
    return transport


def test_a_task_is_in_its_queue_until_it_is_deleted(site: Live) -> None:
    first, second = (str(add(n, 0).schedule(after=HOUR).name) for n in (1, 2))
    assert transport().has(first)

    transport().delete(first)

    assert (transport().has(first), transport().has(second)) == (False, True)
    assert site.emulator.pending == 1


def test_a_task_that_ran_is_in_its_queue_no_more(site: Live) -> None:
    name = str(add(1, 2).delay().name)
    site.finish()

    assert not transport().has(name)
    assert ran == [("add", 1, 2)]


@pytest.mark.parametrize("queue", ["default", "unknown"])
def test_deleting_what_is_not_there_is_no_error(site: Live, queue: str) -> None:
    kept = str(add(1, 2).schedule(after=HOUR).name)
    name = f"{QUEUES}/{queue}/tasks/1234"

    transport().delete(name)
    transport().delete(name)

    assert not transport().has(name)
    assert transport().has(kept)


@pytest.mark.usefixtures("site")
def test_a_name_without_a_project_is_refused() -> None:
    for ask in (transport().has, transport().delete):
        with pytest.raises(EnqueueError, match="PERMISSION_DENIED") as caught:
            ask("queues/default/tasks/1234")
        assert caught.value.queue_path == "queues/default"
        assert caught.value.retryable is False


@pytest.fixture
def unreachable() -> Iterator[QueueTransport]:
    """Google's transport, with nobody who listens."""
    raw = {
        **django_settings.CLOUDTASK,
        "TRANSPORT": GOOGLE_TRANSPORT,
        "EMULATOR_HOST": "127.0.0.1:1",
    }
    with override_settings(CLOUDTASK=raw):
        yield transport()
    transport()  # Closes that one.


@pytest.mark.parametrize("ask", ["has", "delete"])
def test_a_server_that_is_not_there_is_unavailable(
    unreachable: QueueTransport, ask: str
) -> None:
    name = f"{QUEUES}/default/tasks/1234"

    with pytest.raises(
        ServiceUnavailable, match=f"^{re.escape(name)}: UNAVAILABLE: "
    ) as caught:
        getattr(unreachable, ask)(name)

    assert caught.value.retryable is True
    assert caught.value.queue_path == f"{QUEUES}/default"
