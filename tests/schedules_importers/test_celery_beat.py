"""Schedules of Celery become code and rows."""

from __future__ import annotations

from typing import Any

import pytest

from cloudtask.planning import declarations
from cloudtask.schedules.arguments import read_arguments
from cloudtask.schedules.models import ScheduledTask
from tests.schedules_admin.samples import count, not_for_people, report
from tests.schedules_importers.running import Import


def row(model: str, pk: int, **fields: Any) -> dict[str, Any]:
    return {"model": f"django_celery_beat.{model}", "pk": pk, "fields": fields}


def crontab(pk: int = 1, **fields: Any) -> dict[str, Any]:
    """A row as `dumpdata` writes it."""
    standard = {
        "minute": "0",
        "hour": "3",
        "day_of_week": "*",
        "day_of_month": "*",
        "month_of_year": "*",
        "timezone": "UTC",
    }
    return row("crontabschedule", pk, **{**standard, **fields})


def interval(every: Any, period: Any, pk: int = 1) -> dict[str, Any]:
    return row("intervalschedule", pk, every=every, period=period)


def periodic(pk: int = 1, **fields: Any) -> dict[str, Any]:
    standard = {
        "name": f"schedule {pk}",
        "task": "shop.tasks.add",
        "interval": None,
        "crontab": 1,
        "solar": None,
        "clocked": None,
        "args": "[]",
        "kwargs": "{}",
        "queue": None,
        "exchange": None,
        "routing_key": None,
        "headers": "{}",
        "priority": None,
        "expires": None,
        "expire_seconds": None,
        "one_off": False,
        "start_time": None,
        "enabled": True,
        "last_run_at": "2026-01-31T03:00:00Z",
        "total_run_count": 7,
        "date_changed": "2026-01-31T03:00:00Z",
        "description": "",
    }
    return row("periodictask", pk, **{**standard, **fields})


DUMP = [
    crontab(1, minute="0,30", hour="8-18/2", day_of_week="mon, tue,Wednesday"),
    crontab(2, timezone="Europe/Zurich", month_of_year="1,7", day_of_month="1"),
    interval(15, "minutes"),
    row("solarschedule", 1, event="sunset", latitude="47.0", longitude="8.0"),
    row("clockedschedule", 1, clocked_time="2026-02-01T00:00:00Z"),
    row("periodictasks", 1, last_update="2026-01-31T03:00:00Z"),
    periodic(1, name="work hours", args='[1, "a\\n\\"b\\""]', kwargs='{"c": null}'),
    periodic(
        2,
        name="twice a year",
        crontab=2,
        kwargs='{"c": {"d": [true, 1.5]}, "text": "' + "long " * 20 + '"}',
        start_time="2026-01-01T00:00:00Z",
        expires="2027-01-01T00:00:00",
    ),
    periodic(
        3,
        name="quarters",
        task="shop.tasks.look",
        crontab=None,
        interval=1,
        queue="fast",
        priority=3,
        headers='{"a": 1}',
        expire_seconds=60,
    ),
    periodic(4, name="off", enabled=False),
    periodic(5, name="once", one_off=True),
    periodic(6, name="at noon", crontab=None, clocked=1),
    periodic(7, name="at dusk", crontab=None, solar=1),
]

CODE = f"""\
from datetime import datetime

from cloudtask import schedule, task


# shop.tasks.add
@schedule(
    "0,30 8-18/2 * * MON,TUE,WED",
    timezone="UTC",
    name="work hours",
    args=[1, 'a\\n"b"'],
    kwargs={{"c": None}},
)
@schedule(
    "0 3 1 1,7 *",
    timezone="Europe/Zurich",
    name="twice a year",
    kwargs={{
        "c": {{"d": [True, 1.5]}},
        "text": "{"long " * 20}",
    }},
    starts=datetime.fromisoformat("2026-01-01T00:00:00+00:00"),
    ends=datetime.fromisoformat("2027-01-01T00:00:00+00:00"),
)
@task
def add(request, *args, **kwargs): ...


# shop.tasks.look
# quarters: expire_seconds is left out: runs do not expire: see catch_up=.
# quarters: queue is left out: give the task its queue.
# quarters: priority is left out: give the task its priority.
# quarters: headers are left out: give them to the task.
@schedule("*/15 * * * *", timezone="UTC", name="quarters")
@task
def look(request, *args, **kwargs): ...
"""


def test_a_dump_becomes_code(importing: Import) -> None:
    told = importing("celery-beat", DUMP)

    assert told.out == CODE
    assert told.errors == [
        "'off': it is switched off, and left out.",
        "'once': it runs once. Enqueue its task for that time.",
        "'at noon': it runs once. Enqueue its task for that time.",
        "'at dusk': it follows the sun.",
    ]
    assert told.failure == "3 schedules are not taken over."


