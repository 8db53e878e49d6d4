"""`manage.py cloudtask emulator`."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.test import override_settings
from google.cloud.tasks_v2 import CloudTasksClient
from google.cloud.tasks_v2.services.cloud_tasks.transports import (
    CloudTasksGrpcTransport,
)

from cloudtask.actions import Action, find_actions
from cloudtask.conf import Settings
from cloudtask.conf.queues import QueueConfig
from cloudtask.emulator import commandline
from cloudtask.emulator.arguments.values import resolve
from cloudtask.emulator.tasks.declarations import parse_queue
from cloudtask.framework import BaseTaskBackend
from cloudtask.management.declarations import (
    get_emulator_defaults,
    iterate_declarations,
)
from cloudtask.wire.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.core.management.base import OutputWrapper

#: Where the framework's own backends are.
_BACKENDS = BaseTaskBackend.__module__.rpartition(".")[0]

QUEUES = {
    "emails": QueueConfig(
        max_dispatches_per_second=5,
        max_concurrent_dispatches=2,
        retry=RetryPolicy(max_attempts=3, min_backoff=timedelta(seconds=0.5)),
    ),
    "plain": QueueConfig(),
}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # Nothing is set: the emulator has its own default.
        (Settings(), []),
        (Settings(queue="default"), ["default"]),
        # Aliases and priorities name queues, too; each comes once.
        (
            Settings(
                queue="default",
                queue_aliases={"mail": "emails", "default": "main"},
                priority_queues={0: "default", 50: "urgent"},
            ),
            ["emails", "main", "urgent"],
        ),
        (
            Settings(queues=QUEUES),
            [
                "emails:max_dispatches_per_second=5,max_concurrent_dispatches=2,"
                "max_attempts=3,min_backoff=0.5",
                "plain",
            ],
        ),
    ],
)
def test_every_queue_of_the_settings_is_declared(
    settings: Settings, expected: list[str]
) -> None:
    declared = list(iterate_declarations(settings))

    assert declared == expected
    for text in declared:
        parse_queue(text)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(), {}),
        (
            Settings(project="shop", location="europe-west1", queue="default"),
            {"project": "shop", "location": "europe-west1", "queues": ["default"]},
        ),
        (
            Settings(
                emulator_host="127.0.0.1:9000", emulator_http_host="127.0.0.1:9100"
            ),
            {"host": "127.0.0.1", "port": 9000, "http_port": 9100},
        ),
    ],
)
def test_the_settings_are_the_emulators_defaults(
    settings: Settings, expected: dict[str, Any]
) -> None:
    assert get_emulator_defaults(settings) == expected


def test_the_options_reach_the_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[argparse.Namespace, dict[str, Any]]] = []
    monkeypatch.setattr(commandline, "run", lambda *args: seen.append(args) or 0)

    call_command(
        *("cloudtask", "emulator", "--port", "9001"),
        *("--queue", "other", "--queue", "default:max_attempts=2"),
    )

    ((options, implied),) = seen
    values = resolve(vars(options), implied)
    assert values["port"] == 9001
    # Of two declarations of a queue the later counts.
    assert values["queues"] == ["default", "other", "default:max_attempts=2"]
    assert (values["project"], values["location"]) == ("project", "europe-west1")
    assert values["concurrency"] == 10


def test_the_emulators_exit_code_is_the_commands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commandline, "run", lambda options, implied: 2)

    with pytest.raises(SystemExit) as caught:
        call_command("cloudtask", "emulator")

    assert caught.value.code == 2


def test_it_serves_the_projects_queues_until_it_is_stopped() -> None:
    command = [sys.executable, "-m", "django", "cloudtask", "emulator"]
    command += ["--port", "0", "--http-port", "0", "--ephemeral"]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            ready = process.stdout.readline()
            host = ready.split()[5].rstrip(",")
            with grpc.insecure_channel(host) as channel:
                transport = CloudTasksGrpcTransport(channel=channel)
                queue = CloudTasksClient(transport=transport).get_queue(
                    name="projects/project/locations/europe-west1/queues/default"
                )
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()

    assert queue.rate_limits.max_dispatches_per_second == 500
    # Google's own default is too much for a desk.
    assert queue.rate_limits.max_concurrent_dispatches == 10


def test_the_queues_of_task_backends_are_declared_too() -> None:
    base = Settings(queue="default", queues=QUEUES)
    own = replace(base, queue_aliases={"mail": "emails"}, priority_queues={9: "fast"})

    implied = get_emulator_defaults(
        base, [(base, ["default", "slow"]), (own, ["mail"])]
    )

    names = [parse_queue(text)[0] for text in implied["queues"]]
    assert names == ["default", "emails", "plain", "slow", "fast"]


@override_settings(
    TASKS={
        "default": {"BACKEND": f"{_BACKENDS}.immediate.ImmediateBackend"},
        "cloud": {
            "BACKEND": "cloudtask.backends.CloudTasksBackend",
            "QUEUES": ["reports"],
            "OPTIONS": {"QUEUE_ALIASES": {"reports": "reports-v2"}},
        },
    }
)
def test_the_command_finds_the_task_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(
        commandline, "run", lambda options, implied: found.append(implied)
    )

    call_command("cloudtask", "emulator")

    assert found[0]["queues"] == ["default", "reports-v2"]


@override_settings(CLOUDTASK={"SECERT": "canary"})
def test_a_wrong_setting_is_told_in_a_line() -> None:
    with pytest.raises(CommandError) as caught:
        call_command("cloudtask", "emulator")

    assert str(caught.value).startswith("CLOUDTASK['SECERT']: is not a setting")


# Actions of other apps


class Greet(Action):
    """What an app of a project may bring."""

    name = "greet"
    help = "Greet somebody."
    description = "Greet somebody."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--whom", default="you")

    def handle(self, options: Mapping[str, Any], stdout: OutputWrapper) -> None:
        stdout.write(f"Hello {options['whom']}.")


def test_any_installed_app_may_bring_an_action(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = apps.get_app_config("tests")
    monkeypatch.setattr(config, "cloudtask_actions", lambda: [Greet()], raising=False)
    out = StringIO()

    call_command("cloudtask", "greet", "--whom", "her", stdout=out)

    assert out.getvalue() == "Hello her.\n"
    assert "greet" in [action.name for action in find_actions()]


def test_another_action_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(CommandError, match=r"invalid choice: 'greet' \(choose from"):
        call_command("cloudtask", "greet")
