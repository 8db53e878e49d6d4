from __future__ import annotations

import cloudtask
from cloudtask.enqueue import decorators


def test_the_decorator_is_where_dj_cloud_task_has_it() -> None:
    assert decorators.task is cloudtask.task
