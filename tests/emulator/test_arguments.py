"""The options of the command line, and where else they come from."""

import argparse
from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cloudtask.emulator.arguments.option import PREFIX, UsageError
from cloudtask.emulator.arguments.table import OPTIONS, add_arguments
from cloudtask.emulator.arguments.values import resolve
from cloudtask.emulator.options import EmulatorOptions

Parse = Callable[..., dict[str, Any]]

DEFAULTS = {
    "queues": ["default"],
    "create_queues": False,
    "concurrency": None,
    "doubled_times": "first",
    "retry_growth": "recorded",
    "busy_slots": "skip",
    "rephase_intervals": False,
    "project": "demo",
    "location": "local",
    "store": Path("cloudtask-emulator.sqlite3"),
    "tombstone_ttl": timedelta(days=1),
    "queue_tombstone_ttl": timedelta(days=7),
    "host": "127.0.0.1",
    "port": 8123,
    "http_port": 8124,
    "allowed_hosts": [],
    "allow_public_targets": False,
    "require_https": False,
    "app_engine_url": None,
    "issuer": "https://cloudtask-emulator.invalid",
    "stop_grace": timedelta(seconds=5),
    "quiet": False,
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in OPTIONS.values():
        monkeypatch.delenv(option.variable, raising=False)
    monkeypatch.delenv("APP_ENGINE_EMULATOR_HOST", raising=False)


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Parse:
    """Return a function from a command line and an environment to values."""

    def parse(*arguments: str, implied: Any = None, **environment: str) -> Any:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        return resolve(vars(parser.parse_args(arguments)), implied or {})

    return parse


def test_the_defaults(parse: Parse) -> None:
    assert parse() == DEFAULTS


def test_what_is_the_same_inside_a_test_has_the_same_default() -> None:
    # Of these the command line has its own.
    own = {"store", "port", "http_port", "stop_grace", "on_attempt", "on_job_attempt"}
    embedded = EmulatorOptions()

    for name in {field.name for field in fields(embedded)} - own:
        default = OPTIONS[name].default
        if isinstance(default, list):
            default = tuple(default)
        assert default == getattr(embedded, name), name


#: What is written, as arguments and in the environment, and what it means.
GIVEN = {
    "queues": (
        ["--queue", "a", "--queue", "b:rate=2"],
        "a b:rate=2",
        ["a", "b:rate=2"],
    ),
    "create_queues": (["--create-queues"], "1", True),
    "concurrency": (["--concurrency", "20"], "20", 20),
    "doubled_times": (["--doubled-times", "both"], "both", "both"),
    "retry_growth": (["--retry-growth", "documented"], "documented", "documented"),
    "busy_slots": (["--busy-slots", "end-retries"], "end-retries", "end-retries"),
    "rephase_intervals": (["--rephase-intervals"], "1", True),
    "project": (["--project", "p"], "p", "p"),
    "location": (["--location", "l"], "l", "l"),
    "store": (["--store", "var/s"], "var/s", Path("var/s")),
    "tombstone_ttl": (["--tombstone-ttl", "1.5"], "1.5", timedelta(seconds=1.5)),
    "queue_tombstone_ttl": (["--queue-tombstone-ttl", "0"], "0", timedelta(0)),
    "host": (["--host", "::1"], "::1", "::1"),
    "port": (["--port", "9000"], "9000", 9000),
    "http_port": (["--http-port", "0"], "0", 0),
    "allowed_hosts": (
        ["--allowed-host", "a", "--allowed-host", "b"],
        " a  b ",
        ["a", "b"],
    ),
    "allow_public_targets": (["--allow-public-targets"], "Yes", True),
    "require_https": (["--require-https"], "1", True),
    "app_engine_url": (
        ["--app-engine-url", "http://a:1/"],
        "http://a:1",
        "http://a:1",
    ),
    "issuer": (["--issuer", "https://i"], "https://i", "https://i"),
    "stop_grace": (["--stop-grace", "60"], "60", timedelta(minutes=1)),
    "quiet": (["--quiet"], "on", True),
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_option_is_an_argument(name: str, parse: Parse) -> None:
    arguments, _, value = GIVEN[name]

    assert parse(*arguments)[name] == value


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_option_is_a_variable(name: str, parse: Parse) -> None:
    _, text, value = GIVEN[name]

    assert parse(**{OPTIONS[name].variable: text})[name] == value


@pytest.mark.parametrize("name", DEFAULTS)
def test_an_empty_variable_is_not_set(name: str, parse: Parse) -> None:
    assert parse(**{OPTIONS[name].variable: ""})[name] == DEFAULTS[name]


def test_variables_are_named_like_options() -> None:
    assert OPTIONS["http_port"].variable == "CLOUDTASK_EMULATOR_HTTP_PORT"
    assert OPTIONS["allowed_hosts"].variable == "CLOUDTASK_EMULATOR_ALLOWED_HOST"


def test_arguments_go_before_the_environment_and_that_before_what_is_implied(
    parse: Parse,
) -> None:
    values = parse(
        *("--project", "argument", "--allowed-host", "argument"),
        implied={"project": "implied", "location": "implied", "host": "implied"},
        CLOUDTASK_EMULATOR_PROJECT="variable",
        CLOUDTASK_EMULATOR_LOCATION="variable",
        CLOUDTASK_EMULATOR_ALLOWED_HOST="variable",
    )

    assert (values["project"], values["location"]) == ("argument", "variable")
    assert values["host"] == "implied"
    assert values["allowed_hosts"] == ["argument"]


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        ((), {}, ["a", "b"]),
        (("--queue", "c", "--queue", "b:rate=1"), {}, ["a", "b", "c", "b:rate=1"]),
        ((), {"CLOUDTASK_EMULATOR_QUEUE": "c"}, ["a", "b", "c"]),
    ],
)
def test_queues_are_added_to_those_that_are_implied(
    arguments: tuple[str, ...],
    environment: dict[str, str],
    expected: list[str],
    parse: Parse,
) -> None:
    values = parse(*arguments, implied={"queues": ["a", "b"]}, **environment)

    assert values["queues"] == expected


