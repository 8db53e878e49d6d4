"""Rows that are dumped and loaded again are as they were."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from cloudtask.results.models import TaskError, TaskRecord
from tests.results.samples import GIFTS, dispatch, fail_twice, give, values

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]

#: Ten of each shape, and texts that look like something else.
TEXTS = ["5", "null", '{"a": 1}', "", " spaced ", "a\nb", "<b>&amp;", "\x1b[0m", "1e5"]
SHAPES: list[Any] = [5, -2.5, True, None, [], {}, [1, {"a": None}], *TEXTS]


@pytest.mark.parametrize("form", ["json", "jsonl", "xml"])
def test_rows_come_back_as_they_were(form: str, tmp_path: Path) -> None:
    ids = []
    for shape in SHAPES:
        GIFTS["shape"] = lambda shape=shape: shape
        enqueued = give("shape").delay()
        dispatch(enqueued.id)
        ids.append(enqueued.id)
    del GIFTS["shape"]
    failed = fail_twice().delay()
    dispatch(failed.id)
    ids.append(failed.id)
    columns = ("return_value", "is_value_dropped", "status", "body", "path", "attempt")
    before = [{name: values(each)[name] for name in columns} for each in ids]

    fixture = tmp_path / f"tasks.{form}"
    out = StringIO()
    call_command("dumpdata", "cloudtask_results", format=form, stdout=out)
    fixture.write_text(out.getvalue())
    TaskRecord.objects.all().delete()
    call_command("loaddata", str(fixture), verbosity=0)

    after = [{name: values(each)[name] for name in columns} for each in ids]
    assert after == before
    assert [each["return_value"] for each in after] == [*SHAPES, None]
    assert [type(each["return_value"]) for each in after[:-1]] == list(
        map(type, SHAPES)
    )
    assert TaskError.objects.get().task_id == failed.id
