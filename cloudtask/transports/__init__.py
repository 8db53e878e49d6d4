"""
Where enqueued tasks go: to Google, to memory, or straight to execution.

Here is what sends a task, and which transport the settings ask for. Each
transport has a module or a package of its own and knows none of the others.
When a task is sent, and what is kept of it, is in `enqueue` and `results`.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cloudtask.conf import load_class

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudtask.conf import Settings
    from cloudtask.transports.base import Transport

_lock = threading.Lock()
#: What each backend's settings use, and that of CLOUDTASK under None.
_open: dict[str | None, tuple[Settings, Transport]] = {}
#: Where all tasks go in place of what their settings say.
_stand_in: Transport | None = None


@contextmanager
def stand_in(transport: Transport) -> Iterator[None]:
    """Have all tasks go to a transport, whatever their settings say."""
    global _stand_in
    former, _stand_in = _stand_in, transport
    try:
        yield
    finally:
        _stand_in = former


def get_transport(settings: Settings) -> Transport:
    """The transport of these settings: one for all that connect alike."""
    if _stand_in is not None:
        return _stand_in
    current = _open.get(settings.backend)
    # By identity: conf gives one object as long as nothing changes.
    if current is not None and current[0] is settings:
        return current[1]
    return _open_for(settings)


def _open_for(settings: Settings) -> Transport:
    with _lock:
        current = _open.get(settings.backend)
        if current is not None and current[0] is settings:
            return current[1]
        stale = _find_stale(settings)
        transport = _find_shared(settings, stale) or _make(settings)
        former = [_open.pop(backend)[1] for backend in stale]
        _open[settings.backend] = (settings, transport)
        in_use = [each for _, each in _open.values()]
        for each in former:
            if each not in in_use:
                each.close()
        return transport


def _find_stale(settings: Settings) -> list[str | None]:
    """What these settings stand in for, and all of another CLOUDTASK."""
    return [
        backend
        for backend, (other, _) in _open.items()
        if backend == settings.backend or _base_of(other) is not _base_of(settings)
    ]


def _base_of(settings: Settings) -> Settings:
    return settings.base or settings


def _find_shared(settings: Settings, stale: list[str | None]) -> Transport | None:
    """What is open already, where it would be the same."""
    for backend, (other, transport) in _open.items():
        if backend not in stale and _connection_of(other) == _connection_of(settings):
            return transport
    return None


def _connection_of(settings: Settings) -> tuple[object, ...]:
    """All that a transport is made of."""
    return (
        settings.transport,
        settings.credentials,
        settings.emulator_host,
        settings.rpc_timeout,
    )


def _make(settings: Settings) -> Transport:
    from cloudtask.transports.base import Transport

    # Abstract only as a bound: what the setting names is not.
    return load_class(settings, "TRANSPORT", Transport)(settings)  # type: ignore[type-abstract]
