"""
The pages of the documentation, and how their code runs.

Python blocks run in order, in one namespace for each page, which is the
module `shop.tasks`. The first line of a block may say otherwise:

    # settings.py     Its names in capitals override the settings.
    # urls.py         It becomes the root URLconf.
    # shop/tests.py   Its test cases run.
    # shop/auth.py    It is a module of its own, as are others in `shop`.

A block that begins with `# From Django 6.1 on` is left out on Django 6.0.

Where a page installs `cloudtask.results`, what a block enqueues has run, if
it is due, when the next one begins. Elsewhere nothing is kept of tasks.

`await` may stand anywhere. What cannot run is not marked `python`. Imports
from `django.tasks` lead to the backport where Django has no tasks.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import unittest
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

import django
from asgiref.sync import async_to_sync
from django.conf import settings
from django.test import SimpleTestCase, override_settings

from cloudtask.checks import check_cloudtask
from cloudtask.conf import get_settings
from cloudtask.transports import get_transport
from cloudtask.transports.memory import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest
    from django.core.checks import CheckMessage

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "examples/bookshop/README.md",
    ROOT / "examples/notices/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]

#: Whether Django, or the backport, has tasks.
HAS_TASKS = any(find_spec(name) for name in ("django.tasks", "django_tasks"))
#: Whether `@task` of `django.tasks` takes what a backend adds.
_TAKES_OPTIONS = django.VERSION[:2] != (6, 0)

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MEMORY = "cloudtask.transports.memory.MemoryTransport"
_MAILER = {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}
#: What every project has, and this one's settings for tests leave out.
_PROJECT = {
    "STATIC_URL": "/static/",
    **({"MAILERS": {"default": _MAILER}} if django.VERSION >= (6, 1) else {}),
}


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    page: Path
    line: int  # Of its first line of code.
    language: str
    text: str

    @property
    def name(self) -> str:
        """What its first line calls it, such as `settings.py`."""
        match = re.match(r"# (\S+\.py)\n", self.text)
        return match[1] if match else ""

    @property
    def needs_tasks(self) -> bool:
        """Whether it is about Django's tasks."""
        return re.search(r"^TASKS = |django\.tasks", self.text, re.M) is not None

    @property
    def is_understood(self) -> bool:
        """Whether this version of Django takes it as it is."""
        first = self.text.partition("\n")[0]
        return _TAKES_OPTIONS or not first.startswith("# From Django 6.1 on")

    def compile(self) -> CodeType:
        # Errors then show the page and the line in it.
        text = re.sub(
            r"from django\.tasks(\.\w+)* import",
            "from cloudtask.framework import",
            self.text,
        )
        padded = "\n" * (self.line - 1) + text
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        return compile(padded, str(self.page), "exec", flags=flags)


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(page, text.count("\n", 0, match.start()) + 2, match[1], match[2])
        for match in _FENCE.finditer(text)
    ]


class Runner:
    """Runs the blocks of one page. Use it as a context manager."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._module = ModuleType("shop.tasks")
        self._urls = ModuleType("page_urls")
        self._overrides = ExitStack()
        self._cloudtask: dict[str, Any] = {}  # As the page has it.
        self._keeps_results = False
        self._override(**_PROJECT)
        monkeypatch.setitem(sys.modules, "shop", ModuleType("shop"))
        monkeypatch.setitem(sys.modules, self._module.__name__, self._module)
        monkeypatch.setitem(sys.modules, self._urls.__name__, self._urls)

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._overrides.close()
        get_transport(get_settings())  # Closes the page's.

    def run(self, block: Block) -> None:
        self._run_by_name(block)
        if self._keeps_results:
            transport = get_transport(get_settings())
            assert isinstance(transport, MemoryTransport)
            transport.drain()

    def _run_by_name(self, block: Block) -> None:
        match block.name:
            case "settings.py":
                self._run_settings(block)
            case "urls.py":
                exec(block.compile(), vars(self._urls))  # noqa: S102 - our own page
                self._override(ROOT_URLCONF=self._urls.__name__)
            case "" | "shop/tasks.py":
                self._run(block)
            case "shop/tests.py":
                self._run(block)
                self._run_test_cases()
            case name if name.startswith("shop/"):
                self._run_module(block)
            case name:
                raise AssertionError(f"{block.page}:{block.line}: {name}?")

    def _run(self, block: Block) -> None:
        code = block.compile()
        if not code.co_flags & inspect.CO_COROUTINE:
            exec(code, vars(self._module))  # noqa: S102 - our own page
            return

        async def main() -> None:
            await eval(code, vars(self._module))  # noqa: S307 - our own page

        async_to_sync(main)()

    def _run_module(self, block: Block) -> None:
        name = block.name.removesuffix(".py").replace("/", ".")
        module = ModuleType(name)
        exec(block.compile(), vars(module))  # noqa: S102 - our own page
        self._monkeypatch.setitem(sys.modules, name, module)
        # As `from shop import auth` finds it.
        setattr(sys.modules["shop"], name.rpartition(".")[2], module)

    def _run_settings(self, block: Block) -> None:
        installed = list(settings.INSTALLED_APPS)
        names: dict[str, Any] = {"INSTALLED_APPS": []}
        exec(block.compile(), names)  # noqa: S102 - our own page
        apps = set(names.pop("INSTALLED_APPS"))
        assert apps <= set(installed)
        self._keeps_results |= "cloudtask.results" in apps
        changed = {name: value for name, value in names.items() if name.isupper()}
        self._cloudtask = changed.get("CLOUDTASK", self._cloudtask)
        defaults = {
            "TRANSPORT": _MEMORY,
            "RESULTS": "all" if self._keeps_results else "none",
        }
        changed["CLOUDTASK"] = {**defaults, **self._cloudtask}
        self._override(**changed)
        get_settings()
        found = [*check_cloudtask(), *(_check_backends() if "TASKS" in changed else [])]
        assert not [message for message in found if message.is_serious()]

    def _run_test_cases(self) -> None:
        """Run the test cases that the page has defined, once."""
        suite = unittest.TestSuite()
        for name, value in list(vars(self._module).items()):
            if _is_test_case(value) and value.__module__ == self._module.__name__:
                suite.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(value))
                delattr(self._module, name)
        assert suite.countTestCases()
        result = unittest.TestResult()
        suite.run(result)
        assert not result.errors, result.errors[0][1]
        assert not result.failures, result.failures[0][1]

    def _override(self, **changed: Any) -> None:
        self._overrides.enter_context(override_settings(**changed))


def _check_backends() -> Iterator[CheckMessage]:
    from cloudtask.framework import task_backends

    for backend in task_backends.all():
        yield from backend.check()


def _is_test_case(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, SimpleTestCase)
