"""
The noticeboard: one project, its tests run under one backend after another.

Only the BACKEND line of its settings differs, by an environment variable.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "notices"
#: Seconds after which a run is given up.
PATIENCE = 60

FRAMEWORK = next(
    (name for name in ("django.tasks", "django_tasks") if find_spec(name)), None
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        FRAMEWORK is None, reason="Neither Django nor the backport has tasks."
    ),
]
needs_database_backend = pytest.mark.skipif(
    find_spec("django_tasks_db") is None, reason="django-tasks-db is not installed."
)

OURS = "cloudtask.backends.CloudTasksBackend"
IMMEDIATE = f"{FRAMEWORK}.backends.immediate.ImmediateBackend"
DUMMY = f"{FRAMEWORK}.backends.dummy.DummyBackend"
DATABASE = "django_tasks_db.DatabaseBackend"

#: Each backend, and how many tests are not for it. One is for those that
#: cannot defer, or for those that can; and DummyBackend runs no task.
BACKENDS = [
    pytest.param(OURS, 1, id="cloudtask"),
    pytest.param(IMMEDIATE, 1, id="immediate"),
    pytest.param(DUMMY, 10, id="dummy"),
    pytest.param(DATABASE, 1, id="database", marks=needs_database_backend),
]


@pytest.fixture
def notices(tmp_path: Path) -> Path:
    """A copy of the example, to run and to break."""
    ignored = shutil.ignore_patterns("__pycache__", "*.sqlite3")
    return shutil.copytree(EXAMPLE, tmp_path / "notices", ignore=ignored)


def manage(
    notices: Path, backend: str | None, *command: str
) -> subprocess.CompletedProcess[str]:
    # The settings are the example's own, not those of these tests.
    dropped = ("DJANGO_SETTINGS_MODULE", "TASKS_BACKEND")
    kept = {key: value for key, value in os.environ.items() if key not in dropped}
    chosen = {} if backend is None else {"TASKS_BACKEND": backend}
    return subprocess.run(
        [sys.executable, "-W", "error", str(notices / "manage.py"), *command],
        env={
            **kept,
            **chosen,
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize(("backend", "skipped"), BACKENDS)
def test_the_tests_of_the_project_pass_under(
    notices: Path, backend: str, skipped: int
) -> None:
    run = manage(notices, backend, "test", "notices", "--shuffle")

    assert run.returncode == 0, run.stderr
    # Python 3.12.1 does not count one that its decorator skips.
    assert re.search(r"^Ran 1[67] tests in ", run.stderr, re.MULTILINE)
    assert re.search(rf"^OK \(skipped={skipped}\)$", run.stderr, re.MULTILINE)


@pytest.mark.parametrize(("backend", "skipped"), BACKENDS)
def test_the_tests_of_the_project_fail_if_a_task_does_nothing_under(
    notices: Path, backend: str, skipped: int
) -> None:
    tasks = notices / "notices" / "tasks.py"
    text = tasks.read_text()
    sends = "    send_mail(notice.title, notice.text, None, [subscriber.email])\n"
    assert sends in text
    tasks.write_text(text.replace(sends, ""))

    run = manage(notices, backend, "test", "notices")

    seen = [
        "test_a_notice_is_sent_to_every_subscriber",
        "test_an_urgent_notice_is_announced",
    ]
    # Under DummyBackend no task does anything.
    expected = (0, []) if backend == DUMMY else (1, seen)
    failed = re.findall(r"^FAIL: (\w+)", run.stderr, re.MULTILINE)
    assert (run.returncode, sorted(failed)) == expected, run.stderr


@pytest.mark.parametrize(("backend", "skipped"), BACKENDS)
def test_the_project_is_in_order_under(
    notices: Path, backend: str, skipped: int
) -> None:
    run = manage(notices, backend, "check", "--fail-level", "WARNING")

    assert (run.returncode, run.stderr) == (0, "")


def test_its_migrations_are_complete(notices: Path) -> None:
    run = manage(notices, OURS, "makemigrations", "notices", "--check", "--dry-run")

    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == "No changes detected in app 'notices'\n"


def test_it_uses_this_package_by_default(notices: Path) -> None:
    code = "from django.conf import settings as s; print(s.TASKS['default']['BACKEND'])"

    run = manage(notices, None, "shell", "--no-imports", "-c", code)

    assert (run.stdout, run.stderr) == (f"{OURS}\n", "")


def test_its_code_knows_no_backend() -> None:
    knowing = {
        path.relative_to(EXAMPLE).as_posix()
        for path in EXAMPLE.rglob("*.py")
        if re.search("cloudtask|db_worker|[A-Z]\\w+Backend", path.read_text())
    }

    # settings.py names it, urls.py routes it, and the tests run its tasks.
    assert knowing == {
        "noticeboard/settings.py",
        "noticeboard/urls.py",
        "notices/pending.py",
    }
