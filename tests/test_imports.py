"""What is loaded, and when; and what the package never does."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cloudtask
from tests.fresh import run_fresh

PACKAGE = Path(cloudtask.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))

#: What only enqueueing to Google, or verifying a token, needs.
HEAVY = ("grpc", "google.cloud", "google.api_core", "google.auth", "google.protobuf")

BARE = """
import json, sys
import {module}
print(json.dumps([*sys.modules]))
"""

EXECUTE = """
import asyncio, json, sys
import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["cloudtask", "tests"],
    ROOT_URLCONF="tests.urls",
    CLOUDTASK={
        "PROJECT": "shop",
        "LOCATION": "europe-west1",
        "SAE": "tasks@shop.iam.gserviceaccount.com",
        "SECRET": "a secret for tests of 32 bytes..",
        "URL": "https://shop.example/_tasks/",
    },
)
django.setup()

from django.core import checks
from django.test import AsyncClient, Client

from tests import tasks


def request(task, *args):
    body = {
        "v": 1,
        "id": "0" * 32,
        "task": task,
        "kind": "cloudtask",
        "args": args,
        "kwargs": {},
        "enqueued_at": "2026-01-31T12:00:00+00:00",
    }
    return {
        "path": "/_tasks/",
        "data": json.dumps(body),
        "content_type": "application/json",
        "headers": {"X-Task-Secret": settings.CLOUDTASK["SECRET"]},
    }


assert checks.run_checks() == []
statuses = [
    Client().post(**request("tests.tasks.add", 1, 2)).status_code,
    asyncio.run(AsyncClient().post(**request("tests.tasks.aadd", 3, 4))).status_code,
    Client().post(**request("tests.tasks.fail", "as meant")).status_code,
]
print(json.dumps({"statuses": statuses, "ran": tasks.ran, "modules": [*sys.modules]}))
"""

EVERY_MODULE = """
import json, pkgutil, sys
from importlib import import_module

import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "cloudtask",
        "cloudtask.results",
    ],
)
django.setup()

import cloudtask

skipped = (
    "cloudtask.transports.google", "cloudtask.emulator", "cloudtask.management",
    *(
        f"cloudtask.schedules.engines.cloud_scheduler.{module}"
        for module in ("client", "errors", "messages", "wanted")
    ),
)
imported = []


def load(package):
    # Not by walk_packages(), which loads the packages that are skipped.
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if not module.name.startswith(skipped):
            loaded = import_module(module.name)
            imported.append(module.name)
            if module.ispkg:
                load(loaded)


