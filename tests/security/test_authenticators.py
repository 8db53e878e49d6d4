"""AUTH as a class of the project's: what it says goes, in both handlers."""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from cloudtask import auth
from cloudtask.auth import Authenticator
from cloudtask.auth.admission import Admission
from cloudtask.checks import check_cloudtask
from cloudtask.conf import Settings, get_settings
from cloudtask.exceptions import (
    ConfigurationError,
    InvalidCredentials,
    KeysUnavailable,
    MissingCredentials,
)
from tests import tasks
from tests.security.keyserver import KeyServer
from tests.security.sending import FORBIDDEN, Send, Unreadable
from tests.security.tokens import (
    AUDIENCE,
    EMAIL,
    SECRET,
    TOKENS_ONLY,
    Token,
    bearer,
    claims,
)

OTHER = "the other backend's secret, long."
#: Whoever was asked, in order.
asked: list[Any] = []


@pytest.fixture(autouse=True)
def _nobody_was_asked() -> Iterator[None]:
    asked.clear()
    yield
    asked.clear()


class ByHeader(Authenticator):
    """Builds on nothing of its base."""

    def __init__(self, settings: Settings, *, header: str, value: str = "yes") -> None:
        super().__init__(settings)
        self.header = header
        self.value = value
        asked.append(self)

    def authenticate(self, meta: Mapping[str, Any]) -> None:
        sent = meta.get(self.header)
        if sent is None:
            raise MissingCredentials(f"{self.header} is missing")
        if sent != self.value:
            raise InvalidCredentials(f"{self.header} is another")


class Strict(Authenticator):
    """Asks for more than its base does, while it is open at all."""

    is_open = True

    def authenticate(self, meta: Mapping[str, Any]) -> None:
        super().authenticate(meta)
        asked.append(meta.get("HTTP_X_TASK_SECRET") or meta["HTTP_AUTHORIZATION"])
        if not self.is_open:
            raise InvalidCredentials("closed")


class Boastful(Authenticator):
    """Recognises everybody, and lets nobody in."""

    def recognise(self, meta: Mapping[str, Any]) -> Admission:
        return Admission()

    def authenticate(self, meta: Mapping[str, Any]) -> None:
        raise InvalidCredentials("nobody is let in")


class Failing(Authenticator):
    """Raises what it was given."""

    def __init__(self, settings: Settings, error: BaseException) -> None:
        super().__init__(settings)
        self.error = error

    def authenticate(self, meta: Mapping[str, Any]) -> None:
        raise self.error


class Unmade(Authenticator):
    """Cannot even be made."""

    def __init__(self, settings: Settings) -> None:
        raise LookupError("canary")


class Waiting(Authenticator):
    """Tells whether a loop would have to wait for it."""

    def authenticate(self, meta: Mapping[str, Any]) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            asked.append("no loop")


class Error(Exception):
    """One of the project's own."""


an_authenticator = Authenticator(Settings())


def path_of(kind: type) -> str:
    return f"{__name__}.{kind.__qualname__}"


# What it decides


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"X-Shop": "open sesame"}, None),
        ({"X-Shop": "open"}, "HTTP_X_SHOP is another"),
        ({"X-Shop": ""}, "HTTP_X_SHOP is another"),
        ({}, "HTTP_X_SHOP is missing"),
        # What the settings would let in is nothing to it.
        ({"X-Task-Secret": SECRET}, "HTTP_X_SHOP is missing"),
    ],
)
def test_a_class_of_the_project_lets_in_and_refuses(
    settings: Any,
    send: Send,
    caplog: pytest.LogCaptureFixture,
    headers: dict[str, str],
    reason: str | None,
) -> None:
    settings.CLOUDTASK = {
        "SECRET": SECRET,
        "AUTH": path_of(ByHeader),
        "AUTH_PARAMS": {"header": "HTTP_X_SHOP", "value": "open sesame"},
    }
    if reason is None:
        assert send(headers).status == 200
        assert tasks.ran == [("add", 5, 4)]
        return

    assert send(headers, Unreadable()) == FORBIDDEN

    assert caplog.record_tuples == [
        ("cloudtask", logging.WARNING, f"refused a dispatch: {reason!r}")
    ]


