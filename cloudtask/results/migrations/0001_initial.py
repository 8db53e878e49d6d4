import django.db.models.deletion
import django.db.models.expressions
import django.db.models.functions.comparison
import django.db.models.functions.text
from django.db import migrations, models

import cloudtask.results.columns.fields
import cloudtask.results.columns.moments


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="TaskRecord",
            fields=[
                (
                    "id",
                    cloudtask.results.columns.fields.AnyCharField(
                        max_length=32, primary_key=True, serialize=False
                    ),
                ),
                (
                    "path",
                    cloudtask.results.columns.fields.AnyCharField(
                        help_text="Dotted path of the task.", max_length=500
                    ),
                ),
                (
                    "kind",
                    cloudtask.results.columns.fields.AnyCharField(
                        help_text="Which layer enqueued it.", max_length=16
                    ),
                ),
                (
                    "backend",
                    cloudtask.results.columns.fields.AnyCharField(
                        blank=True, help_text="Alias in TASKS.", max_length=100
                    ),
                ),
                (
                    "queue",
                    cloudtask.results.columns.fields.AnyCharField(
                        help_text="Name of the queue.", max_length=100
                    ),
                ),
                (
                    "name",
                    cloudtask.results.columns.fields.AnyCharField(
                        blank=True,
                        help_text="Full name at Cloud Tasks.",
                        max_length=1024,
                    ),
                ),
                (
                    "short_name",
                    models.GeneratedField(
                        db_persist=True,
                        expression=django.db.models.functions.text.Substr(
                            "name",
                            django.db.models.functions.comparison.Coalesce(
                                django.db.models.expressions.CombinedExpression(
                                    django.db.models.functions.comparison.NullIf(
                                        django.db.models.functions.text.StrIndex(
                                            "name", models.Value("/tasks/")
                                        ),
                                        0,
                                    ),
                                    "+",
                                    models.Value(7),
                                ),
                                1,
                            ),
                        ),
                        output_field=cloudtask.results.columns.fields.AnyCharField(
                            max_length=500
                        ),
                    ),
                ),
                (
                    "status",
                    cloudtask.results.columns.fields.AnyCharField(
                        choices=[
                            ("READY", "ready"),
                            ("RUNNING", "running"),
                            ("SUCCESSFUL", "successful"),
                            ("FAILED", "failed"),
                        ],
                        default="READY",
                        max_length=10,
                    ),
                ),
                (
                    "body",
                    cloudtask.results.columns.fields.JSONBodyField(
                        blank=True, help_text="The payload, to send it again."
                    ),
                ),
                (
                    "url",
                    cloudtask.results.columns.fields.AnyCharField(
                        blank=True,
                        help_text="The URL that it is dispatched to.",
                        max_length=2083,
                    ),
                ),
                (
                    "task_id",
                    cloudtask.results.columns.fields.AnyCharField(
                        blank=True,
                        help_text="The id that a named task was given.",
                        max_length=500,
                    ),
                ),
                (
                    "schedule_time",
                    cloudtask.results.columns.moments.MomentField(
                        blank=True, null=True
                    ),
                ),
                (
                    "enqueued_at",
                    cloudtask.results.columns.moments.MomentField(
                        help_text="When the code enqueued it."
                    ),
                ),
                (
                    "sent_at",
                    cloudtask.results.columns.moments.MomentField(
                        blank=True, help_text="When Cloud Tasks accepted it.", null=True
                    ),
                ),
                (
                    "send_at",
                    cloudtask.results.columns.moments.MomentField(
                        blank=True,
                        help_text="When to send it; empty once it is sent.",
                        null=True,
                    ),
                ),
                (
                    "look_at",
                    cloudtask.results.columns.moments.MomentField(
                        blank=True,
                        help_text="When to check whether its queue still has it.",
                        null=True,
                    ),
                ),
                (
                    "started_at",
                    cloudtask.results.columns.moments.MomentField(
                        blank=True, null=True
                    ),
                ),
                (
                    "last_attempted_at",
                    cloudtask.results.columns.moments.MomentField(
                        blank=True, null=True
                    ),
                ),
                (
                    "finished_at",
                    cloudtask.results.columns.moments.MomentField(
                        blank=True, null=True
                    ),
                ),
                (
                    "attempt",
                    models.PositiveIntegerField(default=0, help_text="The latest one."),
                ),
                (
                    "worker_id",
                    cloudtask.results.columns.fields.AnyCharField(
                        blank=True, max_length=64
                    ),
                ),
                (
                    "trace_id",
                    cloudtask.results.columns.fields.AnyCharField(
                        blank=True,
                        help_text="Trace of the latest attempt.",
                        max_length=32,
                    ),
                ),
                (
                    "return_value",
                    cloudtask.results.columns.fields.JSONTextField(
                        blank=True, null=True
                    ),
                ),
                (
                    "is_value_dropped",
                    models.BooleanField(
                        default=False,
                        help_text="Whether its return value could not be stored.",
                    ),
                ),
                ("progress_done", models.BigIntegerField(blank=True, null=True)),
                ("progress_total", models.BigIntegerField(blank=True, null=True)),
                (
                    "progress_message",
                    cloudtask.results.columns.fields.AnyCharField(
                        blank=True, max_length=200
                    ),
                ),
                (
                    "cancelled_at",
                    cloudtask.results.columns.moments.MomentField(
                        blank=True, null=True
                    ),
                ),
                (
                    "arming",
                    models.PositiveIntegerField(
                        default=0,
                        help_text=(
                            "How often it was re-armed. Alarms of before are void."
                        ),
                    ),
                ),
                (
                    "attempts_before",
                    models.PositiveIntegerField(
                        default=0,
                        help_text="Attempts that count as made before that.",
                    ),
                ),
                (
                    "lease",
                    cloudtask.results.columns.fields.AnyCharField(
                        blank=True, max_length=32
                    ),
                ),
                (
                    "lease_expires_at",
                    cloudtask.results.columns.moments.MomentField(
                        blank=True, null=True
                    ),
                ),
                (
                    "interruptions",
                    models.PositiveSmallIntegerField(
                        default=0, help_text="How many workers died while they ran it."
                    ),
                ),
            ],
            options={
                "verbose_name": "task",
                "permissions": [
                    ("cancel_taskrecord", "Can cancel task"),
                    ("redrive_taskrecord", "Can redrive task"),
                    ("retry_taskrecord", "Can retry task now"),
                    ("rerun_taskrecord", "Can run task again"),
                ],
                "indexes": [
                    models.Index(fields=["enqueued_at"], name="cloudtask_enqueued"),
                    models.Index(
                        fields=["status", "enqueued_at"],
                        name="cloudtask_status_enqueued",
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
                        condition=models.Q(("send_at__isnull", False)),
                        fields=["send_at"],
                        name="cloudtask_to_send",
                    ),
                    models.Index(
                        condition=models.Q(("look_at__isnull", False)),
                        fields=["look_at"],
                        name="cloudtask_to_look_for",
                    ),
                    models.Index(
                        condition=models.Q(("lease_expires_at__isnull", False)),
                        fields=["lease_expires_at"],
                        name="cloudtask_leases",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="TaskError",
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
                ("attempt", models.PositiveIntegerField()),
                (
                    "type",
                    cloudtask.results.columns.fields.AnyCharField(
                        help_text="Dotted path of the exception.", max_length=255
                    ),
                ),
                ("message", cloudtask.results.columns.fields.AnyTextField(blank=True)),
                (
                    "traceback",
                    cloudtask.results.columns.fields.AnyTextField(blank=True),
                ),
                ("happened_at", cloudtask.results.columns.moments.MomentField()),
                (
                    "task",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="errors",
                        to="cloudtask_results.taskrecord",
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
            },
        ),
    ]