load(cloudtask)
print(json.dumps({"imported": imported, "modules": [*sys.modules]}))
"""


def loaded(modules: list[str], packages: tuple[str, ...]) -> list[str]:
    """Those of the modules that belong to one of the packages."""
    return [
        name
        for name in modules
        if any(name == p or name.startswith(f"{p}.") for p in packages)
    ]


# What is loaded


def test_the_package_alone_costs_next_to_nothing() -> None:
    modules = run_fresh(BARE.format(module="cloudtask"))

    assert loaded(modules, ("cloudtask",)) == ["cloudtask"]
    assert loaded(modules, (*HEAVY, "asyncio", "django")) == []


def test_a_process_that_only_executes_loads_no_client() -> None:
    result = run_fresh(EXECUTE)

    assert result["statuses"] == [200, 200, 500]
    assert result["ran"] == [["add", 1, 2], ["aadd", 3, 4], ["fail", "as meant"]]
    # Nor the app of results, which is not installed.
    assert loaded(result["modules"], (*HEAVY, "cloudtask.results")) == []


def test_no_module_but_the_transport_and_the_emulator_loads_a_client() -> None:
    result = run_fresh(EVERY_MODULE)

    assert {"cloudtask.auth", "cloudtask.enqueue.tasks", "cloudtask.views"} <= {
        *result["imported"]
    }
    assert loaded(result["modules"], HEAVY) == []


def test_the_emulator_stands_alone() -> None:
    modules = run_fresh(BARE.format(module="cloudtask.emulator"))

    ours = loaded(modules, ("cloudtask",))
    assert set(ours) - set(loaded(modules, ("cloudtask.emulator",))) == {"cloudtask"}
    assert loaded(modules, ("django", *HEAVY)) == []


def test_the_running_emulator_loads_nothing_else_of_the_package() -> None:
    modules = run_fresh(BARE.format(module="cloudtask.emulator.embedded"))

    ours = loaded(modules, ("cloudtask",))
    # The slots of its jobs are those of schedules.
    own = loaded(modules, ("cloudtask.emulator", "cloudtask.cron"))
    assert set(ours) - set(own) == {"cloudtask"}
    assert loaded(modules, ("django",)) == []


# What no module does

Find = Callable[[ast.AST], Iterator[str]]

#: Loaders that run what they read.
UNSAFE_MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "yaml"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__"}
#: Where a name from outside the source is imported, by which function: the
#: names of __all__, the modules of IMPORTS, and the classes that settings
#: name. Never what a payload says. `_load_framework` names its two modules,
#: and `get_all_rows` those of the optional apps of this package.
DYNAMIC_IMPORTS = {
    "__init__.py": {("__getattr__", "import_module")},
    "apps.py": {
        ("_import_modules", "import_module"),
        ("_load_framework", "import_module"),
    },
    "conf/classes.py": {("load_class", "import_string")},
    "conf/table.py": {("get_all_rows", "import_module")},
}


def unsafe_imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        yield from (n for n in names if n.partition(".")[0] in UNSAFE_MODULES)


def unsafe_calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in UNSAFE_CALLS:
            yield node.id


def compared_secrets(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(
            isinstance(operator, (ast.Eq, ast.NotEq)) for operator in node.ops
        ):
            text = ast.unparse(node)
            if "secret" in text.lower():
                yield text


def sleeps(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (alias.name for alias in node.names if alias.name == "sleep")
        elif isinstance(node, ast.Attribute) and node.attr == "sleep":
            called = ast.unparse(node)
            # This one holds up nobody.
            yield from [called] if called != "asyncio.sleep" else []


def other_clocks(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (alias.name for alias in node.names if alias.name == "time")
        elif isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            asked = ("datetime.now", "datetime.utcnow", "timezone.now", "time.time")
            yield from [name] if name.endswith(asked) else []


def dynamic_imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        name = getattr(node, "id", None) or getattr(node, "attr", None)
        if name in ("import_module", "import_string", "run_module", "run_path"):
            yield str(name)


def places_of_dynamic_imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for statement in tree.body:
        place = getattr(statement, "name", "the module")
        yield from ((place, name) for name in dynamic_imports(statement))


@pytest.mark.parametrize(
    ("find", "source"),
    [
        (unsafe_imports, "import pickle"),
        (unsafe_imports, "def f():\n    from yaml.loader import Loader"),
        (unsafe_imports, "import json, marshal as m"),
        (unsafe_calls, "eval('1')"),
        (unsafe_calls, "run = exec"),
        (compared_secrets, "if sent == secret: pass"),
        (compared_secrets, "if sent != self.settings.SECRET: pass"),
        (compared_secrets, "raw['SECRET'] == sent"),
        (compared_secrets, "any(sent == s for s in x) or secrets()[0] == y"),
        (sleeps, "from time import sleep"),
        (sleeps, "import time\ntime.sleep(1)"),
        (other_clocks, "from time import monotonic, time"),
        (other_clocks, "time.time()"),
        (other_clocks, "datetime.now(UTC)"),
        (other_clocks, "django.utils.timezone.now()"),
        (dynamic_imports, "import_string(path)"),
        (dynamic_imports, "importlib.import_module(path)"),
    ],
)
def test_what_is_forbidden_would_be_found(find: Find, source: str) -> None:
    assert list(find(ast.parse(source)))


@pytest.mark.parametrize(
    "find", [unsafe_imports, unsafe_calls, compared_secrets, sleeps]
)
def test_no_module_does_what_is_forbidden(find: Find) -> None:
    found: dict[str, Any] = {
        str(path.relative_to(PACKAGE)): list(find(ast.parse(path.read_text())))
        for path in SOURCES
    }

    assert len(found) > 30
    assert {path: names for path, names in found.items() if names} == {}


def test_one_module_alone_asks_what_time_it_is() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in SOURCES
        if any(other_clocks(ast.parse(path.read_text())))
    }

    assert {each for each in found if not each.startswith("emulator/")} == {
        "conf/clock.py"
    }


def test_only_settings_and_public_names_are_imported_by_name() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix(): set(
            places_of_dynamic_imports(ast.parse(path.read_text()))
        )
        for path in SOURCES
    }

    assert {path: names for path, names in found.items() if names} == DYNAMIC_IMPORTS


def test_the_framework_is_imported_by_a_name_in_the_source() -> None:
    tree = ast.parse((PACKAGE / "apps.py").read_text())
    (load,) = (n for n in tree.body if getattr(n, "name", "") == "_load_framework")
    calls = [ast.unparse(n) for n in ast.walk(load) if isinstance(n, ast.Call)]

    assert [call for call in calls if "import_module(" in call] == [
        "import_module('cloudtask.framework')",
        "import_module('cloudtask.backends.kind')",
    ]
