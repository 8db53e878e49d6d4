"""Servers, enqueuers and sweepers that die at the worst moments."""

import pytest

from tests.reliability.conftest import Scene
from tests.reliability.harness import Ground

pytestmark = pytest.mark.reliability

#: Tasks that meet death at each point, once each.
TASKS = 20


@pytest.mark.parametrize(
    ("point", "kind", "seconds"),
    [
        ("before the claim", "work", 0.02),
        ("after the claim", "work", 0.02),
        ("before the body", "work", 0.02),
        ("in the body", "work", 0.02),
        # Long enough for a sign of life.
        ("in the heartbeat", "work", 0.5),
        ("before the end", "work", 0.02),
        ("after the end", "work", 0.02),
        ("in the error's write", "falter", 0.02),
    ],
)
def test_a_task_survives_a_server_that_dies(
    scene: Scene, ground: Ground, point: str, kind: str, seconds: float
) -> None:
    # With one thread, no server dies with two of them.
    with scene(workers=6, threads=1, lease=1.0) as story:
        ground.points.arm(point)
        story.enqueue([seconds] * TASKS, kind=kind)
        story.settle()

        assert story.violations() == {}
        assert story.statuses == {"SUCCESSFUL": TASKS}
        assert ground.points.reached(point) == story.kills == TASKS
        # The error's transaction was rolled back, and is not repeated.
        assert ground.database.rows("SELECT * FROM error") == []


@pytest.mark.parametrize(
    ("point", "runs"),
    [
        # Its end was not written: it runs again, and asks again.
        ("before the end", 3),
        ("in the error's write", 3),
        # It is in the outbox, and nobody has sent it.
        ("outbox, before the call", 2),
        # It was sent, and nobody has noted that: the sweeper sends it again.
        ("outbox, after the call", 2),
        ("after the end", 2),
    ],
)
def test_a_rearmed_task_survives_a_server_that_dies(
    scene: Scene, ground: Ground, point: str, runs: int
) -> None:
    with scene(workers=6, threads=1, lease=1.0) as story:
        ground.points.arm(point)
        story.enqueue([1.0] * TASKS, kind="postpone")
        with ground.sweepers(1):
            story.settle(is_swept=True)

        assert story.violations() == {}
        assert story.statuses == {"SUCCESSFUL": TASKS}
        assert ground.points.reached(point) == story.kills == TASKS
        assert set(story.runs.values()) == {runs}
        armings = ground.database.rows("SELECT DISTINCT arming FROM record")
        assert armings == [(1,)]


def test_a_task_is_given_up_though_who_does_so_dies(
    scene: Scene, ground: Ground
) -> None:
    with scene(workers=6, threads=1, lease=1.0) as story:
        ground.points.arm("in the giving up")
        story.enqueue([0.01] * TASKS, kind="poison")
        story.settle()

        assert story.violations() == {}
        assert story.statuses == {"FAILED": TASKS}
        assert ground.points.reached("in the giving up") == TASKS
        # Three died of each task, and a fourth did not live to say so.
        assert story.kills == 4 * TASKS
        errors = ground.database.rows(
            "SELECT count(*), count(DISTINCT task_id) FROM error"
        )
        assert errors == [(TASKS, TASKS)]


@pytest.mark.parametrize(
    ("enqueuer", "sweeper"),
    [
        ("before the call", "before the call"),
        ("before the call", "after the call"),
        # The dispatch itself says that it was sent.
        ("after the call", ""),
    ],
)
def test_a_task_survives_those_who_send_it(
    scene: Scene, ground: Ground, enqueuer: str, sweeper: str
) -> None:
    with scene() as story:
        enqueuing = {"count": 1, "point": f"outbox, {enqueuer}"}
        for seed in range(0, TASKS, 4):
            calls = [{**enqueuing, "seed": seed + each} for each in range(4)]
            assert ground.ask("transact", *calls) == [None] * 4
            story.deaths += 4
        if sweeper:
            ground.points.arm(f"sweeper, {sweeper}")
        with ground.sweepers(4, limit=1):
            story.settle(is_swept=True)

        assert story.violations() == {}
        assert story.statuses == {"SUCCESSFUL": TASKS}
        assert story.kills == (2 if sweeper else 1) * TASKS
        assert set(story.runs.values()) == {1}
        assert len(story.runs) == TASKS
