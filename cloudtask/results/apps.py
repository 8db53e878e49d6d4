"""The Django app: has its store used, and brings actions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.apps import AppConfig

from cloudtask import stores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudtask.actions import Action
    from cloudtask.conf import Settings


class ResultsConfig(AppConfig):
    """The app `cloudtask.results`."""

    name = "cloudtask.results"
    label = "cloudtask_results"
    verbose_name = "Cloud Tasks results"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register checks, and the stores that RESULTS chooses from."""
        from cloudtask.results import checks  # noqa: F401 - registers them
        from cloudtask.results.settings import get_results_settings
        from cloudtask.results.store import DATABASE_STORE, ErrorStore

        kept = {"all": DATABASE_STORE, "errors": ErrorStore()}

        def choose(settings: Settings) -> stores.ResultStore:
            word = get_results_settings(settings).results
            return kept.get(word, stores.NO_STORE)

        stores.register(choose)

    def cloudtask_actions(self) -> Sequence[Action]:
        """What this app brings to `manage.py cloudtask`."""
        from cloudtask.results.commands import ACTIONS

        return ACTIONS
