"""The Django app: has its store used."""

from __future__ import annotations

from django.apps import AppConfig

from cloudtask import stores


class ResultsConfig(AppConfig):
    name = "cloudtask.results"
    label = "cloudtask_results"
    verbose_name = "Cloud Tasks results"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from cloudtask.results import checks  # noqa: F401 - registers them
        from cloudtask.results.store import DatabaseStore, ErrorStore

        stores.register({"all": DatabaseStore(), "errors": ErrorStore()})
