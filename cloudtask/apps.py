"""The Django app: finds the tasks, and has checks and kinds registered."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module

from django.apps import AppConfig
from django.conf import settings as django_settings
from django.utils.module_loading import autodiscover_modules

from cloudtask.conf import get_settings
from cloudtask.exceptions import ConfigurationError


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
