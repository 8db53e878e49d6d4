"""Fixtures of the crash tests, and the table of what came of them."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import pytest

from tests.reliability.harness import HOST, Database, Ground, Story

Scene = Callable[..., AbstractContextManager[Story]]

_table: list[str] = []


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _table:
        terminalreporter.section("reliability")
        for line in _table:
            terminalreporter.line(line)


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    psycopg = pytest.importorskip("psycopg")
    try:
        database = Database()
    except psycopg.OperationalError as error:
        pytest.skip(f"no PostgreSQL at {HOST}: {error}")
    with ExitStack() as stack:
        stack.callback(database.drop)
        ground = Ground(tmp_path_factory.mktemp("reliability"), database)
        stack.callback(ground.stop)
        ground.start()
        yield ground


@pytest.fixture
def scene(ground: Ground, request: pytest.FixtureRequest) -> Scene:
    """Serve the project for one scenario; on failure its seed is shown."""
    seed = int(
        os.environ.get("CLOUDTASK_SEED") or random.SystemRandom().randrange(10**6)
    )

    @contextmanager
    def scene(**options: Any) -> Iterator[Story]:
        ground.clear()
        with ground.served(**options) as servers:
            story = Story(ground, servers, seed)
            try:
                yield story
            finally:
                print(f"CLOUDTASK_SEED={seed}", ground.log[-5000:], sep="\n")  # noqa: T201
                _table.append(story.report(request.node.name))

    return scene


@pytest.fixture(autouse=True)
def _nothing_is_kept() -> None:
    """These are about what is kept."""
