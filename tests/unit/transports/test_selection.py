"""Which transport the settings choose."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import override_settings

from cloudtask import transports
from cloudtask.conf import Settings, get_backend_settings, get_settings
from cloudtask.exceptions import ConfigurationError
from cloudtask.transports import get_transport
from cloudtask.transports.base import Transport
from cloudtask.transports.google import GoogleTransport
from cloudtask.transports.immediate import ImmediateTransport
from cloudtask.transports.memory import MemoryTransport
from cloudtask.wire.outgoing import OutgoingTask
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
        ("os.getpid", "'os.getpid' is not a subclass of Transport."),
        (
            "datetime.datetime",
            "'datetime.datetime' is not a subclass of Transport.",
        ),
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


# Several backends


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that has no transport yet, and none of these afterwards."""
    with monkeypatch.context() as patch:
        patch.setattr(transports, "_open", {})
        yield


#: CLOUDTASK, on which the settings of all backends are built.
BASE = Settings(transport=f"{__name__}.Own")


def own(backend: str | None = None, **values: Any) -> Own:
    """The transport of these settings, which are read anew."""
    is_changed = backend is not None or values
    base = BASE if backend is not None else None
    changed = replace(BASE, backend=backend, base=base, **values)
    transport = get_transport(changed if is_changed else BASE)
    assert isinstance(transport, Own)
    return transport


#: All that a transport is made of, and two values of each.
MADE_OF: dict[str, tuple[Any, Any]] = {
    "credentials": ({"type": "service_account"}, {"type": "authorized_user"}),
    "emulator_host": ("127.0.0.1:8123", "127.0.0.1:9000"),
    "rpc_timeout": (timedelta(seconds=3), timedelta(seconds=4)),
}
#: What says where a task goes, for which a transport is asked each time.
GOES: dict[str, Any] = {
    "project": "mails",
    "location": "us-central1",
    "url": "https://mails.example/_tasks/",
    "sae": "mails@shop.iam.gserviceaccount.com",
    "secret": "a secret of the mails, 32 bytes.",
    "audience": ("https://mails.example/",),
    "queue_aliases": {"default": "mails"},
    "on_commit": False,
}


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("key", [None, *GOES])
def test_backends_that_connect_alike_share_one(key: str | None) -> None:
    first = own()

    assert own("mails", **({key: GOES[key]} if key else GOES)) is first
    assert own("others") is first
    assert first.closed == 0


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("key", MADE_OF)
def test_backends_that_connect_otherwise_have_their_own(key: str) -> None:
    one, other = MADE_OF[key]
    shared = own()

    mails, others = own("mails", **{key: one}), own("others", **{key: other})

    assert len({shared, mails, others}) == 3
    # Of equal values, wherever they are from.
    assert own("third", **{key: MADE_OF[key][0]}) is mails
    assert [each.closed for each in (shared, mails, others)] == [0, 0, 0]


@pytest.mark.usefixtures("alone")
def test_backends_of_other_classes_have_their_own() -> None:
    first = own()

    second = get_transport(
        replace(BASE, backend="mails", base=BASE, transport=f"{__name__}.Quiet")
    )

    assert isinstance(second, Quiet)
    assert first.closed == 0


@pytest.mark.usefixtures("alone")
def test_each_backend_keeps_its_own_beside_the_others() -> None:
    settings = [BASE] + [
        replace(
            BASE, backend=backend, base=BASE, rpc_timeout=timedelta(seconds=seconds)
        )
        for seconds, backend in enumerate(["mails", "others"], 1)
    ]
    first = [get_transport(each) for each in settings]

    assert [get_transport(each) for each in reversed(settings)] == first[::-1]
    assert len(set(first)) == 3


@pytest.mark.usefixtures("alone")
def test_the_former_one_is_closed_when_nobody_uses_it() -> None:
    third = {"rpc_timeout": timedelta(seconds=3)}
    shared = own()
    assert own("mails") is shared
    assert own("others") is shared

    changed = own("mails", **third)
    assert (shared.closed, changed.closed) == (0, 0)
    assert own("others", **third) is changed
    # CLOUDTASK uses it still.
    assert shared.closed == 0

    assert own("others", rpc_timeout=timedelta(seconds=4)) is not changed
    assert changed.closed == 0
    assert own("mails") is shared
    assert (shared.closed, changed.closed) == (0, 1)


@pytest.mark.usefixtures("alone")
def test_a_backend_that_comes_to_share_closes_its_own() -> None:
    shared = own()
    former = own("mails", rpc_timeout=timedelta(seconds=3))

    assert own("mails") is shared
    assert (shared.closed, former.closed) == (0, 1)


@pytest.mark.usefixtures("alone")
def test_a_backend_that_shares_in_another_way_closes_nothing() -> None:
    shared = own()
    assert own("mails") is shared
    assert own("mails", project="mails") is shared

    assert shared.closed == 0


@pytest.mark.usefixtures("alone")
def test_a_change_of_cloudtask_closes_all_that_is_built_on_it() -> None:
    timeouts = [timedelta(seconds=seconds) for seconds in (1, 2)]
    shared = own()
    mails, others = (
        own(backend, rpc_timeout=timeout)
        for backend, timeout in zip(["mails", "others"], timeouts, strict=True)
    )

    changed = own(emulator_host="127.0.0.1:8123")

    assert [each.closed for each in (shared, mails, others)] == [1, 1, 1]
    assert changed.closed == 0
    assert set(transports._open) == {None}


@pytest.mark.usefixtures("alone")
def test_the_first_look_at_cloudtask_closes_nothing() -> None:
    mails = own("mails", rpc_timeout=timedelta(seconds=3))

    assert own() is not mails
    assert mails.closed == 0


@pytest.mark.usefixtures("alone")
def test_wrong_options_leave_everything_open() -> None:
    settings = Settings(backend="mails", transport=f"{__name__}.Own")
    former = get_transport(settings)

    with pytest.raises(ConfigurationError) as caught:
        get_transport(Settings(backend="mails", transport="os.getpid"))

    assert str(caught.value) == (
        "TASKS['mails']['OPTIONS']['TRANSPORT']: 'os.getpid' is not a subclass of "
        "Transport."
    )
    assert get_transport(settings) is former


@pytest.mark.usefixtures("alone")
def test_an_override_of_cloudtask_reaches_every_backend() -> None:
    options = {"RPC_TIMEOUT": timedelta(seconds=3)}
    raw = {**django_settings.CLOUDTASK, "TRANSPORT": f"{__name__}.Own"}

    def both() -> tuple[Transport, Transport]:
        return (
            get_transport(get_settings()),
            get_transport(get_backend_settings("mails", options)),
        )

    with override_settings(CLOUDTASK=raw):
        before = both()
        assert both() == before
        with override_settings(CLOUDTASK={**raw, "EMULATOR_HOST": "127.0.0.1:1"}):
            inside = both()
            assert [type(each) for each in inside] == [Own, Own]
            assert len({*before, *inside}) == 4
    assert [getattr(each, "closed", 0) for each in before] == [1, 1]
