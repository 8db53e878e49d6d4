from collections.abc import Callable
from typing import Any

import pytest

from cloudtask.emulator.tasks.engine.engine import Engine
from cloudtask.emulator.values import instants
from cloudtask.emulator.values.errors import ApiError
from tests.emulator.samples import (
    DAY,
    HOUR,
    NOW,
    PARENT,
    QUEUE,
    at,
    name_of,
    open_engine,
    queue,
    take_one,
    task,
)

RUNNING, PAUSED = 1, 2
ELSEWHERE = "projects/demo/locations/elsewhere"
OTHER = f"{PARENT}/queues/other"
NEXT_WEEK = NOW + 7 * DAY


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(ApiError) as caught:
        call()
    return caught.value.message


def ids(messages: list[Any]) -> list[str]:
    return [message.name.rpartition("/")[2] for message in messages]


def test_a_new_queue_is_there_at_once_and_for_good(engine: Engine) -> None:
    created = engine.queues.create(PARENT, queue(OTHER), NOW)

    assert created.state == RUNNING
    assert created.rate_limits.max_dispatches_per_second == 500
    assert engine.queues.get(OTHER) == created
    assert [each.path for each in engine.store.queues] == [QUEUE, OTHER]


@pytest.mark.parametrize(
    ("parent", "path", "message"),
    [
        # A project, but no location. Unconfirmed wording.
        ("projects/p", OTHER, "Invalid resource field value in the request."),
        (PARENT, "other", "Queue name must be formatted: "),
        (PARENT, "", "Queue name must be formatted: "),
        (PARENT, f"{PARENT}/queues/a/b", "Queue name must be formatted: "),
        (PARENT, f"{PARENT}/queues/under_score", 'Queue ID "under_score" can contain'),
        (PARENT, f"{PARENT}/queues/{'q' * 101}", 'Queue ID "qqq'),
        (PARENT, f"{PARENT}/queues/", 'Queue ID "" can contain only letters'),
        # Under another parent. Unconfirmed.
        (PARENT, f"{ELSEWHERE}/queues/q", "Queue name must be formatted: "),
        (PARENT, QUEUE, "Queue already exists"),
    ],
)
def test_a_wrong_name_is_refused(
    engine: Engine, parent: str, path: str, message: str
) -> None:
    call = lambda: engine.queues.create(parent, queue(path), NOW)  # noqa: E731

    assert refused(call).startswith(message)
    assert ids(engine.queues.list(PARENT, NOW)[0]) == ["default"]


@pytest.mark.parametrize(
    "call",
    [
        lambda queues, path: queues.get(path),
        lambda queues, path: queues.pause(path, NOW),
        lambda queues, path: queues.resume(path, NOW),
        lambda queues, path: queues.purge(path, NOW),
    ],
    ids=["get", "pause", "resume", "purge"],
)
@pytest.mark.parametrize("deleted", [False, True])
def test_what_needs_a_queue_says_that_there_is_none(
    engine: Engine, call: Callable[[Any, str], object], deleted: bool
) -> None:
    if deleted:
        engine.queues.create(PARENT, queue(OTHER), NOW)
        engine.queues.delete(OTHER, NOW)

    assert refused(lambda: call(engine.queues, OTHER)).startswith("Queue does not exis")
    assert refused(lambda: call(engine.queues, "o")).startswith("Queue name must be f")


# Declared queues.


def test_a_declared_queue_is_made(engine: Engine) -> None:
    engine.queues.declare(OTHER, {"max_attempts": 3}, NOW)

    assert engine.queues.get(OTHER).retry_config.max_attempts == 3


def test_a_declared_queue_that_is_there_gets_its_options(engine: Engine) -> None:
    engine.queues.pause(QUEUE, NOW)

    engine.queues.declare(QUEUE, {"max_dispatches_per_second": 5}, NOW)

    declared = engine.queues.get(QUEUE)
    assert declared.rate_limits.max_dispatches_per_second == 5
    assert declared.state == PAUSED


def test_a_declaration_without_options_changes_nothing(engine: Engine) -> None:
    engine.queues.declare(OTHER, {"max_attempts": 3}, NOW)

    engine.queues.declare(OTHER, {}, NOW)

    assert engine.queues.get(OTHER).retry_config.max_attempts == 3


def test_a_deleted_queue_can_be_declared_again(engine: Engine) -> None:
    engine.queues.delete(QUEUE, NOW)

    engine.queues.declare(QUEUE, {}, NOW)

    assert engine.queues.get(QUEUE).state == RUNNING
    with pytest.raises(ApiError, match='Queue ID "a_b" can'):
        engine.queues.declare(f"{PARENT}/queues/a_b", {}, NOW)


# Lists.


