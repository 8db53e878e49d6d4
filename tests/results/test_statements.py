"""Statements that are written once, on every database."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, models, transaction
from django.db.models import Q
from django.test import override_settings
from django.utils import timezone

from cloudtask.results.columns.moments import Now, shift
from cloudtask.results.database.compiling import Placeholder
from cloudtask.results.database.statements import Update, bind
from cloudtask.results.models import TaskRecord

pytestmark = [pytest.mark.django_db, pytest.mark.django_db_backend]


@pytest.fixture
def row() -> TaskRecord:
    return TaskRecord.objects.create(
        id="a" * 32,
        path="shop.tasks.add",
        kind="cloudtask",
        queue="default",
        enqueued_at=timezone.now(),
    )


class Taking:
    """Takes a row that is free, and counts how often it is written."""

    def __init__(self) -> None:
        self.written = 0
        self.update = Update(self._make)

    def _make(self) -> tuple[Any, dict[str, Any]]:
        self.written += 1
        is_free = Q(lease="") | Q(lease_expires_at__lt=Now())
        lasts = Placeholder("lasts", models.DurationField())
        return TaskRecord.objects.filter(is_free, pk=bind("id")), {
            "lease": bind("lease"),
            "lease_expires_at": shift(Now(), lasts),
            "attempt": bind("attempt"),
            "return_value": bind("return_value"),
        }

    def run(self, row: TaskRecord, lease: str, **values: Any) -> int:
        rest = {"lasts": timedelta(seconds=30), "attempt": 1, "return_value": None}
        return self.update.run(id=row.pk, lease=lease, **{**rest, **values})


def test_what_is_given_is_written_as_the_fields_write_it(row: TaskRecord) -> None:
    before = timezone.now()

    met = Taking().run(row, "mine", attempt=3, return_value={"total": [1.5, "é"]})

    row.refresh_from_db()
    assert met == 1
    assert (row.lease, row.attempt) == ("mine", 3)
    assert row.return_value == {"total": [1.5, "é"]}
    assert row.lease_expires_at is not None
    lasts = row.lease_expires_at - before
    assert timedelta(seconds=25) < lasts < timedelta(seconds=35)


def test_rows_that_do_not_meet_the_condition_are_left_alone(row: TaskRecord) -> None:
    taking = Taking()
    taking.run(row, "first")

    assert taking.run(row, "second") == 0
    row.refresh_from_db()
    assert row.lease == "first"


def test_it_is_written_once_with_time_zones_and_without(row: TaskRecord) -> None:
    taking = Taking()

    taking.run(row, "first", lasts=timedelta(seconds=-30))
    taking.run(row, "second", lasts=timedelta(seconds=-30))
    with override_settings(USE_TZ=False):
        taking.run(row, "third")
    assert taking.written == 1


def test_a_statement_that_fails_has_its_transaction_rolled_back(
    row: TaskRecord,
) -> None:
    broken = Update(
        lambda: (
            TaskRecord.objects.filter(pk=bind("id")),
            {"path": Placeholder("path", models.CharField())},
        )
    )

    with transaction.atomic():
        with pytest.raises(DatabaseError):
            broken.run(id=row.pk, path=None)
        assert transaction.get_connection().needs_rollback


def test_a_value_that_is_not_given_is_an_error(row: TaskRecord) -> None:
    with pytest.raises(KeyError, match="lasts"):
        Taking().update.run(id=row.pk, lease="mine")