@pytest.mark.parametrize(
    ("arguments", "http_port"),
    [
        (["--port", "9000"], 9001),
        (["--port", "0"], 0),  # A free one, too.
        (["--port", "65535", "--http-port", "80"], 80),
    ],
)
def test_the_http_port_follows_the_other(
    arguments: list[str], http_port: int, parse: Parse
) -> None:
    assert parse(*arguments)["http_port"] == http_port


@pytest.mark.parametrize("text", ["0", "false", "FALSE", "no", "off", ""])
def test_a_switch_can_be_off(text: str, parse: Parse) -> None:
    assert parse(CLOUDTASK_EMULATOR_QUIET=text)["quiet"] is False


@pytest.mark.parametrize(
    ("arguments", "environment", "store"),
    [
        (["--ephemeral"], {}, None),
        ([], {"EPHEMERAL": "1"}, None),
        (["--ephemeral"], {"STORE": "s"}, None),
        (["--store", "s"], {"EPHEMERAL": "1"}, Path("s")),
        ([], {"STORE": "s", "EPHEMERAL": "0"}, Path("s")),
    ],
)
def test_tasks_are_kept_or_not(
    arguments: list[str], environment: dict[str, str], store: Path | None, parse: Parse
) -> None:
    variables = {PREFIX + name: value for name, value in environment.items()}

    values = parse(*arguments, **variables)

    assert values["store"] == store
    assert "ephemeral" not in values


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({"APP_ENGINE_EMULATOR_HOST": "localhost:8080"}, "http://localhost:8080"),
        ({"APP_ENGINE_EMULATOR_HOST": "https://gae:1/"}, "https://gae:1"),
        ({"APP_ENGINE_EMULATOR_HOST": ""}, None),
        (
            {
                "APP_ENGINE_EMULATOR_HOST": "localhost:8080",
                "CLOUDTASK_EMULATOR_APP_ENGINE_URL": "http://own:1",
            },
            "http://own:1",
        ),
    ],
)
def test_app_engine_has_a_variable_that_others_know(
    environment: dict[str, str], url: str | None, parse: Parse
) -> None:
    assert parse(**environment)["app_engine_url"] == url


