"""A task's signature: what it proves, until when, and by which keys."""

import logging
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings

from cloudtask import auth
from cloudtask.auth import Authenticator, signing
from cloudtask.checks import check_cloudtask
from cloudtask.conf import GOOGLE_TRANSPORT, get_settings
from cloudtask.exceptions import ConfigurationError, InvalidCredentials
from cloudtask.testing import memory_queue
from cloudtask.transports import get_transport
from cloudtask.transports.google.messages import to_message
from cloudtask.wire.outgoing import OutgoingTask
from cloudtask.wire.payload import decode
from tests import tasks
from tests.clocks import set_clock
from tests.security.keyserver import KeyServer
from tests.security.sending import FORBIDDEN, Send, Stream, Unreadable, payload
from tests.security.tokens import NOW, SECRET, TOKENS_ONLY, Token, bearer

HEADER = "X-Task-Signature"
DAY = 86_400
OWN = "this project's own, of 32 bytes and more"
OTHER = "another's key, of 32 bytes and more"
#: Nothing is set: each place of this project has what it needs.
CLOUDTASK = {"QUEUE": "default", "URL": "https://shop.example/_tasks/"}


class Clock:
    """Seconds that pass when told to."""

    now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Clock:
    """The time of day by which tasks are signed; and the project."""
    clock = Clock()
    set_clock(monkeypatch, clock)
    settings.SECRET_KEY = OWN
    settings.CLOUDTASK = CLOUDTASK
    return clock


def enqueued(at: datetime | None = None, **kwargs: Any) -> OutgoingTask:
    """A task as it is sent."""
    with memory_queue() as queue:
        task = tasks.add(**kwargs)
        task.delay() if at is None else task.schedule(at)
        [stored] = queue.tasks
    return stored.sent


def sent_to(send: Send, task: OutgoingTask, body: Any = None, **headers: str) -> Any:
    return send({**task.headers, **headers}, task.body if body is None else body)


def test_a_project_without_any_setting_is_open_to_itself_alone(
    settings: Any, send: Send
) -> None:
    del settings.CLOUDTASK
    settings.CLOUDTASK = {**CLOUDTASK, "PROJECT": "p", "LOCATION": "l"}
    assert check_cloudtask() == []
    task = enqueued(a=1)

    assert sent_to(send, task).status == 200
    assert tasks.ran == [("add", 1, 4)]
    assert send({}, Unreadable()) == FORBIDDEN


def test_two_tasks_that_are_alike_are_signed_differently() -> None:
    one, two = enqueued(a=1), enqueued(a=1)

    assert one.headers != two.headers


def test_a_signature_tells_nothing_of_its_task_and_has_one_form() -> None:
    task = enqueued(a=1)
    value = task.headers[HEADER]

    assert re.fullmatch(r"1\.\d{10}(\.[A-Za-z0-9+/]{43}){3}", value)
    assert len(value) <= signing.MAX_LENGTH
    assert task.id not in value
    assert task.path not in value


# What is refused


