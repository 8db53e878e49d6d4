"""A crontab becomes code."""

from __future__ import annotations

from typing import Any

import pytest

from cloudtask.planning import declarations
from cloudtask.schedules.models import ScheduledTask
from tests.schedules_admin.samples import count
from tests.schedules_importers.running import Import

CRONTAB = """\
# What the shop does at night.
MAILTO=admin@shop.example
PATH = "/usr/bin:/bin"

0 3 * * *    cd /srv/shop && /srv/venv/bin/python manage.py clearsessions
@daily  /srv/shop/manage.py report --shop "Bern West" >> /var/log/report.log 2>&1
CRON_TZ=Europe/Zurich
30 8\t1 JAN,jul *  DJANGO_SETTINGS_MODULE=shop.settings django-admin report zurich
*/15 * * * * python3 manage.py clearsessions
"""

CODE = """\
from django.core.management import call_command

from cloudtask import schedule, task


# clearsessions
@schedule("0 3 * * *", timezone="America/Chicago", name="clearsessions")
@schedule("*/15 * * * *", timezone="Europe/Zurich", name="clearsessions (2)")
@task
def clearsessions(request):
    call_command("clearsessions")


# report
@schedule("0 0 * * *", timezone="America/Chicago", name="report --shop Bern West")
@task
def report(request):
    call_command("report", "--shop", "Bern West")


# report
@schedule("30 8 1 JAN,JUL *", timezone="Europe/Zurich", name="report zurich")
@task
def report_2(request):
    call_command("report", "zurich")
"""


def test_lines_become_tasks_that_call_their_commands(importing: Import) -> None:
    told = importing("crontab", CRONTAB)

    assert told.out == CODE
    assert (told.errors, told.failure) == ([], None)


def test_the_code_declares_its_schedules(
    importing: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_declared", "_problems"):
        monkeypatch.setattr(declarations, name, {})
    monkeypatch.setattr("cloudtask.enqueue.registry.register", lambda task: None)
    code = importing("crontab", CRONTAB).out
    namespace: dict[str, Any] = {"__name__": "shop.tasks"}

    exec(compile(code, "tasks.py", "exec"), namespace)  # noqa: S102

    assert not declarations.list_problems()
    assert [
        (each.name, each.plan.cron.text, each.plan.zone.key, each.task.path[11:])
        for each in declarations.list_declared()
    ] == [
        ("clearsessions", "0 3 * * *", "America/Chicago", "clearsessions"),
        ("clearsessions (2)", "*/15 * * * *", "Europe/Zurich", "clearsessions"),
        ("report --shop Bern West", "0 0 * * *", "America/Chicago", "report"),
        ("report zurich", "30 8 1 JAN,JUL *", "Europe/Zurich", "report_2"),
    ]


SHELL = "it needs a shell. Make a task of what it does, and schedule that."
OTHER = "it does not run manage.py. Make a task of what it does, and schedule that."


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("@reboot manage.py serve", "@reboot is not a time."),
        ("0 3 * *", "it is not five fields and a command."),
        ("@daily", "it is not five fields and a command."),
        ("0 3 * * * /usr/bin/backup", OTHER),
        ("0 3 * * * root manage.py clearsessions", OTHER),
        ("0 3 * * * python manage.py", OTHER),
        ("0 3 * * * A=1", OTHER),
        ("0 3 * * * manage.py a | mail -s x y", SHELL),
        ("0 3 * * * manage.py a && manage.py b", SHELL),
        ("0 3 * * * cd $HOME && manage.py a", SHELL),
        ("0 3 * * * manage.py a $(date)", SHELL),
        ("0 3 * * * manage.py a %x", SHELL),
        ("0 3 * * * manage.py a 'b", "a quotation in it does not end."),
        (
            "0 3 */2 * MON manage.py a",
            "'*/2' and 'MON' mean days that match both for cron, and days that match "
            "either here. Write a list of days.",
        ),
    ],
)
def test_what_has_no_equal_is_told_with_its_line(
    importing: Import, line: str, reason: str
) -> None:
    told = importing("crontab", f"# first\n{line}\n0 4 * * * manage.py b\n")

    assert told.errors == [f"line 2: {reason}"]
    assert told.failure == "1 schedules are not taken over."
    assert 'call_command("b")' in told.out
    assert '"a"' not in told.out


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0 25 * * * manage.py a", "hour"),
        ("5/15 * * * * manage.py a", "has a step without a range"),
        ("TZ=Europe/Nowhere\n0 3 * * * manage.py a", "'Europe/Nowhere' is not"),
        (f"0 3 * * * manage.py a{'a' * 300}", "its name is not a line of 1 to 255"),
    ],
)
def test_what_our_cron_refuses_is_told(
    importing: Import, line: str, reason: str
) -> None:
    told = importing("crontab", line)

    [error] = told.errors
    assert error.startswith("line ")
    assert reason in error
    assert told.out == ""


def test_both_restricted_days_mean_either_as_in_cron(importing: Import) -> None:
    told = importing("crontab", "0 3 1 * MON manage.py a", "--timezone=UTC")

    assert '@schedule("0 3 1 * MON", timezone="UTC", name="a")' in told.out


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("2fa-clean", "task_2fa_clean"),
        ("class", "task_class"),
        ("task", "task_2"),
        ("schedule", "schedule_2"),
        ("update_index", "update_index"),
    ],
)
def test_a_function_has_a_name_that_python_takes(
    importing: Import, word: str, name: str
) -> None:
    code = importing("crontab", f"0 3 * * * manage.py {word}").out

    assert f"def {name}(request):\n" in code
    compile(code, "tasks.py", "exec")


@pytest.mark.django_db_backend
@pytest.mark.django_db
def test_lines_become_rows_of_the_tasks_they_are_mapped_to(importing: Import) -> None:
    text = "0 3 * * * manage.py count_stock bern\n0 4 * * * manage.py other\n"

    told = importing("crontab", text, "--rows", f"--map=count_stock={count.path}")

    [row] = ScheduledTask.objects.all()
    assert (row.name, row.path) == ("count_stock bern", count.path)
    assert row.arguments == '{"args":["bern"],"kwargs":{}}'
    assert told.out == "1 schedules kept.\n"
    assert told.errors == [
        "line 2: no task that may be scheduled is called 'other'. Say @schedulable "
        "above its @task, or which one it is by --map other=PATH."
    ]


def test_a_file_that_cannot_be_read_is_told(importing: Import) -> None:
    told = importing("crontab", b"\xff")
    assert told.failure is not None
    assert told.failure.startswith("FILE: 'utf-8' codec can't decode")

    told = importing.run("crontab", "/no/such/file")
    assert told.failure is not None
    assert "No such file" in told.failure


@pytest.mark.parametrize("pair", ["a", "=a", "a="])
def test_a_map_is_a_pair(importing: Import, pair: str) -> None:
    with pytest.raises(SystemExit):
        importing("crontab", "", "--rows", f"--map={pair}")
