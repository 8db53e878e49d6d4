"""What the decorator takes, refuses, and says about it."""

from datetime import timedelta
from typing import Any

import pytest

from cloudtask import CloudTaskRequest, RetryPolicy
from cloudtask.enqueue import registry
from cloudtask.enqueue.decorators import task
from cloudtask.enqueue.options import TaskOptions, check_options
from cloudtask.exceptions import InvalidTask
from cloudtask.wire.retry import ONE_ATTEMPT


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    monkeypatch.setattr(registry, "_conflicts", dict(registry._conflicts))


def say(request: CloudTaskRequest) -> None: ...


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"queue": "emails"},
        # An alias may be any text.
        {"queue": "transactional e-mail"},
        {"url": "https://shop.example/_tasks/"},
        # Plain HTTP is for the emulator and for private networks.
        {"url": "http://localhost:8000/_tasks/"},
        {"named": True},
        {"named": "nightly_2026-01-31"},
        # The longest id that there is, less the hash in front.
        {"named": "a" * 483},
        {"named": lambda **arguments: "id"},
        {"headers": {"X-Shop": "berlin", "X_Odd!": ""}},
        # The bounds of a deadline.
        {"deadline": timedelta(seconds=15)},
        {"deadline": timedelta(minutes=30)},
        {"retry": RetryPolicy(max_attempts=-1)},
        {"priority": -50},
        {"on_commit": False},
        {"path": "shop.say"},
        {"aliases": ("shop.say", "blog.say")},
        {"aliases": ["shop.say"]},
        {"run_once": True},
        {"run_once": True, "retry": None},
        {"run_once": False, "retry": RetryPolicy(max_attempts=3)},
        {"sensitive": ("token", "card")},
        {"sensitive": ["token"]},
    ],
)
def test_an_option_in_range_is_taken(options: dict[str, Any]) -> None:
    checked = TaskOptions(**options)
    check_options("shop.say", checked)

    for option, value in options.items():
        assert getattr(checked, option) == value


