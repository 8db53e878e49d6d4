"""The harness finds bugs: with each of these an invariant does not hold."""

from collections.abc import Callable
from contextlib import suppress
from time import time
from typing import Any

import pytest

from tests.reliability.conftest import Scene
from tests.reliability.harness import poll
from tests.reliability.story import Story

pytestmark = pytest.mark.reliability

#: What does not hold any more, whatever comes after it.
LASTING = {
    "I2 not one end",
    "I3 too many runs",
    "I6 acked early",
    "I7 death without a cause",
    "I8 dead channel",
    "I9 too early",
    "sent too often",
}


def kills(story: Story) -> None:
    with story.enqueuing([1.0] * 40):
        poll(lambda: story.busy.total() >= 8)
        story.servers.kill_some(5, story)


def freezes(story: Story) -> None:
    for _ in range(2):
        story.freeze_and_take_over(1.5)


def freezes_of_what_raises(story: Story) -> None:
    for _ in range(2):
        story.freeze_and_take_over(1.0, "falter")


def long_tasks(story: Story) -> None:
    story.enqueue([1.2] * 4, copies=2)


def twins(story: Story) -> None:
    story.ground.emulator.inject("duplicate", times=None)
    story.enqueue([0.02] * 100)


def postponed_twins(story: Story) -> None:
    story.ground.emulator.inject("duplicate", times=None)
    story.enqueue([1.5] * 20, kind="postpone")


def unsent(story: Story) -> None:
    point = "sweeper, before the call"
    story.ground.points.arm(point, holds=True)
    story.ground.ask("enqueue_unsent", {"number": 50})
    due = "SELECT count(*) FROM record WHERE send_at <= now()"
    poll(lambda: story.ground.database.rows(due) == [(50,)])
    # One has taken them and waits, another one takes and sends them.
    with story.ground.sweepers(2):
        poll(lambda: story.ground.points.reached(point))
        story.settle(is_swept=True)
        story.ground.points.release(point)
        poll(lambda: len(story.ground.emulator.attempts) >= 100)


def drops(story: Story) -> None:
    point = "before the end"
    story.ground.points.arm(point, holds=True)
    story.enqueue([0.02] * 12)
    poll(lambda: story.ground.points.reached(point) == 12)
    assert story.ground.database.cut() >= 12
    story.ground.points.release(point)


def untidy(story: Story) -> None:
    story.enqueue([0.02] * 48, kind="leave_untidy")


def boasts(story: Story) -> None:
    story.enqueue([3.0] * 2, kind="boast")
    # One thread prolongs the leases of all.
    story.enqueue([6.0] * 6, copies=2)


def hang_ups(story: Story) -> None:
    story.enqueue([1.5] * 12)
    poll(lambda: story.busy.total() == 12)
    assert story.ground.to_servers.cut() >= 12


def dead_channel(story: Story) -> None:
    with story.enqueuing([0.02] * 7, pause=0.3):
        poll(lambda: len(story.runs) > 2)
        story.blackened.append(time())
        assert story.ground.to_queue.blacken(new_ones=False) > 0


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
            "no fence for errors",
            {"lease": 1.0, "workers": 6},
            freezes_of_what_raises,
            {"I2 not one end"},
            id="no-fence-for-errors",
        ),
        pytest.param(
            "finished answered 409",
            {},
            twins,
            {"queue not empty"},
            id="finished-answered-409",
        ),
        pytest.param(
            "sweeper without mark",
            {},
            unsent,
            {"sent too often"},
            id="sweeper-without-mark",
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
        pytest.param(
            "any alarm taken",
            {},
            postponed_twins,
            {"I9 too early"},
            id="any-alarm-taken",
        ),
        pytest.param(
            "end tried once", {}, drops, {"I3 too many runs"}, id="end-tried-once"
        ),
        pytest.param(
            "end on the task's connection",
            {},
            untidy,
            {"I1 lost", "I6 acked early"},
            id="end-on-the-task-s-connection",
        ),
        pytest.param(
            "unchecked progress",
            {"workers": 1, "threads": 12},
            boasts,
            {"I3 too many runs"},
            id="unchecked-progress",
        ),
        pytest.param(
            "cancelled without an end",
            {"is_asgi": True, "is_proxied": True},
            hang_ups,
            {"I3 too many runs"},
            id="cancelled-without-an-end",
        ),
        pytest.param(
            "channel kept",
            {"is_proxied": True},
            dead_channel,
            {"I8 dead channel"},
            id="channel-kept",
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

        def is_over() -> bool:
            is_found = broken <= LASTING and broken <= set(story.violations())
            return is_found or story.ground.emulator.idle

        # What is stuck stays so.
        with suppress(TimeoutError):
            poll(is_over, 8)

        assert broken <= set(story.violations())
