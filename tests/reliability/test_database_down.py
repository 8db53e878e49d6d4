"""A database that goes away: nothing runs without it, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time
from typing import Any

import pytest

from tests.reliability.cluster import Cluster, find_binaries
from tests.reliability.conftest import Scene, missing
from tests.reliability.harness import IS_LONG, poll
from tests.reliability.story import Story
from tests.reliability.watched import Database, PostgreSQL

pytestmark = pytest.mark.reliability

#: Tasks that are under way when it goes.
TASKS = 12
#: Seconds that it is away, at least.
OUTAGE = 2.0

#: Where they are then.
POINTS = ("before the claim", "in the body", "before the end")
#: How often it goes at each.
TIMES = 4 if IS_LONG else 1


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    binaries = find_binaries()
    if binaries is None or find_spec("psycopg") is None:
        missing("no psycopg, or no initdb of PostgreSQL")
    # Not in pytest's own folder, where another user cannot go.
    with TemporaryDirectory(prefix="cloudtask-") as folder:
        cluster = Cluster(binaries, Path(folder))
        cluster.start()
        yield cluster
        cluster.stop()


@pytest.fixture
def database(cluster: Cluster) -> Iterator[Database]:
    with closing(PostgreSQL("127.0.0.1", cluster.port)) as database:
        yield database


@contextmanager
def outage(story: Story, point: str) -> Iterator[None]:
    """Have tasks come to a point, go on without a database, and end."""
    ground = story.ground
    ground.points.arm(point, holds=True)
    story.enqueue([0.05] * TASKS)
    poll(lambda: ground.points.reached(point) == TASKS)
    since = time()
    yield
    story.outages.append((since, time()))
    story.settle()


def go_on(story: Story, point: str) -> list[Any]:
    """Let go who waits there, for a while. Gives what begins meanwhile."""
    since = time()
    story.ground.points.release(point)
    poll(lambda: time() - since > OUTAGE)
    return [
        line for line in story.lines if line["event"] == "begin" and line["at"] > since
    ]


@pytest.fixture
def story(scene: Scene) -> Iterator[Story]:
    # Any process has room for all tasks, and each thread a connection.
    with scene(workers=2, threads=TASKS, lease=1.5, is_proxied=True) as story:
        story.enqueue([0.05] * TASKS)
        story.settle()
        yield story

        assert story.violations() == {}
        assert story.statuses == {"SUCCESSFUL": (1 + len(story.outages)) * TASKS}


def test_tasks_survive_a_database_that_crashes(story: Story, cluster: Cluster) -> None:
    for point in POINTS * TIMES:
        with outage(story, point):
            with cluster.away():
                # None without a claim.
                assert go_on(story, point) == []
            story.ground.database.connect_again()

    refused = [a for a in story.ground.emulator.attempts if a.status == 503]
    assert len(refused) >= TIMES * len(POINTS) * TASKS


def test_tasks_survive_connections_that_are_cut(story: Story) -> None:
    for point in POINTS * TIMES:
        with outage(story, point):
            assert story.ground.database.cut() > 0
            story.ground.points.release(point)


def test_tasks_survive_connections_on_which_nothing_comes_back(
    story: Story,
) -> None:
    proxy = story.ground.to_database
    for number, point in enumerate(POINTS * 2):
        # First on all connections, and then on those that are open.
        are_all = number < len(POINTS)
        with outage(story, point):
            assert proxy.blacken(new_ones=are_all) > 0
            runs = go_on(story, point)
            assert not (are_all and runs)
            proxy.recover()
