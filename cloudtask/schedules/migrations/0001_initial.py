import django.db.models.deletion
from django.db import migrations, models

import cloudtask.conf.clock
import cloudtask.results.columns.fields
import cloudtask.results.columns.moments
import cloudtask.wire.payload


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="ScheduledTask",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "uid",
                    cloudtask.results.columns.fields.AnyCharField(
                        default=cloudtask.wire.payload.new_id,
                        editable=False,
                        max_length=32,
                        unique=True,
                    ),
                ),
                (
                    "name",
                    cloudtask.results.columns.fields.AnyCharField(
                        max_length=255, unique=True
                    ),
                ),
                (
                    "path",
                    cloudtask.results.columns.fields.AnyCharField(
                        help_text="The task's path.", max_length=500
                    ),
                ),
                (
                    "kind",
                    cloudtask.results.columns.fields.AnyCharField(
                        help_text="Which layer has the task.", max_length=16
                    ),
                ),
                (
                    "backend",
                    cloudtask.results.columns.fields.AnyCharField(
                        blank=True, help_text="Alias in TASKS.", max_length=100
                    ),
                ),
                (
                    "queue_name",
                    cloudtask.results.columns.fields.AnyCharField(
                        blank=True, help_text="Queue of a Django task.", max_length=500
                    ),
                ),
                (
                    "priority",
                    models.SmallIntegerField(
                        default=0, help_text="Priority of a Django task."
                    ),
                ),
                (
                    "arguments",
                    cloudtask.results.columns.fields.JSONBodyField(
                        default='{"args": [], "kwargs": {}}',
                        help_text="Arguments of each run, as payloads have them.",
                    ),
                ),
                (
                    "cron",
                    cloudtask.results.columns.fields.AnyCharField(
                        help_text="Five fields of unix cron.", max_length=500
                    ),
                ),
                (
                    "time_zone",
                    cloudtask.results.columns.fields.AnyCharField(
                        default="UTC", max_length=100
                    ),
                ),
                (
                    "catch_up",
                    models.PositiveSmallIntegerField(
                        default=1,
                        help_text="How many late slots are run after an outage.",
                    ),
                ),
                (
                    "overlap",
                    cloudtask.results.columns.fields.AnyCharField(
                        choices=[("run", "run"), ("skip", "skip"), ("wait", "wait")],
                        default="run",
                        help_text="What becomes of a slot while a run is not over.",
                        max_length=8,
                    ),
                ),
                (
                    "spread_seconds",
                    models.PositiveIntegerField(
                        default=0, help_text="Seconds over which runs are spread."
                    ),
                ),
                (
                    "starts_at",
                    cloudtask.results.columns.moments.MomentField(
                        blank=True, help_text="No slot is before.", null=True
                    ),
                ),
                (
                    "ends_at",
                    cloudtask.results.columns.moments.MomentField(
                        blank=True, help_text="No slot is after.", null=True
                    ),
                ),
                (
                    "is_declared",
                    models.BooleanField(
                        default=False,
                        editable=False,
                        help_text="Whether the code declares it.",
                    ),
                ),
                (
                    "paused_at",
                    cloudtask.results.columns.moments.MomentField(
                        blank=True, editable=False, null=True
                    ),
                ),
                (
                    "generation",
                    models.PositiveIntegerField(
                        default=0,
                        editable=False,
                        help_text="Counts its changes: older ticks are void.",
                    ),
                ),
                (
                    "decided_until",
                    cloudtask.results.columns.moments.MomentField(
                        default=cloudtask.conf.clock.now,
                        editable=False,
                        help_text="Until when it is decided what becomes of each slot.",
                    ),
                ),
                (
                    "next_at",
                    cloudtask.results.columns.moments.MomentField(
                        blank=True,
                        editable=False,
                        help_text="Its next slot.",
                        null=True,
                    ),
                ),
                (
                    "created_at",
                    cloudtask.results.columns.moments.MomentField(
                        default=cloudtask.conf.clock.now, editable=False
                    ),
                ),
            ],
            options={
                "verbose_name": "scheduled task",
                "ordering": ["name"],
                "permissions": [
                    ("run_scheduledtask", "Can run scheduled task now"),
                    ("pause_scheduledtask", "Can pause and resume scheduled task"),
                ],
                "indexes": [
                    models.Index(
                        condition=models.Q(("next_at__isnull", False)),
                        fields=["next_at"],
                        name="cloudtask_schedule_due",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Slot",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "instant",
                    cloudtask.results.columns.moments.MomentField(
                        help_text="When it was due."
                    ),
                ),
                (
                    "state",
                    cloudtask.results.columns.fields.AnyCharField(
                        choices=[
                            ("enqueued", "enqueued"),
                            ("waiting", "waits for the run before it"),
                            ("skipped", "skipped: the run before it was not over"),
                            ("missed", "missed"),
                            ("manual", "run by hand"),
                        ],
                        max_length=8,
                    ),
                ),
                (
                    "task_id",
                    cloudtask.results.columns.fields.AnyCharField(
                        blank=True, help_text="The id of its run.", max_length=32
                    ),
                ),
                (
                    "first",
                    cloudtask.results.columns.moments.MomentField(
                        blank=True,
                        help_text="The first slot that this row stands for.",
                        null=True,
                    ),
                ),
                (
                    "count",
                    models.PositiveIntegerField(
                        default=1, help_text="How many slots this row stands for."
                    ),
                ),
                ("decided_at", cloudtask.results.columns.moments.MomentField()),
                (
                    "schedule",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="slots",
                        to="cloudtask_schedules.scheduledtask",
                    ),
                ),
            ],
            options={
                "ordering": ["-instant"],
                "indexes": [
                    models.Index(fields=["task_id"], name="cloudtask_slot_task"),
                    models.Index(fields=["decided_at"], name="cloudtask_slot_decided"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("schedule", "instant"), name="cloudtask_slot_once"
                    )
                ],
            },
        ),
    ]