def test_queues_are_listed_by_name_in_pages(engine: Engine) -> None:
    for name in ("c", "a", "b"):
        engine.queues.create(PARENT, queue(f"{PARENT}/queues/{name}"), NOW)
    engine.queues.create(ELSEWHERE, queue(f"{ELSEWHERE}/queues/x"), NOW)

    first, token = engine.queues.list(PARENT, NOW, size=3)
    second, end = engine.queues.list(PARENT, NOW, size=3, token=token)

    assert (ids(first), ids(second)) == (["a", "b", "c"], ["default"])
    assert end == ""
    assert engine.queues.list(PARENT, NOW, size=4)[1] == ""


def test_a_page_goes_on_where_the_last_one_ended_even_if_that_is_gone(
    engine: Engine,
) -> None:
    engine.queues.create(PARENT, queue(OTHER), NOW)
    _, token = engine.queues.list(PARENT, NOW, size=1)

    engine.queues.delete(QUEUE, NOW)

    assert ids(engine.queues.list(PARENT, NOW, token=token)[0]) == ["other"]


def test_an_expression_chooses_queues(engine: Engine) -> None:
    for name in ("a", "b"):
        engine.queues.create(PARENT, queue(f"{PARENT}/queues/{name}"), NOW)
        engine.queues.pause(f"{PARENT}/queues/{name}", NOW)

    page, token = engine.queues.list(PARENT, NOW, expression="state: PAUSED", size=1)
    assert ids(page) == ["a"]
    page, _ = engine.queues.list(PARENT, NOW, expression="state: PAUSED", token=token)
    assert ids(page) == ["b"]
    with pytest.raises(ApiError, match="page token is not valid"):
        engine.queues.list(PARENT, NOW, token=token)
    with pytest.raises(ApiError, match="page token has expired"):
        engine.queues.list(
            PARENT, NOW + 2 * HOUR + 1, expression="state: PAUSED", token=token
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"parent": "p"}, "Invalid resource field value in the request."),
        ({"size": -1}, "The page size cannot be negative."),
        ({"token": "x"}, "The page token is not valid for this parent and this "),
    ],
)
def test_a_wrong_page_is_refused(
    engine: Engine, arguments: dict[str, Any], message: str
) -> None:
    arguments = {"parent": PARENT, **arguments}
    parent = arguments.pop("parent")

    assert refused(lambda: engine.queues.list(parent, NOW, **arguments)).startswith(
        message
    )


# Changes.


def test_an_update_changes_what_its_mask_names(engine: Engine) -> None:
    wanted = queue(
        rate_limits={"max_dispatches_per_second": 9, "max_concurrent_dispatches": 3},
        retry_config={"max_attempts": 7},
    )

    paths = ["rate_limits.max_concurrent_dispatches", "retryConfig.maxAttempts"]
    updated = engine.queues.update(wanted, paths, NOW)

    assert updated.rate_limits.max_concurrent_dispatches == 3
    assert updated.rate_limits.max_dispatches_per_second == 500
    assert updated.retry_config.max_attempts == 7
    assert engine.queues.get(QUEUE) == updated
    [stored] = engine.store.queues
    assert stored.message == updated


def test_an_update_without_a_mask_resets_what_it_does_not_name(
    engine: Engine,
) -> None:
    engine.queues.update(queue(retry_config={"max_attempts": 7}), [], NOW)
    assert engine.queues.get(QUEUE).retry_config.max_attempts == 7

    engine.queues.update(queue(), [], NOW)

    assert engine.queues.get(QUEUE).retry_config.max_attempts == 100


def test_an_update_makes_a_queue_that_is_not_there(engine: Engine) -> None:
    wanted = queue(OTHER, retry_config={"max_attempts": 7})

    created = engine.queues.update(wanted, ["rate_limits"], NOW)

    assert created.state == RUNNING
    assert created.retry_config.max_attempts == 7
    assert engine.queues.get(OTHER) == created


def test_an_update_of_a_deleted_queue_is_refused(engine: Engine) -> None:
    engine.queues.delete(QUEUE, NOW)

    with pytest.raises(ApiError, match="existed too recently"):
        engine.queues.update(queue(), [], NOW + 1)


def test_a_refused_update_changes_nothing(engine: Engine) -> None:
    wanted = queue(retry_config={"max_attempts": -2})

    assert refused(lambda: engine.queues.update(wanted, [], NOW)) == (
        "RetryConfig.maxAttempts must be greater or equal to -1."
    )
    assert engine.queues.get(QUEUE).retry_config.max_attempts == 100


