"""The Django app: finds the tasks and registers the checks."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules

from cloudtask.conf import get_settings
from cloudtask.exceptions import ConfigurationError


class CloudTaskConfig(AppConfig):
    name = "cloudtask"
    verbose_name = "Cloud Tasks"

    def ready(self) -> None:
        from cloudtask import checks  # noqa: F401 - registers them

        # A dispatch runs only what is loaded, so all of it has to be.
        autodiscover_modules("tasks")
        _import_modules()


def _import_modules() -> None:
    try:
        imports = get_settings().imports
    except ConfigurationError:
        return  # Told by the checks.
    for name in imports:
        import_module(name)