def test_the_code_declares_its_schedules(
    importing: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_declared", "_problems"):
        monkeypatch.setattr(declarations, name, {})
    monkeypatch.setattr("cloudtask.enqueue.registry.register", lambda task: None)
    code = importing("celery-beat", DUMP).out

    exec(compile(code, "tasks.py", "exec"), {"__name__": "shop.tasks"})  # noqa: S102

    assert not declarations.list_problems()
    declared = {each.name: each for each in declarations.list_declared()}
    assert declared["work hours"].args == (1, 'a\n"b"')
    assert declared["work hours"].kwargs == {"c": None}
    assert declared["twice a year"].plan.ends is not None
    assert declared["quarters"].task.path == "shop.tasks.look"


SETTINGS = {
    "each minute": {"task": "shop.tasks.add", "schedule": 60.0, "args": [1]},
    "at night": {
        "task": "shop.tasks.add",
        "schedule": {"minute": 0, "hour": [3, 15], "day_of_week": "sunday"},
        "kwargs": {"a": 1},
        "options": {"expires": 30, "queue": "fast"},
    },
    "as text": {"task": "shop.tasks.add", "schedule": "5 4 * * *", "options": None},
}


def test_settings_become_code(importing: Import) -> None:
    told = importing("celery-beat", SETTINGS, "--timezone", "Europe/Zurich")

    assert told.failure is None
    assert told.out.splitlines()[2:] == [
        "",
        "# shop.tasks.add",
        "# at night: expire_seconds is left out: runs do not expire: see catch_up=.",
        "# at night: queue is left out: give the task its queue.",
        "@schedule("
        '"* * * * *", timezone="Europe/Zurich", name="each minute", args=[1])',
        '@schedule("0 3,15 * * SUN", timezone="Europe/Zurich", name="at night", '
        'kwargs={"a": 1})',
        '@schedule("5 4 * * *", timezone="Europe/Zurich", name="as text")',
        "@task",
        "def add(request, *args, **kwargs): ...",
    ]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (7, "it is not an object."),
        ({"task": "a", "schedule": 60, "options": 7}, "its options are not an object."),
        ({"schedule": 60}, "its task is not a line of 1 to 500 characters."),
        ({"task": "a\nb", "schedule": 60}, "its task is not a line of 1 to 500"),
        ({"task": "a"}, "its schedule is not a number of seconds"),
        ({"task": "a", "schedule": True}, "its schedule is not a number of seconds"),
        ({"task": "a", "schedule": {"x": 1}}, "its schedule is not a number"),
        ({"task": "a", "schedule": 45}, "every=datetime.timedelta(seconds=45) must be"),
        ({"task": "a", "schedule": 5400}, "every=datetime.timedelta(seconds=5400)"),
        ({"task": "a", "schedule": 1e300}, "1e+300 seconds is not an interval."),
        ({"task": "a", "schedule": 60, "args": {"a": 1}}, "its args are not of"),
        ({"task": "a", "schedule": 60, "kwargs": [1]}, "its kwargs are not of"),
        ({"task": "a", "schedule": 60, "args": ["\ud800"]}, "The arguments"),
        ({"task": "a", "schedule": "0 25 * * *"}, "The hour '25' at position 2"),
        (
            {"task": "a", "schedule": {"day_of_month": "1-7", "day_of_week": "1"}},
            "'1-7' and '1' mean days that match both for Celery, and days that match "
            "either here.",
        ),
    ],
)
def test_what_settings_have_without_an_equal_is_told(
    importing: Import, entry: Any, reason: str
) -> None:
    told = importing("celery-beat", {"nightly": entry})

    [error] = told.errors
    assert error.startswith(f"'nightly': {reason}")
    assert told.out == ""
    assert told.failure == "1 schedules are not taken over."


@pytest.mark.parametrize(
    ("fields", "more", "reason"),
    [
        ({"crontab": None}, [], "it has no schedule."),
        ({"crontab": 2}, [], "its crontab is not in the file."),
        ({"crontab": [1]}, [], "its crontab is not in the file."),
        ({"name": 7}, [], "its name is not a line of 1 to 255 characters."),
        ({"args": "no JSON"}, [], "its args are not JSON."),
        ({"args": "[NaN]"}, [], "its args are not JSON."),
        ({"args": "[1e999]"}, [], "The arguments"),
        ({"args": 7}, [], "its args are not JSON."),
        ({"kwargs": "[]"}, [], "its kwargs are not of the right form."),
        ({"expires": "never"}, [], "its expires is not a time."),
        ({"start_time": 7}, [], "its start_time is not a time."),
        (
            {"crontab": None, "interval": 1},
            [interval(7, "minutes")],
            "every=datetime.timedelta(seconds=420) must be",
        ),
        (
            {"crontab": None, "interval": 1},
            [interval("x", "minutes")],
            "'x' minutes is not an interval.",
        ),
        (
            {"crontab": None, "interval": 1},
            [interval(1, "weeks")],
            "1 weeks is not an interval.",
        ),
    ],
)
def test_what_a_dump_has_without_an_equal_is_told(
    importing: Import, fields: dict[str, Any], more: list[Any], reason: str
) -> None:
    told = importing("celery-beat", [crontab(), *more, periodic(**fields)])

    [error] = told.errors
    assert error.split(": ", 1)[1].startswith(reason)


