"""The Django app: what is loaded, registered and brought at the start."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

from django.apps import AppConfig
from django.conf import settings as django_settings
from django.utils.module_loading import autodiscover_modules

from cloudtask.conf import get_settings
from cloudtask.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudtask.actions import Action


class CloudTaskConfig(AppConfig):
    name = "cloudtask"
    verbose_name = "Cloud Tasks"

    def ready(self) -> None:
        from cloudtask import checks  # noqa: F401 - registers them
        from cloudtask.enqueue import kind  # noqa: F401 - registers itself

        # A dispatch runs only what is loaded, so all of it has to be.
        autodiscover_modules("tasks")
        _import_modules()
        _load_framework()

    def cloudtask_actions(self) -> Sequence[Action]:
        """What this app brings to `manage.py cloudtask`."""
        from cloudtask.management.emulator import EmulatorAction

        return (EmulatorAction(),)


def _load_framework() -> None:
    # It registers its checks of TASKS, and nothing but a task may import it.
    if getattr(django_settings, "TASKS", None):
        with suppress(ImportError):  # A Django without tasks.
            import_module("cloudtask.framework")
            import_module("cloudtask.backends.kind")


def _import_modules() -> None:
    try:
        imports = get_settings().imports
    except ConfigurationError:
        return  # Told by the checks.
    for name in imports:
        import_module(name)
