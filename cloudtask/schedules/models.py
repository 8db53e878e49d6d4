"""The tables: a row for each schedule, and one for each of its slots."""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from django.db import models, router, transaction
from django.db.models import Q

from cloudtask.conf import clock
from cloudtask.planning.declarations import MAX_NAME_LENGTH
from cloudtask.planning.plans import Overlap, Plan, make_plan
from cloudtask.results.columns.fields import AnyCharField, JSONBodyField
from cloudtask.results.columns.moments import MomentField
from cloudtask.results.models import PrimaryManager
from cloudtask.wire.payload import MAX_PATH_LENGTH, new_id

if TYPE_CHECKING:
    from datetime import datetime


class ScheduledTask(models.Model):
    """A task that runs again and again."""

    uid = AnyCharField(max_length=32, unique=True, default=new_id, editable=False)
    name = AnyCharField(max_length=MAX_NAME_LENGTH, unique=True)
    path = AnyCharField(max_length=MAX_PATH_LENGTH, help_text="The task's path.")
    kind = AnyCharField(max_length=16, help_text="Which layer has the task.")
    backend = AnyCharField(max_length=100, blank=True, help_text="Alias in TASKS.")
    queue_name = AnyCharField(
        max_length=500, blank=True, help_text="Queue of a Django task."
    )
    priority = models.SmallIntegerField(
        default=0, help_text="Priority of a Django task."
    )
    arguments = JSONBodyField(
        default='{"args": [], "kwargs": {}}',
        help_text="Arguments of each run, as payloads have them.",
    )

    cron = AnyCharField(max_length=500, help_text="Five fields of unix cron.")
    time_zone = AnyCharField(max_length=100, default="UTC")
    catch_up = models.PositiveSmallIntegerField(
        default=1, help_text="How many late slots are run after an outage."
    )
    overlap = AnyCharField(
        max_length=8,
        choices=[(each.value, each.value) for each in Overlap],
        default=Overlap.RUN.value,
        help_text="What becomes of a slot while a run is not over.",
    )
    spread_seconds = models.PositiveIntegerField(
        default=0, help_text="Seconds over which runs are spread."
    )
    starts_at = MomentField(null=True, blank=True, help_text="No slot is before.")
    ends_at = MomentField(null=True, blank=True, help_text="No slot is after.")

    is_declared = models.BooleanField(
        default=False, editable=False, help_text="Whether the code declares it."
    )
    paused_at = MomentField(null=True, blank=True, editable=False)
    generation = models.PositiveIntegerField(
        default=0, editable=False, help_text="Counts its changes: older ticks are void."
    )
    decided_until = MomentField(
        default=clock.now,
        editable=False,
        help_text="Until when it is decided what becomes of each slot.",
    )
    next_at = MomentField(
        null=True, blank=True, editable=False, help_text="Its next slot."
    )
    created_at = MomentField(default=clock.now, editable=False)

    objects = PrimaryManager()

    class Meta:
        verbose_name = "scheduled task"
        ordering: ClassVar = ["name"]
        permissions: ClassVar = [
            ("run_scheduledtask", "Can run scheduled task now"),
            ("pause_scheduledtask", "Can pause and resume scheduled task"),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["next_at"],
                name="cloudtask_schedule_due",
                condition=Q(next_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return str(self.name)

    def save(self, **options: Any) -> None:
        """
        Keep a change, with its slots from now on. Ticks of before are void.

        Raises:
            InvalidSchedule: A column holds what no plan is made of.
        """
        if options.get("update_fields") is not None:
            options["update_fields"] = {*options["update_fields"], *DERIVED}
        # What follows a change is committed with it.
        with transaction.atomic(
            options.get("using") or router.db_for_write(type(self))
        ):
            super().save(**options)

    def derive(self, now: datetime, generation: int) -> None:
        """
        Compute the columns that follow from the others.

        Args:
            now: From when on its slots count.
            generation: That of this change.

        Raises:
            InvalidSchedule: A column holds what no plan is made of.
        """
        vars(self).pop("plan", None)
        self.generation, self.decided_until = generation, now
        self.next_at = self.find_next(now)

    @property
    def is_paused(self) -> bool:
        """Whether its slots are passed over."""
        return self.paused_at is not None

    @cached_property
    def plan(self) -> Plan:
        """
        When it runs.

        Raises:
            InvalidSchedule: A column holds what no plan is made of.
        """
        return make_plan(**self.plan_options)

    @property
    def plan_options(self) -> dict[str, Any]:
        """The columns that its plan is made of, for `make_plan()`."""
        return {
            "cron": self.cron,
            "timezone": self.time_zone,
            "catch_up": self.catch_up,
            "overlap": self.overlap,
            "spread": timedelta(seconds=self.spread_seconds),
            "starts": self.starts_at,
            "ends": self.ends_at,
        }

    def find_next(self, after: datetime) -> datetime | None:
        """Find its first slot after a moment; None while it is paused."""
        return None if self.is_paused else self.plan.find_next(after)


#: Columns that `derive()` computes.
DERIVED = ("generation", "decided_until", "next_at")


class Slot(models.Model):
    """What became of a slot: of one moment at which a schedule was due."""

    class State(models.TextChoices):
        """What was decided."""

        ENQUEUED = "enqueued", "enqueued"
        WAITING = "waiting", "waits for the run before it"
        SKIPPED = "skipped", "skipped: the run before it was not over"
        MISSED = "missed", "missed"
        MANUAL = "manual", "run by hand"

    schedule = models.ForeignKey(ScheduledTask, models.CASCADE, related_name="slots")
    instant = MomentField(help_text="When it was due.")
    state = AnyCharField(max_length=8, choices=State.choices)
    task_id = AnyCharField(max_length=32, blank=True, help_text="The id of its run.")
    first = MomentField(
        null=True, blank=True, help_text="The first slot that this row stands for."
    )
    count = models.PositiveIntegerField(
        default=1, help_text="How many slots this row stands for."
    )
    decided_at = MomentField()

    objects = PrimaryManager()

    class Meta:
        ordering: ClassVar = ["-instant"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["schedule", "instant"], name="cloudtask_slot_once"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["task_id"], name="cloudtask_slot_task"),
        ]

    def __str__(self) -> str:
        return f"{self.schedule_id} {self.instant:%Y-%m-%d %H:%M:%S} {self.state}"
