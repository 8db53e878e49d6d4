"""What the crash tests themselves have to do."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tests.reliability.harness import Ground, poll
from tests.reliability.story import Story
from tests.reliability.watched import PostgreSQL

pytestmark = pytest.mark.reliability


def test_what_a_scenario_leaves_never_comes_to_the_next_one(
    ground: Ground, tmp_path: Path
) -> None:
    with ground.served(workers=1, threads=1) as servers:
        failed = Story(ground, servers, 0)
        # One runs, one waits at the socket, and others in the queue.
        failed.enqueue([60] * 40)
        poll(lambda: failed.busy)

    folder = tmp_path / "next"
    folder.mkdir()
    with (
        closing(PostgreSQL()) as database,
        closing(Ground(folder, database)) as new,
        new.served() as servers,
    ):
        story = Story(new, servers, 0)
        story.enqueue([0.01])
        story.settle()

        assert story.violations() == {}
        assert story.statuses == {"SUCCESSFUL": 1}
        assert len(new.emulator.attempts) == 1
