"""Whatever is killed or frozen: nothing is lost, and nothing ends twice."""

from collections import Counter

import pytest

from tests.reliability.conftest import Scene
from tests.reliability.harness import IS_LONG, Ground

pytestmark = pytest.mark.reliability


def test_tasks_survive_the_kills_of_their_servers(scene: Scene, ground: Ground) -> None:
    with scene() as story, ground.sweepers(1):
        ground.emulator.inject("duplicate", probability=0.1, times=None)
        ground.emulator.inject("timeout", probability=0.02, times=None)
        # Some outlive their lease.
        seconds = [3.0] * 6 + [story.dice.uniform(0.02, 0.25) for _ in range(594)]
        story.dice.shuffle(seconds)
        with story.enqueuing(seconds):
            story.servers.kill_some(40, story)
        story.settle(is_swept=True)

        assert story.violations() == {}
        assert len(story.servers.killed) == 40
        # They hit.
        assert story.interruptions().total() >= 40

        # Those of which three workers were killed: nothing of them is lost.
        assert story.redrive() == story.redriven.total()
        story.settle(is_swept=True)
        assert story.statuses == {"SUCCESSFUL": 600}
        assert story.violations() == {}


def test_a_task_that_is_delivered_several_times_runs_once(
    scene: Scene, ground: Ground
) -> None:
    with scene() as story:
        ground.emulator.inject("duplicate", probability=0.05, times=None)

        # In the queue two to five times each.
        number = 1000 if IS_LONG else 300
        story.enqueue([story.dice.uniform(0, 0.05) for _ in range(number)], copies=0)
        story.settle()

        assert story.violations() == {}
        assert set(story.runs.values()) == {1}
        assert len(story.runs) == number
        assert len(story.ids) >= 2 * number
        # Some came while the task ran, and some when it had.
        statuses = Counter(attempt.status for attempt in ground.emulator.attempts)
        assert statuses[409] > number / 20
        assert statuses[200] > 2 * number


def test_a_task_that_asks_for_another_time_comes_twice(
    scene: Scene, ground: Ground
) -> None:
    with scene() as story:
        # Each alarm, so that most of the first ones come after the task's end.
        ground.emulator.inject("duplicate", times=None)
        story.enqueue([1.5] * 60, kind="postpone")
        story.settle()

        assert story.violations() == {}
        assert story.statuses == {"SUCCESSFUL": 60}
        assert story.runs.total() == 120
        assert set(story.runs.values()) == {2}


@pytest.mark.parametrize(("kind", "seconds"), [("work", 1.5), ("falter", 1.0)])
def test_a_server_that_was_frozen_writes_nothing_over_its_successor(
    scene: Scene, ground: Ground, kind: str, seconds: float
) -> None:
    with scene(workers=6, lease=1.0) as story:
        for _ in range(2):
            story.freeze_and_take_over(seconds, kind)
        story.settle()

        assert story.violations() == {}
        assert story.servers.frozen == 6
        # They ran on beside their successors.
        assert story.interruptions().total() >= 6
        assert "the lease was lost meanwhile" in ground.log


def test_a_task_that_kills_its_servers_is_given_up(
    scene: Scene, ground: Ground
) -> None:
    with scene(lease=0.8) as story:
        story.enqueue([0.1], kind="poison")
        story.enqueue([0.01] * 50)
        story.settle()

        [(id, *row)] = ground.database.rows(  # noqa: A001
            "SELECT id, status, interruptions FROM record WHERE path LIKE '%.poison'"
        )
        assert story.kills == 3
        assert row == ["FAILED", 3]
        assert story.runs[id] == 3
        errors = ground.database.rows("SELECT task_id, type, message FROM error")
        assert errors == [
            (
                id,
                "cloudtask.exceptions.WorkerDied",
                "3 workers died while they ran this task.",
            )
        ]
        assert story.statuses == {"SUCCESSFUL": 50, "FAILED": 1}
        assert story.violations() == {}


@pytest.mark.parametrize(
    ("kind", "error"), [("exhaust", "MemoryError"), ("recurse", "RecursionError")]
)
def test_a_task_without_bounds_fails_as_others_do(
    scene: Scene, ground: Ground, kind: str, error: str
) -> None:
    with scene(memory=2**31) as story:
        story.enqueue([0.01] * 2, kind=kind)
        story.enqueue([0.01] * 50)
        story.settle()

        assert story.statuses == {"SUCCESSFUL": 50, "FAILED": 2}
        errors = ground.database.rows("SELECT type, attempt FROM error ORDER BY 2")
        assert errors == [(f"builtins.{error}", n) for n in (1, 1, 2, 2)]
        assert story.kills == 0
        violations = story.violations()
        # They failed for good, as their policy says.
        assert len(violations.pop("I1 lost")) == 2
        assert violations == {}
