"""The settings that are in force, and what is made of them once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from django.conf import settings as django_settings

from cloudtask.conf.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

_Made = TypeVar("_Made")

_cached: tuple[object, Settings] | None = None
_overridden: dict[str, tuple[Settings, object, Settings]] = {}


def get_settings() -> Settings:
    """The checked CLOUDTASK setting. An empty one where it is not set."""
    global _cached
    raw = getattr(django_settings, "CLOUDTASK", None)
    # Compared by identity, so every override is seen and nothing is to reset.
    if _cached is None or _cached[0] is not raw:
        _cached = (raw, Settings.from_mapping({} if raw is None else raw))
    return _cached[1]


def get_backend_settings(backend: str, options: object) -> Settings:
    """
    The settings of a task backend: CLOUDTASK's, with its OPTIONS on top.

    Without options they are the same object, so that everything which is made
    of settings, the client above all, is made once.

    Args:
        backend: Its alias in TASKS.
        options: Its OPTIONS.
    """
    base = get_settings()
    if not options:
        return base
    cached = _overridden.get(backend)
    if cached is None or cached[0] is not base or cached[1] is not options:
        cached = (base, options, base.override(backend, options))
        _overridden[backend] = cached
    return cached[2]


class OncePerSettings(Generic[_Made]):
    """
    Something that is made of settings, and kept as long as they are in force.

    Args:
        make: Makes it.
    """

    def __init__(self, make: Callable[[Settings], _Made]) -> None:
        self._make = make
        self._made: dict[str | None, tuple[Settings, _Made]] = {}

    def __call__(self, settings: Settings) -> _Made:
        # By identity: settings are one object as long as nothing changes.
        made = self._made.get(settings.backend)
        if made is None or made[0] is not settings:
            made = self._made[settings.backend] = (settings, self._make(settings))
        return made[1]