#: Texts that cannot be, by the option, and what is said about them.
WRONG = [
    ("port", "x", "'x' is not a port from 0 to 65535."),
    ("port", "-1", "'-1' is not a port from 0 to 65535."),
    ("port", "²", "'²' is not a port from 0 to 65535."),
    ("http_port", "65536", "'65536' is not a port from 0 to 65535."),
    ("queues", "a_b", "'a_b' is not a queue name"),
    ("queues", "a:b=1", "'b' is not an option of a queue."),
    ("tombstone_ttl", "long", "'long' is not a number of seconds."),
    ("concurrency", "0", "'0' is not a number from 1 to 5000."),
    ("concurrency", "5001", "'5001' is not a number from 1 to 5000."),
    ("concurrency", "many", "'many' is not a number from 1 to 5000."),
    ("queue_tombstone_ttl", "-1", "'-1' is not a number of seconds."),
    ("doubled_times", "last", "'last' is not one of first, both."),
    ("retry_growth", "fast", "'fast' is not one of recorded, documented."),
    ("busy_slots", "wait", "'wait' is not one of skip, end-retries."),
    ("stop_grace", "1e99", "'1e99' is not a number of seconds."),
    ("app_engine_url", "localhost:8080", "'localhost:8080' is not a URL such as http"),
    ("app_engine_url", "http://[", "'http://[' is not a URL such as http"),
    ("app_engine_url", "http://:80", "'http://:80' is not a URL such as http"),
]


@pytest.mark.parametrize(("name", "text", "message"), WRONG)
def test_a_wrong_argument_is_explained(
    name: str,
    text: str,
    message: str,
    parse: Parse,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flag = OPTIONS[name].flag

    with pytest.raises(SystemExit) as caught:
        parse(f"{flag}={text}")

    assert caught.value.code == 2
    assert f"argument {flag}: {message}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [*WRONG, ("quiet", "maybe", "'maybe' is neither on nor off: 1, true, yes, on, 0")],
)
def test_a_wrong_variable_is_named(
    name: str, text: str, message: str, parse: Parse
) -> None:
    variable = OPTIONS[name].variable

    with pytest.raises(UsageError) as caught:
        parse(**{variable: text})

    assert str(caught.value).startswith(f"{variable}: {message}")


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (
            ["--store", "s", "--ephemeral"],
            {},
            "--store and --ephemeral exclude each other: tasks are kept in a file "
            "or not at all.",
        ),
        (
            [],
            {"CLOUDTASK_EMULATOR_STORE": "s", "CLOUDTASK_EMULATOR_EPHEMERAL": "true"},
            "CLOUDTASK_EMULATOR_STORE and CLOUDTASK_EMULATOR_EPHEMERAL exclude "
            "each other: tasks are kept in a file or not at all.",
        ),
        (
            ["--port", "65535"],
            {},
            "There is no port after 65535. Set --http-port.",
        ),
        (
            [],
            {"APP_ENGINE_EMULATOR_HOST": "http://"},
            "APP_ENGINE_EMULATOR_HOST: 'http://' is not a URL such as "
            "http://127.0.0.1:8080.",
        ),
    ],
)
def test_what_cannot_be_together_is_explained(
    arguments: list[str], environment: dict[str, str], message: str, parse: Parse
) -> None:
    with pytest.raises(UsageError) as caught:
        parse(*arguments, **environment)

    assert str(caught.value) == message
