"""
A Django project that is written by a test, from the text of a README.

It enqueues through Google's client to the emulator, which dispatches to the
project, live.
"""

from __future__ import annotations

import importlib
import json
import threading
from base64 import urlsafe_b64decode
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from django.conf import settings as django_settings
from django.test import override_settings

from cloudtask import transports
from cloudtask.backends import CloudTasksBackend
from cloudtask.emulator import Emulator
from cloudtask.framework import Task, task_backends, task_finished
from tests.live import Live, live

PACKAGE = "seedproject"
#: Stands in a project's text for where it is served: `http://host:port`.
ORIGIN = "https://origin.invalid"
#: Django's own framework, or the backport, whose names are the same.
FRAMEWORK = Task.__module__.rpartition(".")[0]
#: Keys that connect a project with an emulator.
_CONNECTION = ("TRANSPORT", "EMULATOR_HOST", "EMULATOR_HTTP_HOST")


@dataclass
class Project:
    """The project, and what became of its tasks."""

    root: Path
    stack: ExitStack
    finished: list[Any] = field(default_factory=list)  # Task results.
    _live: list[Live] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def module(self, name: str, source: str) -> ModuleType:
        """Write a module of the project and import it."""
        text = source.replace("from django.tasks ", f"from {FRAMEWORK} ")
        text = text.replace(ORIGIN, self.live.origin)
        (self.root / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        return importlib.import_module(f"{PACKAGE}.{name}")

    def start(
        self,
        settings: str,
        urls: str,
        *queues: str,
        project: str,
        location: str,
        **cloudtask: Any,
    ) -> None:
        """
        Run the project.

        Args:
            settings: Its settings: INSTALLED_APPS and TASKS.
            urls: Its URLconf.
            queues: Declarations of the emulator's queues.
            project: Where the queues are.
            location: Where the queues are.
            cloudtask: Keys of CLOUDTASK, which the README does not set.
        """
        self._live.append(
            self.stack.enter_context(live(*queues, PROJECT=project, LOCATION=location))
        )
        # What they were made of is gone before the emulator is.
        self.stack.callback(_close_transports)
        connection = {key: django_settings.CLOUDTASK[key] for key in _CONNECTION}
        module = self.module("settings", settings)
        self.module("urls", urls)
        installed = getattr(module, "INSTALLED_APPS", ["cloudtask"])
        if "URL" in cloudtask:
            cloudtask["URL"] = cloudtask["URL"].replace(ORIGIN, self.live.origin)
        self.stack.enter_context(
            override_settings(
                CLOUDTASK=connection | cloudtask,
                INSTALLED_APPS=[*installed, PACKAGE],
                ROOT_URLCONF=f"{PACKAGE}.urls",
                TASKS=module.TASKS,
            )
        )
        task_finished.connect(self._keep)
        self.stack.callback(task_finished.disconnect, self._keep)

    @property
    def live(self) -> Live:
        return self._live[0]

    @property
    def emulator(self) -> Emulator:
        return self.live.emulator

    @property
    def returned(self) -> list[Any]:
        """What the tasks have returned, in the order in which they ended."""
        return [result.return_value for result in self.finished]

    def run(self, source: str, name: str = "example") -> ModuleType:
        """Run an example, and what it enqueues to its end."""
        module = self.module(name, source)
        self.live.finish()
        # Until every answer is recorded, too.
        self.emulator.drain()
        return module

    def backend(self, alias: str = "default") -> CloudTasksBackend:
        backend = task_backends[alias]
        assert isinstance(backend, CloudTasksBackend)
        return backend

    def _keep(self, task_result: Any, **kwargs: Any) -> None:
        with self._lock:
            self.finished.append(task_result)


def claims_of(authorization: str) -> dict[str, Any]:
    """What the token of a dispatch says. It was verified by the view."""
    segment = authorization.removeprefix("Bearer ").split(".")[1]
    claims = json.loads(urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    assert isinstance(claims, dict)
    return claims


def _close_transports() -> None:
    for _, transport in list(transports._open.values()):
        transport.close()
    transports._open.clear()
