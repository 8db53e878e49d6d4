"""All that the field does at once: a kill alone has a task run again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import time

import pytest

from tests.reliability.conftest import Scene
from tests.reliability.harness import IS_LONG, PATIENCE, poll
from tests.reliability.story import DEATHS, Story
from tests.reliability.watched import Database, MariaDB, PostgreSQL

pytestmark = pytest.mark.reliability

#: Seconds that a lease holds: longer than any fault but a kill lasts.
LEASE = 30.0 if IS_LONG else 8.0


@dataclass(frozen=True)
class Sizes:
    """How much of everything there is."""

    tasks: int
    kills: int
    drops: int
    outages: int
    dead_channels: int
    freezes: int
    hang_ups: int = 0

    @property
    def faults(self) -> dict[Callable[[Story], None], int]:
        return {
            kill: self.kills,
            drop_connection: self.drops,
            be_away: self.outages,
            deaden_channel: self.dead_channels,
            freeze: self.freezes,
            hang_up: self.hang_ups,
        }


LONG = {
    "postgresql": Sizes(1000, 60, 100, 20, 6, 10),
    "mariadb": Sizes(500, 30, 50, 10, 3, 5),
    "asgi": Sizes(500, 30, 50, 10, 3, 5, hang_ups=30),
}
SHORT = {
    "postgresql": Sizes(120, 6, 20, 4, 1, 2),
    "mariadb": Sizes(60, 3, 10, 2, 1, 1),
    "asgi": Sizes(60, 3, 10, 2, 1, 1, hang_ups=6),
}
SIZES = LONG if IS_LONG else SHORT


def kill(story: Story) -> None:
    """SIGKILL a process, but none that would have a task given up."""

    def is_last_worker(pid: int) -> bool:
        return bool(
            story.ground.database.rows(
                "SELECT id FROM record WHERE status = 'RUNNING' "  # noqa: S608
                f"AND interruptions >= {DEATHS - 1} AND worker_id LIKE '%-{pid}'"
            )
        )

    poll(lambda: story.servers.kill_busy(story, is_last_worker))


def drop_connection(story: Story) -> None:
    """End a session of the database, as an administrator or a pool does."""
    sessions = story.ground.database.sessions()
    if sessions:
        story.ground.database.end_session(story.dice.choice(sessions))
        story.faults["dropped"] += 1


def be_away(story: Story) -> None:
    """Have the database gone for as long as a failover takes."""
    with story.ground.to_database.away():
        threading.Event().wait(story.dice.uniform(0.2, 2))
    story.faults["away"] += 1


def deaden_channel(story: Story) -> None:
    """Have packets to Cloud Tasks vanish on the connections that are open."""
    story.blackened.append(time())
    story.ground.to_queue.blacken(new_ones=False)
    story.faults["dead channels"] += 1


def freeze(story: Story) -> None:
    """Stop a process for far less than a lease."""
    story.servers.freeze_some(1, story.dice.uniform(0.2, 1), story)


def hang_up(story: Story) -> None:
    """Have the dispatches under way end without an answer."""
    story.faults["hung up"] += story.ground.to_servers.cut()


@pytest.mark.parametrize(
    ("database", "server"),
    [(PostgreSQL, "wsgi"), (MariaDB, "wsgi"), (PostgreSQL, "asgi")],
    indirect=["database"],
    ids=["postgresql", "mariadb", "asgi"],
)
def test_only_a_kill_has_a_task_run_again(
    scene: Scene, database: Database, server: str
) -> None:
    is_asgi = server == "asgi"
    sizes = SIZES["asgi" if is_asgi else database.server]
    # Each of uvicorn's imports everything before it serves.
    options = {"workers": 3 if is_asgi else 6, "threads": 4, "lease": LEASE}
    with (
        scene(**options, is_asgi=is_asgi, is_proxied=True) as story,
        story.ground.sweepers(1),
    ):
        seconds = [story.dice.uniform(0.2, 2.5) for _ in range(sizes.tasks)]
        kinds = ["awork", "work"] if is_asgi else ["work"]
        shares = {"leave_untidy": 0.05, "boast": 0.05}
        chosen = [
            next(
                (kind for kind in shares if story.dice.random() < shares[kind]),
                story.dice.choice(kinds),
            )
            for _ in seconds
        ]
        faults = [fault for fault, n in sizes.faults.items() for _ in range(n)]
        story.dice.shuffle(faults)
        with story.enqueuing(seconds, kinds=chosen, pause=0.05):
            for fault in faults:
                threading.Event().wait(story.dice.uniform(0.1, 0.5))
                fault(story)
        story.settle(is_swept=True, patience=LEASE + PATIENCE)

        assert story.violations() == {}
        assert len(story.servers.killed) == sizes.kills
        assert set(story.statuses) == {"SUCCESSFUL"}
        assert story.statuses.total() >= sizes.tasks
        # They hit.
        assert story.interruptions().total() >= sizes.kills
