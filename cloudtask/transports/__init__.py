"""Where enqueued tasks go: to Google, to memory, or straight to execution."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from cloudtask.exceptions import ConfigurationError

if TYPE_CHECKING:
    from cloudtask.conf import Settings
    from cloudtask.transports.base import Transport

_lock = threading.Lock()
_current: tuple[Settings, Transport] | None = None


def get_transport(settings: Settings) -> Transport:
    """The transport of these settings: one for each process and settings."""
    current = _current
    # By identity: get_settings() gives one object as long as nothing changes.
    if current is not None and current[0] is settings:
        return current[1]
    return _replace(settings)


def _replace(settings: Settings) -> Transport:
    global _current
    with _lock:
        if _current is None or _current[0] is not settings:
            transport = _transport_class(settings.transport)(settings)
            if _current is not None:
                _current[1].close()
            _current = (settings, transport)
        return _current[1]


def _transport_class(path: str) -> type[Transport]:
    from django.utils.module_loading import import_string

    from cloudtask.transports.base import Transport

    try:
        value = import_string(path)
    except ImportError as error:
        raise ConfigurationError("TRANSPORT", f"{error}.") from error
    if not (isinstance(value, type) and issubclass(value, Transport)):
        raise ConfigurationError("TRANSPORT", f"{path!r} is no Transport class.")
    return value