def test_a_paused_queue_keeps_its_tasks_until_it_is_resumed(engine: Engine) -> None:
    assert engine.queues.pause(QUEUE, NOW).state == PAUSED
    engine.tasks.create(QUEUE, task("t1"), NOW)

    assert engine.launcher.next_wake(NOW) is None
    assert engine.launcher.take_due(NOW) == []
    assert engine.queues.pause(QUEUE, NOW).state == PAUSED
    assert engine.queues.resume(QUEUE, NOW).state == RUNNING
    assert take_one(engine, NOW).task == name_of("t1")


def test_a_deleted_queue_takes_its_tasks_with_it(engine: Engine) -> None:
    engine.tasks.create(QUEUE, task("t1"), NOW)

    engine.queues.delete(QUEUE, NOW)

    assert engine.pending == 0
    assert engine.launcher.take_due(NOW) == []
    assert refused(lambda: engine.tasks.get(name_of("t1"), NOW)) == (
        "Requested entity was not found."
    )
    assert refused(lambda: engine.queues.delete(QUEUE, NOW)) == (
        "Requested entity was not found."
    )


def test_the_name_of_a_deleted_queue_is_blocked_for_a_week(engine: Engine) -> None:
    engine.tasks.create(QUEUE, task("t1"), NOW)
    engine.queues.delete(QUEUE, NOW)

    assert refused(
        lambda: engine.queues.create(PARENT, queue(), NEXT_WEEK - 1)
    ).endswith("because a queue with this name existed too recently.")
    engine.queues.create(PARENT, queue(), NEXT_WEEK)

    # It is another queue, in which nothing is blocked.
    engine.tasks.create(QUEUE, task("t1"), NEXT_WEEK)
    assert engine.pending == 1


def test_a_purge_removes_all_tasks_and_blocks_their_names(engine: Engine) -> None:
    engine.tasks.create(QUEUE, task("due"), NOW)
    engine.tasks.create(QUEUE, at(NOW + HOUR, "later"), NOW)
    dispatch = take_one(engine, NOW)

    purged = engine.queues.purge(QUEUE, NOW + 1)

    assert instants.read(purged.purge_time) == NOW + 1
    assert engine.queues.get(QUEUE) == purged
    assert engine.pending == 0
    assert engine.tasks.list(QUEUE, NOW + 1) == ([], "")
    for task_id in ("due", "later"):
        with pytest.raises(ApiError, match="already exists"):
            engine.tasks.create(QUEUE, task(task_id), NOW + DAY)
        with pytest.raises(ApiError, match="The task no longer exists"):
            engine.tasks.get(name_of(task_id), NOW + DAY)
        engine.tasks.create(QUEUE, task(task_id), NOW + 1 + DAY)
    assert dispatch.task == name_of("due")


def test_a_purge_spares_what_comes_later(engine: Engine) -> None:
    engine.tasks.create(QUEUE, task("before"), NOW)
    engine.queues.purge(QUEUE, NOW)

    engine.tasks.create(QUEUE, task("after"), NOW)

    assert take_one(engine, NOW).task == name_of("after")


def test_a_second_purge_lets_no_name_go_that_the_first_one_blocked(
    engine: Engine,
) -> None:
    engine.tasks.create(QUEUE, task("t1"), NOW)
    engine.queues.purge(QUEUE, NOW)
    engine.queues.purge(QUEUE, NOW + 1)

    with pytest.raises(ApiError, match="already exists"):
        engine.tasks.create(QUEUE, task("t1"), NOW + 2)


# Queues that tasks make.


def test_a_task_makes_its_queue_if_that_is_wanted(
    make_engine: Callable[..., Engine],
) -> None:
    engine = make_engine(create_queues=True)

    engine.tasks.create(OTHER, task(name=f"{OTHER}/tasks/t1"), NOW)
    engine.tasks.create(OTHER, task(name=f"{OTHER}/tasks/t2"), NOW)

    assert engine.queues.get(OTHER).state == RUNNING
    assert ids(engine.tasks.list(OTHER, NOW)[0]) == ["t1", "t2"]


def test_no_task_makes_a_queue_that_was_deleted(
    make_engine: Callable[..., Engine],
) -> None:
    engine = make_engine(create_queues=True)
    engine.queues.delete(QUEUE, NOW)

    with pytest.raises(ApiError, match="existed too recently"):
        engine.tasks.create(QUEUE, task(), NOW + 1)


def test_no_task_makes_a_queue_unless_that_is_wanted(engine: Engine) -> None:
    with pytest.raises(ApiError, match="Queue does not exist"):
        engine.tasks.create(OTHER, task(), NOW)


def test_a_refused_name_makes_no_queue() -> None:
    engine = open_engine(create_queues=True)
    with pytest.raises(ApiError, match='Queue ID "a_b" can'):
        engine.tasks.create(f"{PARENT}/queues/a_b", task(), NOW)

    assert engine.live_queues == []
    engine.store.file.close()
