"""The database's clock."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from cloudtask.results.columns.moments import Now, shift
from cloudtask.results.models import TaskRecord

pytestmark = [pytest.mark.django_db, pytest.mark.django_db_backend]


def test_mysql_is_asked_for_utc() -> None:
    sql, params = Now().as_mysql(None, connection)
    assert (sql, list(params)) == ("UTC_TIMESTAMP(6)", [])


def test_it_is_about_the_time_of_this_machine() -> None:
    TaskRecord.objects.create(id="a", enqueued_at=timezone.now())
    TaskRecord.objects.update(
        started_at=Now(), finished_at=shift(Now(), timedelta(hours=1))
    )

    row = TaskRecord.objects.get()
    assert row.started_at is not None
    assert row.finished_at is not None
    assert abs(row.started_at - timezone.now()) < timedelta(minutes=1)
    assert timedelta(minutes=59) < row.finished_at - row.started_at
    assert row.finished_at - row.started_at < timedelta(minutes=61)
