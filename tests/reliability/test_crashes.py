"""Whatever is killed or frozen: nothing is lost, and nothing ends twice."""

import pytest

from tests.reliability.conftest import Scene
from tests.reliability.harness import Ground, poll

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


def test_a_task_that_is_delivered_several_times_runs_once(
    scene: Scene, ground: Ground
) -> None:
    with scene() as story:
        ground.emulator.inject("duplicate", probability=0.3, times=None)

        # In the queue two to five times each.
        story.enqueue([story.dice.uniform(0, 0.05) for _ in range(100)], copies=0)
        story.settle()

        assert story.violations() == {}
        assert set(story.runs.values()) == {1}
        assert len(story.runs) == 100
        assert len(story.ids) >= 200


def test_a_server_that_was_frozen_writes_nothing_over_its_successor(
    scene: Scene, ground: Ground
) -> None:
    with scene(workers=6, lease=1.2) as story:
        # The twin of each waits for the lease to end.
        with story.enqueuing([1.2] * 48, copies=2):
            for _ in range(2):
                poll(lambda: story.busy.total() >= 8)
                story.servers.freeze_some(5, 2.2, story.dice)
        story.settle()

        violations = story.violations()
        # Who is frozen may run on beside its successor.
        violations.pop("I3 too many runs", None)
        assert violations == {}
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
        story.deaths = 3
        assert row == ["FAILED", 3]
        assert story.runs[id] == 3
        errors = ground.database.rows("SELECT task_id, type, message FROM error")
        assert errors == [
            (
                id,
                "cloudtask.exceptions.WorkerDied",
                "3 workers died with this task.",
            )
        ]
        assert story.statuses == {"SUCCESSFUL": 50, "FAILED": 1}
        violations = story.violations()
        # Its runs are no interruptions of the harness's.
        violations.pop("I3 too many runs")
        assert violations == {}