def test_its_parameters_may_be_left_to_their_defaults(
    settings: Any, send: Send
) -> None:
    settings.CLOUDTASK = {
        "AUTH": path_of(ByHeader),
        "AUTH_PARAMS": {"header": "HTTP_X_SHOP"},
    }

    assert send({"X-Shop": "yes"}).status == 200
    assert send({"X-Shop": "no"}) == FORBIDDEN


def test_it_is_made_once_while_nothing_changes(settings: Any, send: Send) -> None:
    settings.CLOUDTASK = {
        "AUTH": path_of(ByHeader),
        "AUTH_PARAMS": {"header": "HTTP_X_SHOP"},
    }
    for _ in range(3):
        assert send({"X-Shop": "yes"}).status == 200
    assert len(asked) == 1

    settings.CLOUDTASK = {**settings.CLOUDTASK, "AUTH_PARAMS": {"header": "HTTP_X"}}

    assert send({"X-Shop": "yes"}) == FORBIDDEN
    assert send({"X": "yes"}).status == 200
    assert len(asked) == 2


def test_a_class_that_overrules_its_base_is_asked_each_time(
    google: KeyServer,
    settings: Any,
    send: Send,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Neither the right secret nor a token that is remembered goes past it.
    settings.CLOUDTASK = {**TOKENS_ONLY, "SECRET": SECRET, "AUTH": path_of(Strict)}
    token = bearer(Token())
    for _ in range(2):
        assert send({"X-Task-Secret": SECRET}).status == 200
        assert send(token).status == 200
    assert asked == [SECRET, token["Authorization"]] * 2
    assert google.fetched == ["/certs"]

    monkeypatch.setattr(Strict, "is_open", False)

    assert send({"X-Task-Secret": SECRET}, Unreadable()) == FORBIDDEN
    assert send(token, Unreadable()) == FORBIDDEN
    assert len(asked) == 6


def test_a_class_on_top_of_its_base_is_no_wider(
    google: KeyServer, settings: Any, send: Send
) -> None:
    settings.CLOUDTASK = {**TOKENS_ONLY, "SECRET": SECRET, "AUTH": path_of(Strict)}

    assert send({}) == FORBIDDEN
    assert send({"X-Task-Secret": OTHER}) == FORBIDDEN
    assert send(bearer(Token(claims=claims(aud="https://x.example/")))) == FORBIDDEN
    assert asked == []


def test_what_it_recognises_does_not_count(settings: Any, send: Send) -> None:
    settings.CLOUDTASK = {"SECRET": SECRET, "AUTH": path_of(Boastful)}

    assert send({"X-Task-Secret": SECRET}, Unreadable()) == FORBIDDEN


def test_the_settings_are_asked_for_nothing_by_a_class_that_needs_none(
    google: KeyServer, settings: Any, send: Send
) -> None:
    settings.CLOUDTASK = {"AUTH": path_of(Waiting)}

    assert send({}).status == 200
    # It may wait for somebody: the loop does not.
    assert asked == ["no loop"]
    assert google.fetched == []


def test_the_check_takes_a_class_for_a_credential(settings: Any) -> None:
    settings.CLOUDTASK = {**settings.CLOUDTASK, "SECRET": None, "SIGN": False}
    assert [message.id for message in check_cloudtask()] == ["cloudtask.E002"]

    settings.CLOUDTASK = {**settings.CLOUDTASK, "AUTH": path_of(Waiting)}
    assert check_cloudtask() == []


# What is wrong with it


@pytest.mark.parametrize(
    "error",
    [
        ValueError("canary"),
        KeyError("canary"),
        AssertionError("canary"),
        UnicodeDecodeError("utf-8", b"canary", 0, 1, "canary"),
        RecursionError("canary"),
        PermissionError(13, "canary"),
        ExceptionGroup("canary", [ValueError("canary")]),
        Error("canary"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_it_raises_is_a_refusal_of_which_the_log_has_the_type(
    settings: Any,
    send: Send,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
) -> None:
    settings.CLOUDTASK = {
        "SECRET": SECRET,
        "AUTH": path_of(Failing),
        "AUTH_PARAMS": {"error": error},
    }

    assert send({"X-Task-Secret": SECRET}, Unreadable()) == FORBIDDEN

    reason = f"{path_of(Failing)} raised {type(error).__qualname__}"
    assert caplog.record_tuples == [
        ("cloudtask", logging.WARNING, f"refused a dispatch: {reason!r}")
    ]
    assert "canary" not in caplog.text
    assert tasks.ran == []


def test_an_error_of_its_making_is_a_refusal(
    settings: Any, send: Send, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CLOUDTASK = {"AUTH": path_of(Unmade)}

    for _ in range(2):
        assert send({}, Unreadable()) == FORBIDDEN

    problem = f"{path_of(Unmade)!r} cannot be made: it raised LookupError."
    reason = f"CLOUDTASK['AUTH']: {problem}"
    assert caplog.messages == [f"refused a dispatch: {reason!r}"] * 2
    assert "canary" not in caplog.text


def test_it_may_say_that_nobody_can_tell_now(settings: Any, send: Send) -> None:
    settings.CLOUDTASK = {
        "AUTH": path_of(Failing),
        "AUTH_PARAMS": {"error": KeysUnavailable("the directory is down")},
    }

    answer = send({}, Unreadable())

    assert (answer.status, answer.word) == (503, "unavailable")
    assert answer.header("Retry-After") == "10"


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_what_ends_the_process_is_no_refusal(
    settings: Any, error: BaseException
) -> None:
    settings.CLOUDTASK = {"AUTH": path_of(Failing), "AUTH_PARAMS": {"error": error}}

    with pytest.raises(type(error)):
        auth.authenticate({}, get_settings())


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown parameter": (
        {"AUTH": path_of(ByHeader), "AUTH_PARAMS": {"header": "X", "xyzzy": "canary"}},
        "['AUTH_PARAMS']: do not fit ByHeader: ByHeader.__init__() got an unexpected "
        "keyword argument 'xyzzy'.",
    ),
    "missing parameter": (
        {"AUTH": path_of(ByHeader)},
        "['AUTH_PARAMS']: do not fit ByHeader: ByHeader.__init__() missing 1 required "
        "keyword-only argument: 'header'.",
    ),
    "parameters of a class that takes none": (
        {"AUTH": path_of(Strict), "AUTH_PARAMS": {"header": "canary", "value": 1}},
        "['AUTH_PARAMS']: do not fit Strict: takes no 'header', 'value'.",
    ),
    "parameters of no class": (
        {"AUTH": "all", "AUTH_PARAMS": {"header": "canary"}},
        "['AUTH_PARAMS']: do not fit Authenticator: takes no 'header'.",
    ),
    "no module": (
        {"AUTH": "shop.auth.Mine"},
        "['AUTH']: No module named 'shop'.",
    ),
    "no such name": (
        {"AUTH": f"{__name__}.Mine"},
        f'[\'AUTH\']: Module "{__name__}" does not define a "Mine" attribute/class.',
    ),
    "another class": (
        {"AUTH": f"{__name__}.Error"},
        f"['AUTH']: '{__name__}.Error' is not a subclass of Authenticator.",
    ),
    "no class": (
        {"AUTH": f"{__name__}.an_authenticator"},
        f"['AUTH']: '{__name__}.an_authenticator' is not a subclass of Authenticator.",
    ),
    "a function": (
        {"AUTH": "os.getpid"},
        "['AUTH']: 'os.getpid' is not a subclass of Authenticator.",
    ),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_made_closes_the_view_and_is_logged_as_an_error(
    settings: Any,
    send: Send,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, Any],
    message: str,
) -> None:
    settings.CLOUDTASK = {"SECRET": SECRET, **changes}

    for _ in range(2):
        assert send({"X-Task-Secret": SECRET}, Unreadable()) == FORBIDDEN

    text = f"CLOUDTASK{message}"
    assert (
        caplog.record_tuples
        == [("cloudtask", logging.ERROR, f"refused a dispatch: {text!r}")] * 2
    )
    assert "canary" not in caplog.text


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_made_is_named_by_its_path(
    changes: dict[str, Any], message: str
) -> None:
    base = Settings(secret=SECRET)

    for _ in range(2):
        with pytest.raises(ConfigurationError) as caught:
            auth.authenticate({}, base.override("mails", changes))
        assert str(caught.value) == f"TASKS['mails']['OPTIONS']{message}"


# Several settings at once


def lets_in(settings: Settings, **meta: str) -> bool:
    try:
        auth.authenticate(meta, settings)
    except InvalidCredentials:
        return False
    return True


def test_each_settings_secret_opens_its_own_door() -> None:
    doors = {
        SECRET: Settings(secret=SECRET),
        OTHER: Settings(backend="mails", secret=OTHER),
        "a third one, of 32 bytes and more": Settings(
            backend="others", secret="a third one, of 32 bytes and more"
        ),
    }

    for _ in range(2):
        for own, settings in doors.items():
            for secret in doors:
                meta = {"HTTP_X_TASK_SECRET": secret}
                assert lets_in(settings, **meta) is (secret == own)
                recognised = auth.recognise(meta, settings) is not None
                assert recognised is (secret == own)


def test_a_token_is_remembered_where_it_was_verified_alone(google: KeyServer) -> None:
    ours = Settings(sae=EMAIL, audience=(AUDIENCE,))
    theirs = Settings(backend="mails", sae=EMAIL, audience=("https://mails.example/",))
    meta = {"HTTP_AUTHORIZATION": f"Bearer {Token()}"}

    assert lets_in(ours, **meta)
    assert not lets_in(theirs, **meta)

    assert auth.recognise(meta, ours) is not None
    assert auth.recognise(meta, theirs) is None
    # One set of keys serves both.
    assert google.fetched == ["/certs"]


def test_each_settings_have_a_class_of_their_own() -> None:
    def settings(backend: str | None, header: str) -> Settings:
        return Settings(
            backend=backend, auth=path_of(ByHeader), auth_params={"header": header}
        )

    ours, theirs = settings(None, "HTTP_OURS"), settings("mails", "HTTP_THEIRS")

    for _ in range(2):
        auth.authenticate({"HTTP_OURS": "yes"}, ours)
        auth.authenticate({"HTTP_THEIRS": "yes"}, theirs)
        with pytest.raises(MissingCredentials, match=r"^HTTP_THEIRS is missing$"):
            auth.authenticate({"HTTP_OURS": "yes"}, theirs)
    assert [each.settings for each in asked] == [ours, theirs]


class Lenient(Authenticator):
    """Says no by its answer, which nobody may overlook."""

    def authenticate(self, meta: Any) -> Any:
        return False


class Awaiting(Authenticator):
    async def authenticate(self, meta: Any) -> None:  # type: ignore[override]
        raise InvalidCredentials("never raised: nobody awaits it")


class Bare(Authenticator):
    """Lets everyone in, and keeps nothing of the class it derives from."""

    def __init__(self, settings: Any) -> None:
        pass

    def authenticate(self, meta: Any) -> None:
        pass


@pytest.mark.parametrize(("kind", "word"), [(Lenient, "bool"), (Awaiting, "coroutine")])
def test_whoever_lets_in_returns_nothing(
    settings: Any, send: Send, caplog: pytest.LogCaptureFixture, kind: Any, word: str
) -> None:
    settings.CLOUDTASK = {"AUTH": path_of(kind)}

    assert send({}, Unreadable()) == FORBIDDEN

    reason = f"{path_of(kind)} returned a {word}"
    assert caplog.messages == [f"refused a dispatch: {reason!r}"]


def test_it_need_not_build_on_the_class_that_it_derives_from(
    settings: Any, send: Send
) -> None:
    settings.CLOUDTASK = {"AUTH": path_of(Bare)}

    assert [send({}).status for _ in range(2)] == [200, 200]
