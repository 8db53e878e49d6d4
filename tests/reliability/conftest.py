"""Fixtures of the crash tests, and the table of what came of them."""

from __future__ import annotations

import json
import os
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.reliability.harness import Ground
from tests.reliability.story import Story
from tests.reliability.watched import Database, PostgreSQL

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
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database on PostgreSQL, or on the server that a parameter names."""
    kind: type[Database] = getattr(request, "param", PostgreSQL)
    if find_spec(kind.driver) is None:
        missing(f"no {kind.driver}")
    host, port = kind.address()
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        missing(f"no {kind.server} at {host}:{port}: {error}")
    with closing(kind()) as database:
        yield database


@pytest.fixture
def ground(database: Database, tmp_path: Path) -> Iterator[Ground]:
    with closing(Ground(tmp_path, database)) as ground:
        yield ground


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
            except BaseException:
                print(ground.log[-5000:])  # noqa: T201
                print(json.dumps(story.violations(), indent=1))  # noqa: T201
                # What hangs is seen in it.
                before = len(ground.log)
                servers.dump()
                print(ground.log[before:])  # noqa: T201
                raise
            finally:
                print(f"CLOUDTASK_SEED={seed}")  # noqa: T201
                _table.append(story.report(request.node.name))

    return scene


@pytest.fixture(autouse=True)
def _nothing_is_kept() -> None:
    """These are about what is kept."""
