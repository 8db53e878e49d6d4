"""The harness finds bugs: with each of these an invariant does not hold."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.reliability.conftest import Scene
from tests.reliability.harness import Story, poll

pytestmark = pytest.mark.reliability


def kills(story: Story) -> None:
    with story.enqueuing([1.0] * 40):
        poll(lambda: story.busy.total() >= 8)
        story.servers.kill_some(5, story)


def freezes(story: Story) -> None:
    # The twin of each waits for the lease to end.
    with story.enqueuing([1.5] * 30, copies=2):
        poll(lambda: story.busy.total() >= 12)
        story.servers.freeze_some(5, 2.4, story.dice)


def long_tasks(story: Story) -> None:
    story.enqueue([1.2] * 4, copies=2)


def twins(story: Story) -> None:
    story.ground.emulator.inject("duplicate", times=None)
    story.enqueue([0.02] * 100)


@pytest.mark.parametrize(
    ("bug", "options", "scenario", "broken"),
    [
        pytest.param(
            "ack while running",
            {"lease": 5.0},
            kills,
            {"I1 lost", "I5 stuck", "I6 acked early"},
            id="ack-while-running",
        ),
        pytest.param(
            "no fence",
            {"lease": 1.0, "workers": 6},
            freezes,
            {"I2 not one end"},
            id="no-fence",
        ),
        pytest.param(
            "no heartbeat",
            {"lease": 0.5},
            long_tasks,
            {"I3 too many runs"},
            id="no-heartbeat",
        ),
        pytest.param(
            "select then update",
            {},
            twins,
            {"I3 too many runs"},
            id="select-then-update",
        ),
    ],
)
def test_a_bug_breaks_what_has_to_hold(
    scene: Scene,
    bug: str,
    options: dict[str, Any],
    scenario: Callable[[Story], None],
    broken: set[str],
) -> None:
    with scene(**options, bug=bug) as story:
        scenario(story)
        story.settle()

        assert broken <= set(story.violations())
