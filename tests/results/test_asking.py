"""What code asks of tasks by their ids, and of the one that runs."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync

from cloudtask import CloudTaskRequest, task
from cloudtask import results as asking
from cloudtask.dispatch.execution import arun
from cloudtask.dispatch.kinds import make_attempt
from cloudtask.dispatch.outcomes import Status
from cloudtask.exceptions import ResultNotFound
from cloudtask.results import control
from cloudtask.results.heartbeat import Heart
from tests.backends import tasks as django_tasks
from tests.backends.tasks import with_options
from tests.fresh import run_fresh
from tests.results.samples import add, dispatch, meta, payload_of, row, statements
from tests.tasks import ran

pytestmark = [pytest.mark.django_db_backend, pytest.mark.django_db(transaction=True)]


# By id


@pytest.mark.parametrize("get", [asking.get_result, async_to_sync(asking.aget_result)])
def test_a_task_of_either_layer_is_found_by_its_id(get: Any) -> None:
    ours, djangos = add(1, 2).delay(), django_tasks.add.enqueue(3, 4)
    dispatch(ours.id)

    assert get(ours.id) == ours.result()
    assert (get(ours.id).return_value, get(djangos.id).status) == (3, "READY")
    assert get(djangos.id).payload.args == (3, 4)


@pytest.mark.parametrize("get", [asking.get_result, async_to_sync(asking.aget_result)])
def test_a_task_that_nobody_knows_is_an_error(get: Any) -> None:
    with pytest.raises(ResultNotFound) as caught:
        get("0" * 32)

    assert str(caught.value) == (
        f"Nothing is known of the task {'0' * 32}: it was pruned, it was rolled back, "
        "or cloudtask.results does not keep it."
    )
    assert isinstance(caught.value, LookupError)


@pytest.mark.parametrize("cancel", [asking.cancel, async_to_sync(asking.acancel)])
def test_a_task_is_cancelled_by_its_id(cancel: Any) -> None:
    enqueued = add().delay()

    assert cancel(enqueued.id) is True
    assert cancel(enqueued.id) is False
    assert row(enqueued.id).status == "FAILED"


# The one that runs


def look(context: Any) -> list[bool]:
    seen = [asking.is_cancelled(context), asking.is_cancelled(context, refresh=True)]
    control.cancel(context.task_result.id)
    late = asking.is_cancelled(context)
    now = asking.is_cancelled(context, refresh=True)
    return [*seen, late, now, asking.is_cancelled(context)]


async def alook(context: Any) -> list[bool]:
    seen = [
        await asking.ais_cancelled(context),
        await asking.ais_cancelled(context, refresh=True),
    ]
    await asking.acancel(context.task_result.id)
    late = await asking.ais_cancelled(context)
    now = await asking.ais_cancelled(context, refresh=True)
    return [*seen, late, now, await asking.ais_cancelled(context)]


@task
def look_too(request: CloudTaskRequest) -> list[bool]:
    before = asking.is_cancelled(request)
    control.cancel(request.id)
    return [before, asking.is_cancelled(request, refresh=True)]


@pytest.mark.parametrize("func", [look, alook])
def test_a_django_task_asks_its_context(
    func: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    defined = with_options(takes_context=True)(func)
    monkeypatch.setitem(globals(), func.__name__, defined)
    result = defined.enqueue()
    attempt = make_attempt(payload_of(result.id), meta())

    outcome = async_to_sync(arun)(attempt)
    assert outcome.status is Status.DONE
    assert outcome.value == [False, False, False, True, True]


def test_a_task_asks_its_request() -> None:
    assert dispatch(look_too().delay().id).value == [False, True]


def test_the_heart_tells_a_task_without_a_query(
    heart: Heart, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    def func(request: CloudTaskRequest, *args: Any) -> None:
        control.cancel(request.id)
        with statements() as queries:
            seen.append(asking.is_cancelled(request))
        heart.prolong()
        with statements() as more:
            seen.append(asking.is_cancelled(request))
        assert [len(queries), len(more)] == [0, 0]

    monkeypatch.setattr(add, "func", func)
    assert dispatch(add().delay().id).status is Status.DONE
    assert seen == [False, True]


def test_nothing_is_cancelled_under_other_backends() -> None:
    result = django_tasks.look.using(backend="immediate").enqueue()

    [context] = ran
    assert str(result.status) == "SUCCESSFUL"
    assert asking.is_cancelled(context) is False
    assert asking.is_cancelled(context, refresh=True) is False


def test_nothing_is_cancelled_where_a_task_is_run_in_place() -> None:
    assert add(1, 2).execute() == 3
    request = CloudTaskRequest(id="0" * 32)

    assert asking.is_cancelled(request) is False
    assert asking.is_cancelled(request, refresh=True) is False


BEFORE_THE_APPS = """
import json, sys
from cloudtask import results

modules = [name for name in sys.modules if name.startswith("cloudtask.results.")]
names = [name for name in results.__all__ if hasattr(results, name)]
print(json.dumps({"modules": modules, "names": names}))
"""


def test_the_names_are_there_before_the_apps_are() -> None:
    found = run_fresh(BEFORE_THE_APPS)

    assert found["modules"] == []
    assert found["names"] == asking.__all__ == sorted(asking.__all__)
