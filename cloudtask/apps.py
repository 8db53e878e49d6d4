"""The Django app: finds the tasks and registers the checks."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class CloudTaskConfig(AppConfig):
    name = "cloudtask"
    verbose_name = "Cloud Tasks"

    def ready(self) -> None:
        from cloudtask import checks  # noqa: F401 - registers them

        # A dispatch runs only what is registered, so all of it has to be.
        autodiscover_modules("tasks")
