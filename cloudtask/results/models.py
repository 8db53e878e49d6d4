"""The tables: a row for each task, and one for each attempt that failed."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from django.db import models, router
from django.db.models import Q, Value
from django.db.models.functions import Coalesce, NullIf, StrIndex, Substr

from cloudtask.results.columns.fields import (
    AnyCharField,
    AnyTextField,
    JSONBodyField,
    JSONTextField,
)
from cloudtask.results.columns.moments import MomentField
from cloudtask.wire.limits import MAX_URL_LENGTH

_TASKS = "/tasks/"


_M = TypeVar("_M", bound=models.Model)


class PrimaryManager(models.Manager[_M]):
    """
    Reads where it writes.

    A replica of the database may lag behind, and what is read about a task
    decides what happens to it.
    """

    def get_queryset(self) -> models.QuerySet[_M]:
        """All rows, in the database that is written to."""
        rows = super().get_queryset()
        return rows.using(self._db or router.db_for_write(TaskRecord))


class TaskRecord(models.Model):
    """What is known of a task, whichever layer enqueued it."""

    class Status(models.TextChoices):
        """Django's four words."""

        READY = "READY", "ready"
        RUNNING = "RUNNING", "running"
        SUCCESSFUL = "SUCCESSFUL", "successful"
        FAILED = "FAILED", "failed"

    id = AnyCharField(primary_key=True, max_length=32)
    path = AnyCharField(max_length=500, help_text="Dotted path of the task.")
    kind = AnyCharField(max_length=16, help_text="Which layer enqueued it.")
    backend = AnyCharField(max_length=100, blank=True, help_text="Alias in TASKS.")
    queue = AnyCharField(max_length=100, help_text="Name of the queue.")
    name = AnyCharField(
        max_length=1024, blank=True, help_text="Full name at Cloud Tasks."
    )
    # Its last part, to search by: MySQL cannot index whole names.
    short_name = models.GeneratedField(
        expression=Substr(
            "name",
            Coalesce(NullIf(StrIndex("name", Value(_TASKS)), 0) + len(_TASKS), 1),
        ),
        output_field=AnyCharField(max_length=500),
        db_persist=True,
    )
    status = AnyCharField(max_length=10, choices=Status.choices, default=Status.READY)

    body = JSONBodyField(blank=True, help_text="The payload, to send it again.")
    url = AnyCharField(
        max_length=MAX_URL_LENGTH,
        blank=True,
        help_text="The URL that it is dispatched to.",
    )
    task_id = AnyCharField(
        max_length=500, blank=True, help_text="The id that a named task was given."
    )
    schedule_time = MomentField(null=True, blank=True)

    enqueued_at = MomentField(help_text="When the code enqueued it.")
    sent_at = MomentField(
        null=True, blank=True, help_text="When Cloud Tasks accepted it."
    )
    send_at = MomentField(
        null=True, blank=True, help_text="When to send it; empty once it is sent."
    )
    look_at = MomentField(
        null=True,
        blank=True,
        help_text="When to check whether its queue still has it.",
    )
    started_at = MomentField(null=True, blank=True)
    last_attempted_at = MomentField(null=True, blank=True)
    finished_at = MomentField(null=True, blank=True)

    attempt = models.PositiveIntegerField(default=0, help_text="The latest one.")
    worker_id = AnyCharField(max_length=64, blank=True)
    trace_id = AnyCharField(
        max_length=32, blank=True, help_text="Trace of the latest attempt."
    )
    return_value = JSONTextField(null=True, blank=True)
    is_value_dropped = models.BooleanField(
        default=False, help_text="Whether its return value could not be stored."
    )

    progress_done = models.BigIntegerField(null=True, blank=True)
    progress_total = models.BigIntegerField(null=True, blank=True)
    progress_message = AnyCharField(max_length=200, blank=True)
    cancelled_at = MomentField(null=True, blank=True)

    arming = models.PositiveIntegerField(
        default=0, help_text="How often it was re-armed. Alarms of before are void."
    )
    attempts_before = models.PositiveIntegerField(
        default=0, help_text="Attempts that count as made before that."
    )
    lease = AnyCharField(max_length=32, blank=True)
    lease_expires_at = MomentField(null=True, blank=True)
    interruptions = models.PositiveSmallIntegerField(
        default=0, help_text="How many workers died while they ran it."
    )

    objects = PrimaryManager()

    class Meta:
        verbose_name = "task"
        permissions: ClassVar = [
            ("cancel_taskrecord", "Can cancel task"),
            ("redrive_taskrecord", "Can redrive task"),
            ("retry_taskrecord", "Can retry task now"),
            ("rerun_taskrecord", "Can run task again"),
        ]
        indexes: ClassVar = [
            # For the admin's list, which reads them backwards. The columns
            # after the time are those that it is filtered by: so rows that do
            # not match need not be read.
            models.Index(fields=["enqueued_at"], name="cloudtask_enqueued"),
            models.Index(
                fields=["status", "enqueued_at"], name="cloudtask_status_enqueued"
            ),
            models.Index(
                fields=["queue", "enqueued_at", "status"],
                name="cloudtask_queue_enqueued",
            ),
            models.Index(
                fields=["path", "enqueued_at", "queue", "status"],
                name="cloudtask_path_enqueued",
            ),
            models.Index(fields=["short_name"], name="cloudtask_short_name"),
            models.Index(fields=["finished_at"], name="cloudtask_finished"),
            models.Index(
                fields=["send_at"],
                name="cloudtask_to_send",
                condition=Q(send_at__isnull=False),
            ),
            models.Index(
                fields=["look_at"],
                name="cloudtask_to_look_for",
                condition=Q(look_at__isnull=False),
            ),
            models.Index(
                fields=["lease_expires_at"],
                name="cloudtask_leases",
                condition=Q(lease_expires_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.path} {self.id}"


class TaskError(models.Model):
    """What an attempt raised."""

    task = models.ForeignKey(TaskRecord, models.CASCADE, related_name="errors")
    attempt = models.PositiveIntegerField()
    type = AnyCharField(max_length=255, help_text="Dotted path of the exception.")
    message = AnyTextField(blank=True)
    traceback = AnyTextField(blank=True)
    happened_at = MomentField()

    objects = PrimaryManager()

    class Meta:
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return f"{self.type} in attempt {self.attempt}"


#: Of a task that is over.
FINISHED = (TaskRecord.Status.SUCCESSFUL, TaskRecord.Status.FAILED)
