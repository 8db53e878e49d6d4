"""Fixtures of the crash tests, and the table of what came of them."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.reliability.harness import HOST, Database, Ground, Story

Scene = Callable[..., AbstractContextManager[Story]]

_table: list[str] = []


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _table:
        terminalreporter.section("reliability")
        for line in _table:
            terminalreporter.line(line)


def missing(what: str) -> NoReturn:
    """Skip what needs this, but not where everything has to be tested."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture
def database() -> Iterator[Database]:
    try:
        import psycopg
    except ImportError as error:
        missing(f"no psycopg: {error}")
    try:
        database = Database()
    except psycopg.OperationalError as error:
        missing(f"no PostgreSQL at {HOST}: {error}")
    yield database
    database.drop()


@pytest.fixture
def ground(database: Database, tmp_path: Path) -> Iterator[Ground]:
    with begun(Ground(tmp_path, database)) as ground:
        yield ground


@contextmanager
def begun(ground: Ground) -> Iterator[Ground]:
    try:
        ground.start()
        yield ground
    finally:
        ground.stop()


@pytest.fixture
def scene(ground: Ground, request: pytest.FixtureRequest) -> Scene:
    """Serve the project for one scenario; on failure its seed is shown."""
    seed = int(
        os.environ.get("CLOUDTASK_SEED") or random.SystemRandom().randrange(10**6)
    )

    @contextmanager
    def scene(**options: Any) -> Iterator[Story]:
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
