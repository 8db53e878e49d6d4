"""Which transport the settings choose."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.conf import settings as django_settings
from django.test import override_settings

from cloudtask import transports
from cloudtask.conf import Settings, get_settings
from cloudtask.exceptions import ConfigurationError
from cloudtask.transports import get_transport
from cloudtask.transports.base import OutgoingTask, Transport
from cloudtask.transports.google import GoogleTransport
from cloudtask.transports.immediate import ImmediateTransport
from cloudtask.transports.memory import MemoryTransport
from tests.unit.transports.doors import Door

PACKAGE = "cloudtask.transports"


class Own(Transport):
    """A transport of the project's own."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.closed = 0

    def send(self, task: OutgoingTask) -> str:
        return f"{task.queue_path}/tasks/1"

    def close(self) -> None:
        self.closed += 1


class Quiet(Transport):
    """One that has nothing to close."""

    def send(self, task: OutgoingTask) -> str:
        return f"{task.queue_path}/tasks/1"


def transport_of(path: str) -> Transport:
    return get_transport(Settings(transport=path))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"{PACKAGE}.google.GoogleTransport", GoogleTransport),
        (f"{PACKAGE}.memory.MemoryTransport", MemoryTransport),
        (f"{PACKAGE}.immediate.ImmediateTransport", ImmediateTransport),
        (f"{__name__}.Own", Own),
    ],
)
def test_the_setting_names_a_class(path: str, expected: type[Transport]) -> None:
    assert type(transport_of(path)) is expected


@pytest.mark.parametrize(
    ("path", "message"),
    [
        # No such module, or no such class.
        ("shop.queues.Queue", "No module named 'shop'."),
        (
            f"{PACKAGE}.google.Google",
            'Module "cloudtask.transports.google" does not define a "Google" '
            "attribute/class.",
        ),
        ("memory", "memory doesn't look like a module path."),
        # Something else.
        ("os.getpid", "'os.getpid' is no Transport class."),
        ("datetime.datetime", "'datetime.datetime' is no Transport class."),
    ],
)
def test_what_is_no_transport_is_a_wrong_setting(path: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        transport_of(path)
    assert str(caught.value) == f"CLOUDTASK['TRANSPORT']: {message}"


def test_google_is_the_default() -> None:
    with override_settings(CLOUDTASK=None):
        assert isinstance(get_transport(get_settings()), GoogleTransport)


def test_there_is_one_as_long_as_nothing_changes() -> None:
    first = get_transport(get_settings())
    with override_settings(LANGUAGE_CODE="de"):
        assert get_transport(get_settings()) is first
    with override_settings(CLOUDTASK=dict(django_settings.CLOUDTASK)):
        assert get_transport(get_settings()) is not first


def test_the_former_one_is_closed() -> None:
    former = transport_of(f"{__name__}.Own")
    assert isinstance(former, Own)
    later = transport_of(f"{__name__}.Quiet")
    last = transport_of(f"{__name__}.Quiet")

    assert former.closed == 1
    assert later is not last


def test_a_wrong_setting_leaves_the_former_one_open() -> None:
    settings = Settings(transport=f"{__name__}.Own")
    former = get_transport(settings)
    with pytest.raises(ConfigurationError):
        transport_of("os.getpid")

    assert isinstance(former, Own)
    assert former.closed == 0
    assert get_transport(settings) is former


class Slow(Own):
    """Takes until two threads have come to the door."""

    door: Door

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.door.wait_for(2)


def test_threads_that_come_first_at_once_share_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = Settings(transport=f"{__name__}.Slow")
    Slow.door = Door()
    monkeypatch.setattr(transports, "_lock", Slow.door)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(get_transport, [settings, settings])
    assert isinstance(first, Slow)
    assert first is second