def near_misses(value: str) -> list[str]:
    changed = [
        value[:i] + chr(ord(c) ^ 1) + value[i + 1 :] for i, c in enumerate(value)
    ]
    # Of a hash there are four spellings in base64.
    last = [value[:-1] + c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefgh0123456789+/"]
    left_out = [value[:i] + value[i + 1 :] for i in range(len(value))]
    parts = value.split(".")
    fewer = [".".join(parts[:n]) for n in range(5)]
    swapped = [".".join([*parts[:2], parts[3], parts[2], parts[4]])]
    later = [".".join([parts[0], str(int(parts[1]) + DAY), *parts[2:]])]
    around = [
        form.format(v=value)
        for form in ("{v} ", " {v}", "{v}\n", "{v},{v}", "{v}, {v}", "{v}.", "v{v}")
    ]
    words = ["", ".", "....", "1....", "None", "é", "1" * 160, "x" * 100_000, "\0"]
    digits = [value.replace("1.", "\N{SUPERSCRIPT ONE}.", 1), f"0{value}", f"2{value}"]
    all_of_them = [*changed, *last, *left_out, *fewer, *swapped, *later, *around]
    return sorted({*all_of_them, *words} - {value}) + digits[1:]


def test_nothing_but_the_signature_is_let_in(send: Send, queries: list[str]) -> None:
    task = enqueued(a=1)
    misses = near_misses(task.headers[HEADER])
    assert len(misses) > 256

    for value in misses:
        assert send({HEADER: value}, Unreadable()) == FORBIDDEN, value

    assert tasks.ran == []
    assert queries == []
    assert sent_to(send, task).status == 200


def test_no_key_is_fetched_for_what_is_not_signed(
    google: KeyServer, settings: Any, send: Send
) -> None:
    settings.CLOUDTASK = {**TOKENS_ONLY, "SECRET": SECRET, "AUTH": "all"}
    task = enqueued(a=1)
    secret = {"X-Task-Secret": SECRET}

    # All is asked for, and the signature is not right.
    assert send({**bearer(Token()), **secret}, Unreadable()) == FORBIDDEN
    for value in ("", "x", task.headers[HEADER][:-1]):
        headers = {**bearer(Token()), **secret, HEADER: value}
        assert send(headers, Unreadable()) == FORBIDDEN
    assert google.fetched == []

    assert sent_to(send, task, **bearer(Token()), **secret).status == 200
    assert google.fetched == ["/certs"]


BODIES = {
    "another task's": lambda task: enqueued(a=2).body,
    "a changed argument": lambda task: task.body.replace(b'"a":1', b'"a":9'),
    "another path": lambda task: task.body.replace(
        b"tests.tasks.add", b"tests.tasks.a"
    ),
    "a space": lambda task: task.body + b" ",
    "none": lambda task: b"",
    "no payload": lambda task: b"{",
    "too deep": lambda task: b"[" * 100_000,
    "large": lambda task: b"x" * 1_048_576,
}


@pytest.mark.parametrize("auth_mode", ["any", "all"])
@pytest.mark.parametrize("change", BODIES.values(), ids=BODIES)
def test_a_signature_is_of_one_body(
    settings: Any,
    send: Send,
    caplog: pytest.LogCaptureFixture,
    change: Any,
    auth_mode: str,
) -> None:
    settings.CLOUDTASK = {**CLOUDTASK, "AUTH": auth_mode}
    task = enqueued(a=1)

    assert sent_to(send, task, change(task)) == FORBIDDEN

    assert tasks.ran == []
    words = "the signature is another body's"
    assert caplog.messages == [f"refused a dispatch: {words!r}"]


def test_a_body_that_another_credential_lets_in_need_not_be_the_signed_one(
    google: KeyServer, settings: Any, send: Send
) -> None:
    # Something on the way writes the JSON anew.
    settings.CLOUDTASK = {**TOKENS_ONLY, "SECRET": SECRET}
    task = enqueued(a=1)

    secret = {"X-Task-Secret": SECRET}
    for credential in (secret, bearer(Token()), bearer(Token())):
        assert sent_to(send, task, task.body + b" ", **credential).status == 200
    wrong = {"X-Task-Secret": OTHER, **bearer("x.y.z")}
    assert sent_to(send, task, task.body + b" ", **wrong) == FORBIDDEN
    settings.CLOUDTASK = {**settings.CLOUDTASK, "AUTH": "all"}
    both = {**secret, **bearer(Token())}
    assert sent_to(send, task, task.body + b" ", **both) == FORBIDDEN
    assert sent_to(send, task, **both).status == 200


def test_a_signature_of_another_id_or_path_is_refused(settings: Any) -> None:
    body = payload()
    headers = signing.make_signature_headers(get_settings(), decode(body), body, None)
    meta = {"HTTP_X_TASK_SIGNATURE": headers[HEADER]}
    admission = auth.authenticate(meta, get_settings())
    assert admission.allows(body)
    admission.check_payload(decode(body))

    for other in (payload(id="1" * 32), payload("tests.tasks.aadd")):
        with pytest.raises(InvalidCredentials, match="another task's"):
            admission.check_payload(decode(other))


# Until when


@pytest.mark.parametrize(
    ("ahead", "due"),
    [
        (None, timedelta(0)),
        (timedelta(days=29), timedelta(days=29)),
        # A past time is "now", as when a task is sent once more.
        (timedelta(days=-90), timedelta(0)),
    ],
)
def test_it_holds_for_as_long_as_cloud_tasks_keeps_a_task(
    settings: Any,
    send: Send,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    ahead: timedelta | None,
    due: timedelta,
) -> None:
    body = payload()
    at = None if ahead is None else datetime.fromtimestamp(NOW, UTC) + ahead
    headers = signing.make_signature_headers(get_settings(), decode(body), body, at)
    clock.now += (due + timedelta(days=31)).total_seconds()
    assert send(headers, body).status == 200

    clock.now += 1

    assert send(headers, Unreadable()) == FORBIDDEN


def test_the_log_says_that_it_has_expired(
    clock: Clock, send: Send, caplog: pytest.LogCaptureFixture
) -> None:
    task = enqueued(a=1)
    clock.now += 32 * DAY

    assert sent_to(send, task, Unreadable()) == FORBIDDEN
    assert caplog.messages == ["refused a dispatch: 'the signature has expired'"]


# Keys


def test_the_key_of_django_is_rotated_without_a_refused_dispatch(
    settings: Any, send: Send
) -> None:
    old = enqueued(a=1)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = OTHER, [OWN]
    new = enqueued(a=2)
    assert [sent_to(send, each).status for each in (old, new)] == [200, 200]

    settings.SECRET_KEY_FALLBACKS = []

    assert sent_to(send, old, Unreadable()) == FORBIDDEN
    assert sent_to(send, new).status == 200


def test_keys_of_its_own_are_rotated_without_a_refused_dispatch(
    settings: Any, send: Send
) -> None:
    settings.CLOUDTASK = {**CLOUDTASK, "SIGN_KEYS": ["1" * 24]}
    old = enqueued(a=1)
    settings.CLOUDTASK = {**CLOUDTASK, "SIGN_KEYS": ["2" * 24, "1" * 24]}
    new = enqueued(a=2)
    assert [sent_to(send, each).status for each in (old, new)] == [200, 200]

    settings.CLOUDTASK = {**CLOUDTASK, "SIGN_KEYS": ["2" * 24]}

    assert sent_to(send, old, Unreadable()) == FORBIDDEN
    assert sent_to(send, new).status == 200


def test_keys_of_its_own_take_the_place_of_djangos_which_may_be_among_them(
    settings: Any, send: Send
) -> None:
    old = enqueued(a=1)
    settings.CLOUDTASK = {**CLOUDTASK, "SIGN_KEYS": ["1" * 24]}
    assert sent_to(send, old, Unreadable()) == FORBIDDEN

    settings.CLOUDTASK = {**CLOUDTASK, "SIGN_KEYS": ["1" * 24, OWN]}

    assert sent_to(send, old).status == 200


@pytest.mark.parametrize("fallbacks", [[""], ["", b""], "ab", b"ab", [OTHER[:-1]]])
def test_a_fallback_that_is_no_key_opens_nothing(
    settings: Any, send: Send, fallbacks: Any
) -> None:
    strangers = []
    for key in ("", "a", OTHER):
        # As whoever knows how keys are derived would make it.
        derived = signing._derive(key)
        task = enqueued(a=1)
        text = task.headers[HEADER].rpartition(".")[0]
        strangers.append((f"{text}.{signing._make_mac(derived, text, '')}", task))
    settings.SECRET_KEY_FALLBACKS = fallbacks

    for value, task in strangers:
        assert send({HEADER: value}, Unreadable()) == FORBIDDEN
        assert sent_to(send, task).status == 200


def test_keys_are_derived_once(
    settings: Any, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = [enqueued(a=a) for a in range(3)]
    derived: list[object] = []
    derive = signing._derive

    def count(secret: object) -> Any:
        derived.append(secret)
        return derive(secret)

    monkeypatch.setattr(signing, "_derive", count)
    settings.CLOUDTASK = {**CLOUDTASK}
    assert [sent_to(send, each).status for each in sent] == [200] * 3
    assert derived == [OWN]


def test_a_key_of_bytes_does(settings: Any, send: Send) -> None:
    settings.SECRET_KEY = OWN.encode()
    task = enqueued(a=1)
    settings.SECRET_KEY = OWN

    assert sent_to(send, task).status == 200


def test_without_a_key_only_enqueueing_fails(
    settings: Any, send: Send, caplog: pytest.LogCaptureFixture
) -> None:
    task = enqueued(a=1)
    settings.SECRET_KEY = ""
    settings.CLOUDTASK = {**CLOUDTASK, "PROJECT": "p", "LOCATION": "l"}

    assert check_cloudtask() == []
    with pytest.raises(ConfigurationError) as caught:
        enqueued(a=1)
    assert str(caught.value) == (
        "CLOUDTASK['SIGN']: is on, and there is no key: SECRET_KEY is empty. Set it, "
        "or SIGN_KEYS, or turn SIGN off."
    )
    assert sent_to(send, task, Unreadable()) == FORBIDDEN
    words = "a signature was sent, and SECRET_KEY is empty"
    assert caplog.messages == [f"refused a dispatch: {words!r}"]

    settings.CLOUDTASK = {**CLOUDTASK, "SECRET": SECRET}
    assert sent_to(send, task, **{"X-Task-Secret": SECRET}).status == 200
    settings.CLOUDTASK = {**CLOUDTASK, "SIGN_KEYS": [OWN]}
    assert sent_to(send, enqueued(a=1)).status == 200
    settings.CLOUDTASK = {**CLOUDTASK, "SIGN": False}
    assert enqueued(a=1).headers == {}


def test_a_signature_is_nothing_where_none_is_made(
    settings: Any, send: Send, caplog: pytest.LogCaptureFixture
) -> None:
    task = enqueued(a=1)
    settings.CLOUDTASK = {**CLOUDTASK, "SIGN": False}

    assert sent_to(send, task, Unreadable()) == FORBIDDEN
    words = "a signature was sent, and SIGN is off"
    assert caplog.messages == [f"refused a dispatch: {words!r}"]


# An authenticator of the project


class Strict(Authenticator):
    """Asks for more than its base does."""

    def authenticate(self, meta: Any) -> None:
        super().authenticate(meta)
        if meta.get("HTTP_X_SHOP") != "open":
            raise InvalidCredentials("closed")


class Lenient(Authenticator):
    """Lets in whom its base refuses, if he comes from here."""

    def authenticate(self, meta: Any) -> None:
        try:
            super().authenticate(meta)
        except InvalidCredentials:
            if meta.get("HTTP_X_SHOP") != "open":
                raise


def test_a_class_on_top_of_its_base_gets_the_body_checked(
    settings: Any, send: Send
) -> None:
    settings.CLOUDTASK = {**CLOUDTASK, "AUTH": f"{__name__}.Strict"}
    task = enqueued(a=1)

    assert sent_to(send, task, **{"X-Shop": "open"}).status == 200
    assert sent_to(send, task, task.body + b" ", **{"X-Shop": "open"}) == FORBIDDEN
    assert sent_to(send, task, Unreadable()) == FORBIDDEN


def test_a_class_may_let_in_what_its_base_does_not(settings: Any, send: Send) -> None:
    settings.CLOUDTASK = {**CLOUDTASK, "AUTH": f"{__name__}.Lenient"}
    task = enqueued(a=1)

    for body in (task.body, task.body + b" "):
        assert sent_to(send, task, body, **{"X-Shop": "open"}).status == 200
    assert sent_to(send, task, task.body + b" ") == FORBIDDEN


# What is seen of it


def test_nothing_of_it_is_shown(
    settings: Any, send: Send, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    settings.CLOUDTASK = {**CLOUDTASK, "SIGN_KEYS": [OWN]}
    task = enqueued(a=1)
    value = task.headers[HEADER]
    meta = {"HTTP_X_TASK_SIGNATURE": value}
    admission = auth.authenticate(meta, get_settings())
    shown = [repr(task), repr(admission), repr(get_settings()), str(admission)]
    for body in (task.body + b" ", Stream(b"{")):
        assert sent_to(send, task, body) == FORBIDDEN
    assert send({HEADER: value[:-1]}) == FORBIDDEN

    for text in (*shown, caplog.text):
        for part in (OWN, *value.split(".")[2:]):
            assert part not in text


def test_it_goes_out_beside_the_headers_of_the_route(settings: Any) -> None:
    settings.CLOUDTASK = {
        **django_settings.CLOUDTASK,
        **{"PROJECT": "p", "LOCATION": "l", "TRANSPORT": GOOGLE_TRANSPORT},
    }
    configured = get_settings()
    target = get_transport(configured).target(configured)
    task = enqueued(a=1)

    assert HEADER not in target.headers
    assert dict(to_message(task).task.http_request.headers) == {
        **task.route.headers,
        **task.headers,
    }
