"""Where Django's tasks framework comes from."""

from __future__ import annotations

import sys

from cloudtask import framework
from tests.backends.samples import FRAMEWORK
from tests.fresh import run_fresh

#: Packages that are then not to be found.
HIDE = """
import importlib.util, json, sys

find_spec = importlib.util.find_spec
importlib.util.find_spec = (
    lambda name, *args: None if name in {names!r} else find_spec(name, *args)
)
"""
SETTINGS = """
from django.conf import settings
settings.configure()
"""

BOTH = ["django.tasks", "django_tasks"]


def test_it_is_djangos_where_django_has_it() -> None:
    import django

    assert ("django.tasks" if django.VERSION >= (6,) else "django_tasks") == FRAMEWORK
    assert framework.Task.__module__ == f"{FRAMEWORK}.base"
    assert framework.task_finished is sys.modules[f"{FRAMEWORK}.signals"].task_finished
    assert framework.normalize_json((b"a",)) == ["a"]


def test_every_name_is_there() -> None:
    assert sorted(framework.__all__) == sorted(set(framework.__all__))
    for name in framework.__all__:
        assert getattr(framework, name) is not None


def test_the_backport_serves_where_django_has_none() -> None:
    names = run_fresh(
        HIDE.format(names=["django.tasks"])
        + SETTINGS
        + "from cloudtask import framework\n"
        "print(json.dumps([framework.Task.__module__, framework.InvalidTask.__name__,"
        " sorted(set(framework.__all__) - set(dir(framework)))]))"
    )

    assert names == ["django_tasks.base", "InvalidTaskError", []]


def test_without_either_it_is_said_what_to_install() -> None:
    message = run_fresh(
        HIDE.format(names=BOTH)
        + SETTINGS
        + "try:\n    from cloudtask.backends import CloudTasksBackend\n"
        "except ImportError as error:\n    print(json.dumps(str(error)))"
    )

    assert message == (
        "Django has tasks from version 6.0 on. For this one install the backport: "
        "pip install 'dj-cloudtask[backport]'."
    )


def test_our_own_tasks_need_no_framework() -> None:
    code = (
        HIDE.format(names=BOTH)
        + """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
import django
django.setup()
from django.core import checks
from django.test import Client
from cloudtask.testing import memory_queue
from tests.tasks import add, ran
from tests.security.sending import payload, send_wsgi

with memory_queue() as queue:
    add(1, 2).delay()
    queue.drain()
secret = {"X-Task-Secret": "a secret for tests of 32 bytes.."}
status = send_wsgi(secret, payload(args=[3, 4])).status
refused = send_wsgi({**secret, "X-Task-Backend": "default"}, payload()).status
told = [m.id for m in checks.run_checks() if not m.is_silenced()]
loaded = [name for name in sys.modules if name.startswith(("cloudtask.framework",
    "cloudtask.backends"))]
print(json.dumps([ran, status, refused, told, loaded]))
"""
    )
    ran, status, refused, told, loaded = run_fresh(code)

    assert ran == [["add", 1, 2], ["add", 3, 4]]
    assert (status, refused) == (200, 403)
    assert told == loaded == []


def test_what_enqueues_nothing_does_not_load_googles_packages() -> None:
    code = """
import json, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
import django
django.setup()
from django.test import override_settings
from tests.backends.samples import TASKS
with override_settings(TASKS=TASKS):
    from tests.backends import tasks
    from cloudtask.framework import task_backends
    task_backends["default"].check()
print(json.dumps([name for name in ("grpc", "google.cloud") if name in sys.modules]))
"""
    assert run_fresh(code) == []