@pytest.mark.parametrize(
    ("options", "message"),
    [
        # Another type than the option has.
        ({"queue": 5}, "queue= must be the name or alias of a queue, not 5."),
        (
            {"named": 7},
            "named= must be True, an id, or a callable that returns one, not 7.",
        ),
        (
            {"named": None},
            "named= must be True, an id, or a callable that returns one, not None.",
        ),
        ({"retry": 5}, "retry= must be a RetryPolicy, not 5."),
        ({"priority": "high"}, "priority= must be a whole number, not 'high'."),
        ({"on_commit": "no"}, "on_commit= must be True, False or None, not 'no'."),
        ({"path": 5}, "path= must be a dotted path, not 5."),
        ({"headers": ["X-Shop"]}, "headers= must be a dictionary, not ['X-Shop']."),
        # A text is a sequence of letters, and each would be an alias.
        (
            {"aliases": "shop.old"},
            "aliases= must be a tuple of dotted paths, not 'shop.old'.",
        ),
        # No target of a dispatch.
        ({"url": 5}, "the URL must be a URL, not 5."),
        (
            {"url": "/tasks"},
            "the URL must start with https:// and a host, not '/tasks'.",
        ),
        (
            {"url": "ftp://shop.example/"},
            "the URL must start with https:// and a host, not 'ftp://shop.example/'.",
        ),
        (
            {"url": "https://me:secret@shop.example/"},
            "the URL must not carry a user name or password.",
        ),
        # No task id.
        (
            {"named": "nightly/2026"},
            "the task id 'nightly/2026' must be 1 to 483 letters, digits, hyphens or "
            "underscores. Hash longer or other keys first.",
        ),
        (
            {"named": ""},
            "the task id '' must be 1 to 483 letters, digits, hyphens or "
            "underscores. Hash longer or other keys first.",
        ),
        (
            {"named": "a\n"},
            "the task id 'a\\n' must be 1 to 483 letters, digits, hyphens or "
            "underscores. Hash longer or other keys first.",
        ),
        # Deadlines that Cloud Tasks refuses.
        (
            {"deadline": timedelta(seconds=14)},
            "deadline must be a timedelta from 15 seconds to 30 minutes, not "
            "datetime.timedelta(seconds=14).",
        ),
        (
            {"deadline": 60},
            "deadline must be a timedelta from 15 seconds to 30 minutes, not 60.",
        ),
        ({"run_once": "no"}, "run_once= must be True or False, not 'no'."),
        ({"run_once": 1}, "run_once= must be True or False, not 1."),
        (
            {"sensitive": 0},
            "sensitive= must be a tuple of the names of arguments, not 0.",
        ),
        # What is tried again runs twice.
        (
            {"run_once": True, "retry": RetryPolicy(max_attempts=3)},
            "run_once= contradicts retry=: leave one out.",
        ),
        (
            {"run_once": True, "retry": RetryPolicy(max_attempts=1)},
            "run_once= contradicts retry=: leave one out.",
        ),
        # Both choose the queue.
        (
            {"priority": 50, "queue": "emails"},
            "priority= chooses the queue; leave queue= out, or the priority.",
        ),
        # Headers that are not the task's to set.
        (
            {"headers": {"Authorization": "Bearer abc"}},
            "header 'Authorization' is set by cloudtask or by Cloud Tasks. "
            "Leave it out.",
        ),
        (
            {"headers": {"x-task-secret": "abc"}},
            "header 'x-task-secret' is set by cloudtask or by Cloud Tasks. "
            "Leave it out.",
        ),
        (
            {"headers": {"X-CloudTasks-TaskRetryCount": "0"}},
            "header 'X-CloudTasks-TaskRetryCount' is set by cloudtask or by Cloud "
            "Tasks. Leave it out.",
        ),
        ({"headers": {"X Shop": "1"}}, "header 'X Shop' is not a header name."),
        ({"headers": {5: "1"}}, "header 5 is not a header name."),
        (
            {"headers": {"X-Shop": "a\r\nX-Forged: 1"}},
            "header 'X-Shop' must have a value of printable ASCII characters.",
        ),
        (
            {"headers": {"X-Shop": 1}},
            "header 'X-Shop' must have a value of printable ASCII characters.",
        ),
        # One byte more than there is room for.
        (
            {"headers": {"X-Shop": "a" * 65_521}},
            "its headers have 65537 bytes; 65536 are allowed.",
        ),
    ],
)
def test_a_wrong_option_is_refused_at_decoration(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidTask) as caught:
        task(**options)(say)
    assert str(caught.value) == f"{options.get('path', say_path())}: {message}"
    assert say_path() not in {d.path for d in registry.list_definitions()}


def test_headers_up_to_the_limit_are_taken() -> None:
    check_options("shop.say", TaskOptions(headers={"X-Shop": "a" * 65_518}))


def test_an_unknown_option_is_refused_at_decoration() -> None:
    with pytest.raises(
        TypeError, match=r"^task\(\) has no option 'quue'\. It has queue, "
    ):
        task(quue="emails")(say)


def test_a_task_that_runs_once_has_a_policy_of_one_attempt() -> None:
    defined = task(run_once=True)(say)

    assert defined.run_once is True
    assert defined.retry is ONE_ATTEMPT
    assert ONE_ATTEMPT.last_attempt == 1
    defined = task(run_once=False)(say)
    assert (defined.run_once, defined.retry) == (False, None)


def test_options_cannot_be_changed() -> None:
    options = TaskOptions()

    with pytest.raises(AttributeError):
        options.queue = "other"


def say_path() -> str:
    return f"{say.__module__}.{say.__qualname__}"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("shop tasks.add", "must have neither spaces nor control characters."),
        ("shop.tasks\0add", "must have neither spaces nor control characters."),
        ("", "must be a string of 1 to 500 characters."),
        ("a" * 501, "must be a string of 1 to 500 characters."),
        (7, "must be a string of 1 to 500 characters."),
    ],
)
def test_an_alias_that_is_no_path_is_refused(name: object, text: str) -> None:
    with pytest.raises(InvalidTask) as caught:
        check_options("shop.tasks.add", TaskOptions(aliases=(name,)))  # type: ignore[arg-type]

    assert str(caught.value) == f"shop.tasks.add: the path {name!r} {text}"
