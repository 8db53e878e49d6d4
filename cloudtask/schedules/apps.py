"""The Django app: registers its kind and its pass, and brings an action."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.apps import AppConfig, apps
from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudtask.actions import Action


class SchedulesConfig(AppConfig):
    """The app `cloudtask.schedules`."""

    name = "cloudtask.schedules"
    label = "cloudtask_schedules"
    verbose_name = "Cloud Tasks schedules"
    default_auto_field = "django.db.models.BigAutoField"

    def import_models(self) -> None:
        """
        Load the models, which need those of the results.

        Raises:
            ImproperlyConfigured: The app of results is not installed.
        """
        if not apps.is_installed("cloudtask.results"):
            raise ImproperlyConfigured(
                "'cloudtask.schedules' is in INSTALLED_APPS, and 'cloudtask.results' "
                "is not: a slot and its task are kept together. Add it."
            )
        super().import_models()

    def ready(self) -> None:
        """Register the kind of ticks, a pass of the sweeper, and checks."""
        from cloudtask.results.sweeping.passes import register
        from cloudtask.schedules import (
            checks,  # noqa: F401 - registers them
            following,
            kind,  # noqa: F401 - registers itself
        )
        from cloudtask.schedules.sweeping import find_late

        following.connect()
        register(find_late)

    def cloudtask_actions(self) -> Sequence[Action]:
        """What this app brings to `manage.py cloudtask`."""
        from cloudtask.schedules.commands import ACTIONS

        return ACTIONS
