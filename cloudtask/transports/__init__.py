"""Where enqueued tasks go: to Google, to memory, or straight to execution."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from cloudtask.conf import load_class

if TYPE_CHECKING:
    from cloudtask.conf import Settings
    from cloudtask.transports.base import Transport

_lock = threading.Lock()
#: What each backend's settings use, and that of CLOUDTASK under None.
_open: dict[str | None, tuple[Settings, Transport]] = {}


def get_transport(settings: Settings) -> Transport:
    """The transport of these settings: one for all that connect alike."""
    current = _open.get(settings.backend)
    # By identity: conf gives one object as long as nothing changes.
    if current is not None and current[0] is settings:
        return current[1]
    return _replace(settings)


def _replace(settings: Settings) -> Transport:
    with _lock:
        current = _open.get(settings.backend)
        if current is not None and current[0] is settings:
            return current[1]
        transport = _shared(settings) or _made(settings)
        former = _forget(settings.backend)
        _open[settings.backend] = (settings, transport)
        in_use = [each for _, each in _open.values()]
        for each in former:
            if each not in in_use:
                each.close()
        return transport


def _forget(backend: str | None) -> list[Transport]:
    # With CLOUDTASK everything changes that is built on it.
    changed = list(_open) if backend is None and backend in _open else [backend]
    return [_open.pop(each)[1] for each in changed if each in _open]


def _shared(settings: Settings) -> Transport | None:
    """What is open already, where it would be the same."""
    for other, transport in _open.values():
        if other.backend != settings.backend and _place(other) == _place(settings):
            return transport
    return None


def _place(settings: Settings) -> tuple[object, ...]:
    """All that a transport is made of."""
    return (
        settings.transport,
        settings.credentials,
        settings.emulator_host,
        settings.rpc_timeout,
    )


def _made(settings: Settings) -> Transport:
    from cloudtask.transports.base import Transport

    # Abstract only as a bound: what the setting names is not.
    return load_class(settings, "TRANSPORT", Transport)(settings)  # type: ignore[type-abstract]
