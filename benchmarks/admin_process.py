"""Fills the table, asks the admin for pages, and times the database."""

from __future__ import annotations

import json
import logging
import os
from contextlib import contextmanager
from datetime import timedelta
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import django
from django.conf import settings
from django.db import connection
from django.test import Client
from django.urls import path

from benchmarks.database import entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_URL = "/admin/cloudtask_results/taskrecord/"
_ROUNDS = 5
_PARENT = "projects/shop-production/locations/europe-west1/queues/"

settings.configure(
    SECRET_KEY="benchmark",  # noqa: S106
    ALLOWED_HOSTS=["testserver"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    STATIC_URL="/static/",
    DATABASES={"default": entry(os.environ["BENCHMARK_DATABASE"])},
    INSTALLED_APPS=[
        "cloudtask",
        "cloudtask.results",
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
    CLOUDTASK={
        "PROJECT": "shop-production",
        "LOCATION": "europe-west1",
        "QUEUE": "default",
        "URL": "https://shop.example/_tasks/",
        "SECRET": "a secret of the benchmark, 32 by",
        "TRANSPORT": "cloudtask.transports.memory.MemoryTransport",
    },
)
logging.disable()
django.setup()

from django.contrib import admin  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402

from cloudtask.results import pruning  # noqa: E402
from cloudtask.results.models import TaskRecord  # noqa: E402
from cloudtask.results.sweeping import sweep, traffic  # noqa: E402

urlpatterns = [path("admin/", admin.site.urls)]

# The last is the latest. Few paths have most of the tasks, and each goes to
# one queue. The first tasks are of a path and a queue that had none since.
_FILL = """
INSERT INTO cloudtask_results_taskrecord (
    id, path, kind, backend, queue, name, status, body, url, task_id,
    enqueued_at, sent_at, send_at, look_at, started_at, last_attempted_at,
    finished_at, attempt, worker_id, trace_id, is_value_dropped, progress_message,
    lease, lease_expires_at, interruptions
)
SELECT
    md5(n::text),
    CASE WHEN n <= 5 THEN 'shop.tasks.retired' ELSE 'shop.tasks.task_' || kind END,
    'cloudtask', '', queue, %(parent)s || queue || '/tasks/' || (1e18::bigint + n),
    status,
    '{"v":1,"id":"' || md5(n::text) || '","task":"shop.tasks.task_' || kind
        || '","kind":"cloudtask","args":[' || n || '],"kwargs":{"note":"'
        || repeat('x', 200) || '"},"enqueued_at":"2026-01-31T12:00:00+00:00"}',
    '', '', at, at, NULL,
    CASE WHEN status = 'READY' THEN at + interval '2 hours' END,
    CASE WHEN status <> 'READY' THEN at END,
    CASE WHEN status <> 'READY' THEN at END,
    CASE WHEN status IN ('SUCCESSFUL', 'FAILED') THEN at + interval '2 seconds' END,
    1, 'worker:1', '', false, '', '',
    CASE WHEN status = 'RUNNING' THEN now() + interval '1 hour' END, 0
FROM (
    SELECT n, kind, now() - (%(rows)s - n) * interval '7 seconds' AS at,
        CASE WHEN n <= 5 THEN 'retired' ELSE 'queue-' || kind %% 6 END AS queue,
        CASE
            WHEN n > %(rows)s - 200 THEN 'RUNNING'
            WHEN n > %(rows)s - 20000 THEN 'READY'
            WHEN n %% 20 = 0 THEN 'FAILED'
            ELSE 'SUCCESSFUL'
        END AS status
    FROM (
        SELECT n, floor(60 * power(random(), 3))::int AS kind
        FROM generate_series(1, %(rows)s) AS n
    ) AS numbers
) AS tasks
"""
_FILL_ERRORS = """
INSERT INTO cloudtask_results_taskerror
    (task_id, attempt, type, message, traceback, happened_at)
SELECT id, attempts, 'builtins.ValueError', 'broken', repeat('line', 500), now()
FROM cloudtask_results_taskrecord, generate_series(1, 5) AS attempts
WHERE status = 'FAILED'
"""


def main() -> None:
    rows = int(os.environ["BENCHMARK_ROWS"])
    call_command("migrate", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute(_FILL, {"rows": rows, "parent": _PARENT})
        cursor.execute(_FILL_ERRORS)
        cursor.execute("VACUUM ANALYZE")
    client = Client()
    client.force_login(User.objects.create_superuser("ada"))
    for name, call in {**_pages(client), **_actions(client), **_passes()}.items():
        print(json.dumps([name, *_measured(call)]), flush=True)


def _pages(client: Client) -> dict[str, Callable[[], object]]:
    """Pages that people look at, each with all of its queries."""
    now = TaskRecord.objects.latest("enqueued_at").enqueued_at
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    month = midnight.replace(day=1).isoformat()
    failed = TaskRecord.objects.filter(status="FAILED").earliest("enqueued_at")
    both = {"path": "shop.tasks.task_6", "queue": "queue-0"}
    queries: dict[str, dict[str, Any]] = {
        "list": {},
        "page 100": {"p": 100},
        "oldest first": {"o": 7},
        "by end": {"o": -8},
        "by end, of a path": {"o": -8, "path": "shop.tasks.task_6"},
        **{f"{each} ones": {"status__exact": each} for each in TaskRecord.Status},
        "busy queue": {"queue": "queue-0"},
        "rare queue": {"queue": "retired"},
        "busy path": {"path": "shop.tasks.task_0"},
        "rare path": {"path": "shop.tasks.retired"},
        "status, queue, path": {"status__exact": "FAILED", **both},
        "status, queue, path: most": {"status__exact": "SUCCESSFUL", **both},
        "status, queue, path: none": {
            "status__exact": "SUCCESSFUL",
            "path": "shop.tasks.task_0",
            "queue": "queue-1",
        },
        "today": {"enqueued_at__gte": midnight.isoformat()},
        "past 7 days": {"enqueued_at__gte": (midnight - timedelta(days=7)).isoformat()},
        "this month": {"enqueued_at__gte": month},
        "this month's failed ones": {
            "enqueued_at__gte": month,
            "status__exact": "FAILED",
        },
        "search: id": {"q": failed.pk},
        "search: part of a busy path": {"q": "task_0"},
        "search: part of a rare path": {"q": "retired"},
        "search: part of all paths": {"q": "shop"},
        "search: full name": {"q": failed.name},
        "search: last part of a name": {"q": failed.short_name},
        "search: nothing": {"q": "no-such-name"},
    }

    def get(url: str, query: dict[str, Any]) -> Callable[[], object]:
        def call() -> None:
            assert client.get(url, query).status_code == 200

        return call

    pages = {name: get(_URL, query) for name, query in queries.items()}
    return {**pages, "task": get(f"{_URL}{failed.pk}/change/", {})}


def _actions(client: Client) -> dict[str, Callable[[], object]]:
    """Actions with all tasks of a page, without the page that follows."""

    def act(name: str, status: str, selected: int = 100) -> Callable[[], object]:
        def call() -> None:
            chosen = TaskRecord.objects.filter(status=status, cancelled_at=None)
            ids = chosen.order_by("-enqueued_at").values_list("pk", flat=True)
            data = {
                "action": name,
                "post": "yes",
                "_selected_action": list(ids[:selected]),
            }
            assert client.post(_URL, data).status_code == 302

        return call

    return {
        "cancel 100": act("cancel", "READY"),
        "retry 20": act("retry", "READY", 20),
        "redrive 100": act("redrive", "FAILED"),
        "run 100 again": act("run_again", "SUCCESSFUL"),
        "delete 100": act("delete_selected", "SUCCESSFUL"),
    }


def _passes() -> dict[str, Callable[[], object]]:
    """What the sweeper and pruning ask, with nothing to do and with some."""
    now = TaskRecord.objects.latest("enqueued_at").enqueued_at
    oldest = TaskRecord.objects.earliest("enqueued_at").enqueued_at
    return {
        "sweep": lambda: sweep(traffic.LIMIT),
        "prune: nothing": lambda: pruning.prune_some(oldest, oldest, 100),
        "prune: 100": lambda: pruning.prune_some(now, now, 100),
    }


def _measured(call: Callable[[], object]) -> tuple[float, int, float]:
    """Median milliseconds of the database, its queries and the slowest one."""
    rounds = []
    for _ in range(_ROUNDS):
        with _timed() as times:
            call()
        rounds.append(times)
    milliseconds = median(sum(times) for times in rounds)
    return milliseconds, len(rounds[-1]), max(rounds[-1])


@contextmanager
def _timed() -> Iterator[list[float]]:
    times: list[float] = []

    def execute(run: Callable[..., Any], *args: Any) -> Any:
        started = perf_counter()
        try:
            return run(*args)
        finally:
            times.append((perf_counter() - started) * 1000)

    with connection.execute_wrapper(execute):
        yield times


if __name__ == "__main__":
    main()