def test_empty_arguments_are_none(importing: Import) -> None:
    dump = [
        crontab(minute="", timezone=None),
        periodic(args="", kwargs="", headers=None),
    ]

    told = importing("celery-beat", dump)

    assert told.failure is None
    assert '@schedule("* 3 * * *", timezone="UTC", name="schedule 1")' in told.out


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("no JSON", "The file is not JSON."),
        ("[" * 100_000, "The file is not JSON."),
        ('{"a": NaN}', "The file is not JSON."),
        ("7", "The file is neither a dump of django_celery_beat"),
        ("[7]", "The file is neither a dump of django_celery_beat"),
        ('[{"model": 1, "fields": {}}]', "The file is neither a dump"),
        ('[{"model": "a", "fields": 1}]', "The file is neither a dump"),
    ],
)
def test_another_file_is_told(importing: Import, content: str, problem: str) -> None:
    told = importing("celery-beat", content)

    assert told.failure is not None
    assert told.failure.startswith(f"FILE: {problem}")
    assert told.out == ""


def test_nothing_is_no_code(importing: Import) -> None:
    assert importing("celery-beat", []) == ("", [], None)


ROWS = [
    crontab(),
    periodic(1, name="stock", task="old.tasks.count", args='["bern"]'),
    periodic(2, name="report", task=report.module_path, kwargs='{"shop": "x"}'),
    periodic(3, name="off", task=count.path, args='["x"]', enabled=False, queue="q"),
    periodic(4, name="closed", task=not_for_people.path),
    periodic(5, name="unfit", task=count.path, kwargs='{"no_such": 1}'),
]


@pytest.mark.django_db_backend
@pytest.mark.django_db
def test_a_dump_becomes_rows(importing: Import) -> None:
    told = importing(
        "celery-beat", ROWS, "--rows", f"--map=old.tasks.count={count.path}"
    )

    rows = {each.name: each for each in ScheduledTask.objects.all()}
    assert sorted(rows) == ["off", "report", "stock"]
    stock, off = rows["stock"], rows["off"]
    assert (stock.path, stock.cron, stock.time_zone) == (count.path, "0 3 * * *", "UTC")
    assert read_arguments(stock.arguments) == (["bern"], {})
    assert not stock.is_paused
    assert off.is_paused
    assert rows["report"].kind == "django"
    assert told.out == "3 schedules kept.\n"
    assert told.errors[0] == "'off': queue is left out: give the task its queue."
    assert told.errors[1].startswith(
        "'closed': no task that may be scheduled is called"
    )
    assert told.errors[2].startswith("'unfit': ")
    assert told.failure == "2 schedules are not taken over."


@pytest.mark.django_db_backend
@pytest.mark.django_db
def test_a_dry_run_keeps_nothing(importing: Import) -> None:
    arguments = ("--rows", f"--map=old.tasks.count={count.path}", "--dry-run")

    told = importing("celery-beat", ROWS, *arguments)

    assert told.out == "3 schedules would be kept.\n"
    assert not ScheduledTask.objects.exists()


@pytest.mark.django_db_backend
@pytest.mark.django_db
def test_a_second_import_changes_the_rows_of_the_first(importing: Import) -> None:
    dump = [crontab(), periodic(1, task=count.path, args='["a"]')]
    importing("celery-beat", dump, "--rows")

    importing("celery-beat", [crontab(hour="4"), dump[1]], "--rows")

    assert ScheduledTask.objects.get().cron == "0 4 * * *"


@pytest.mark.django_db_backend
@pytest.mark.django_db
def test_a_path_of_two_tasks_is_told(
    importing: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    [task] = [t for t in declarations.list_schedulable() if t.path == count.path]
    twice = {("a", "", None): task, ("b", "", None): task}
    monkeypatch.setattr(declarations, "_schedulable", twice)

    told = importing("celery-beat", [crontab(), periodic(task=count.path)], "--rows")

    assert told.errors == [
        f"'schedule 1': several tasks are called {count.path!r}. Give one another path."
    ]
