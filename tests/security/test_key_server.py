"""The keys of the issuer: when they are asked for, and when they are not."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cloudtask import auth
from cloudtask.auth import keys, tokens
from cloudtask.auth.keys import KeySet
from cloudtask.conf import get_settings
from cloudtask.exceptions import InvalidCredentials, KeysUnavailable
from tests import tasks
from tests.security import keyserver
from tests.security.conftest import Clock
from tests.security.keyserver import KeyServer
from tests.security.sending import FORBIDDEN, Send, Unreadable, send_wsgi
from tests.security.tokens import (
    NOW,
    Token,
    bearer,
    claims,
    header,
    make_certificate,
    rs256,
)

UNAVAILABLE = (
    503,
    (
        ("Cache-Control", "no-store"),
        ("Content-Type", "application/json"),
        ("Retry-After", "10"),
    ),
    b'{"status": "unavailable"}',
)
#: Answers of a key server that hold no keys.
BROKEN: dict[str, Callable[..., None]] = {
    "503": keyserver.fail,
    "a closed connection": keyserver.close,
    "a redirect": keyserver.redirect,
    "garbage": keyserver.answer(b"\x00\xff\xfe garbage"),
    "nothing": keyserver.answer(b""),
    "HTML": keyserver.answer(b"<html>captive portal</html>"),
    "a list": keyserver.answer(b'["-----BEGIN PUBLIC KEY-----"]'),
    "no keys": keyserver.answer(b"{}"),
    "keys that are none": keyserver.answer(b'{"current": "no PEM"}'),
    "keys that are numbers": keyserver.answer(b'{"current": 1}'),
    "a JSON Web Key Set": keyserver.answer(b'{"keys": [{"kid": "current"}]}'),
    "10 MB": keyserver.ramble,
    "nested objects": keyserver.answer(b'{"a":' * 40_000),
    "silence": keyserver.hang,
    "a body in drips": keyserver.drip_the_body,
    "a head in drips": keyserver.drip_the_head,
}


def token(number: int = 0, kid: str = "current") -> dict[str, str]:
    """The n-th token that holds, once its key is published."""
    return bearer(
        Token(
            header(kid=kid),
            claims(sub=str(number)),
            lambda signed: rs256(signed, kid),
        )
    )


@pytest.fixture
def be_impatient(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Do not wait 5 seconds from now on for a server that never answers."""
    return lambda: monkeypatch.setattr(keys, "FETCH_SECONDS", 0.1)


@pytest.fixture
def key_set(key_server: KeyServer) -> KeySet:
    return KeySet(key_server.url)


def holds(key_set: KeySet, kid: str = "current") -> bool:
    return key_set.verify(kid, b"signed", rs256(b"signed", kid))


# How often they are fetched


def test_many_tokens_take_one_fetch(google: KeyServer, send: Send) -> None:
    for number in range(20):
        assert send(token(number)).status == 200

    assert google.fetched == ["/certs"]


def test_no_key_is_fetched_before_a_token_comes(google: KeyServer, send: Send) -> None:
    send({})
    send({"X-Task-Secret": "wrong"})

    assert google.fetched == []


def test_10_000_unknown_keys_take_one_refresh_in_30_seconds(
    google: KeyServer, ticks: Clock
) -> None:
    settings = get_settings()
    auth.authenticate(meta(token()), settings)
    assert len(google.fetched) == 1

    def flood() -> None:
        for number in range(5000):
            with pytest.raises(InvalidCredentials, match="key is not published"):
                auth.authenticate(meta(unknown(number)), settings)

    # The keys that came a moment ago are new enough.
    flood()
    assert len(google.fetched) == 1
    ticks.now += 29.9
    flood()
    assert len(google.fetched) == 1
    ticks.now += 0.1
    flood()
    assert len(google.fetched) == 2


def meta(headers: dict[str, str]) -> dict[str, str]:
    return {"HTTP_AUTHORIZATION": headers["Authorization"]}


def unknown(number: int) -> dict[str, str]:
    # Nobody looks at the signature of a key that is not there.
    return bearer(Token(header(kid=f"key {number}"), sign=lambda _: b"x"))


def test_a_rotated_key_is_picked_up_at_the_first_token_it_signs(
    google: KeyServer, ticks: Clock, send: Send
) -> None:
    assert send(token(1)).status == 200
    google.publish("current", "next")
    ticks.now += 30

    assert send(token(2, "next")).status == 200
    assert send(token(3, "current")).status == 200
    assert len(google.fetched) == 2


def test_a_key_that_is_published_no_more_is_refused(
    google: KeyServer, ticks: Clock, send: Send
) -> None:
    assert send(token(1)).status == 200
    google.publish("next")
    ticks.now += 30

    assert send(token(2, "next")).status == 200
    assert send(token(3, "current"), Unreadable()) == FORBIDDEN


def test_twenty_threads_at_once_take_one_fetch(
    key_server: KeyServer, key_set: KeySet
) -> None:
    key_server.behave = keyserver.hang

    with ThreadPoolExecutor(20) as pool:
        results = _start_all(pool, 20, lambda: holds(key_set))
        key_server.wait_for_fetches(1)
        key_server.gate.set()

        assert [result.result(10) for result in results] == [True] * 20

    assert len(key_server.fetched) == 1


def test_twenty_threads_at_once_share_one_failure(
    key_server: KeyServer, key_set: KeySet
) -> None:
    key_server.behave = keyserver.fail

    with ThreadPoolExecutor(20) as pool:
        results = _start_all(pool, 20, lambda: holds(key_set))

        errors = [result.exception(10) for result in results]

    assert {type(error) for error in errors} == {KeysUnavailable}
    assert len(key_server.fetched) == 1


def test_threads_that_waited_for_a_failure_do_not_try_again_one_by_one(
    key_server: KeyServer, key_set: KeySet, ticks: Clock
) -> None:
    def fail_in_the_end(server: KeyServer, handler: Any) -> None:
        server.gate.wait(10)
        keyserver.fail(server, handler)

    key_server.behave = fail_in_the_end

    with ThreadPoolExecutor(20) as pool:
        results = [pool.submit(holds, key_set) for _ in range(20)]
        # Each of them has asked, and one has said when, and until when.
        ticks.wait_for_calls(20 + 2)
        ticks.now += keys.FETCH_SECONDS
        key_server.gate.set()
        errors = [result.exception(10) for result in results]

    assert {type(error) for error in errors} == {KeysUnavailable}
    assert len(key_server.fetched) == 1


def _start_all(
    pool: ThreadPoolExecutor, number: int, function: Callable[[], Any]
) -> list[Future[Any]]:
    """Call a function in threads that start at the same moment."""
    ready = threading.Barrier(number + 1)

    def call() -> Any:
        ready.wait(10)
        return function()

    results = [pool.submit(call) for _ in range(number)]
    ready.wait(10)
    return results


# How long they are kept


def test_keys_are_fetched_anew_before_they_lapse(
    key_server: KeyServer, key_set: KeySet, ticks: Clock
) -> None:
    key_server.cache_control = "public, max-age=1000"
    assert holds(key_set)
    ticks.now += 799
    assert holds(key_set)
    assert len(key_server.fetched) == 1

    ticks.now += 1
    assert holds(key_set)
    assert holds(key_set)

    assert len(key_server.fetched) == 2


def test_keys_that_may_not_be_kept_are_fetched_every_30_seconds(
    key_server: KeyServer, key_set: KeySet, ticks: Clock
) -> None:
    key_server.cache_control = "no-cache, max-age=0"

    for _ in range(61):
        assert holds(key_set)
        ticks.now += 1

    assert len(key_server.fetched) == 3


def test_a_refresh_lets_the_other_threads_pass(
    key_server: KeyServer, key_set: KeySet, ticks: Clock
) -> None:
    assert holds(key_set)
    ticks.now += keys.DEFAULT_LIFETIME
    key_server.behave = keyserver.hang

    with ThreadPoolExecutor(1) as pool:
        refreshing = pool.submit(holds, key_set)
        key_server.wait_for_fetches(2)
        assert holds(key_set)  # While the other one waits for the server.
        assert not refreshing.done()
        key_server.gate.set()

        assert refreshing.result(10)


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_stale_keys_serve_while_no_others_are_to_be_had(
    key_server: KeyServer,
    ticks: Clock,
    be_impatient: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
    broken: Callable[..., None],
) -> None:
    key_set = KeySet(key_server.url)
    assert holds(key_set)
    be_impatient()
    key_server.behave = broken

    for _ in range(3):
        ticks.now += keys.MAX_LIFETIME
        assert holds(key_set)
        assert holds(key_set)  # Without another fetch.

    assert len(key_server.fetched) == 4
    assert len(caplog.records) == 3
    assert caplog.messages[0].startswith(f"keys url={key_server.url} fetch failed: ")


def test_a_server_that_recovers_is_asked_30_seconds_after_it_failed(
    key_server: KeyServer, key_set: KeySet, ticks: Clock
) -> None:
    assert holds(key_set)
    ticks.now += keys.DEFAULT_LIFETIME
    key_server.behave = keyserver.fail
    assert holds(key_set)
    key_server.publish("current", "next")
    key_server.behave = keyserver.publish

    ticks.now += 29.9
    with pytest.raises(InvalidCredentials):
        holds(key_set, "next")
    ticks.now += 0.1
    assert holds(key_set, "next")


@pytest.mark.parametrize(
    ("cache_control", "seconds"),
    [
        ("public, max-age=19204, must-revalidate, no-transform", 19_204),  # Google's.
        ("max-age=1", 1),
        ("max-age=0", 0),
        ("public,max-age=60", 60),
        ("max-age=86401", 86_400),  # Never longer than a day.
        ("max-age=999999999", 86_400),
        (None, 3600),  # Nothing is said.
        ("", 3600),
        ("no-store", 3600),
        ("max-age=", 3600),
        ("max-age=-1", 3600),
        ("max-age=soon", 3600),
        ("max-age=9999999999", 3600),  # No number of seconds is as long.
        ("s-maxage=5", 3600),  # For shared caches.
    ],
)
def test_keys_live_as_long_as_cache_control_says(
    key_server: KeyServer, cache_control: str | None, seconds: float
) -> None:
    key_server.cache_control = cache_control

    published, lifetime = keys.fetch(key_server.url)

    assert lifetime == seconds
    assert list(published) == ["current"]


# Outages


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_without_any_keys_a_token_that_may_hold_is_a_503_and_not_a_403(
    google: KeyServer,
    be_impatient: Callable[[], None],
    send: Send,
    broken: Callable[..., None],
) -> None:
    be_impatient()
    google.behave = broken

    answer = send(token(), Unreadable())

    assert (answer.status, answer.headers, answer.body) == UNAVAILABLE
    assert tasks.ran == []
    assert google.fetched == ["/certs"]  # And no redirect is followed.


def test_nobody_listening_is_a_503(
    google: KeyServer, monkeypatch: pytest.MonkeyPatch, send: Send
) -> None:
    monkeypatch.setattr(tokens, "GOOGLE_KEYS_URL", "http://127.0.0.1:1/certs")

    assert send(token()).status == 503


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_an_outage_locks_nobody_out_whose_key_is_known(
    google: KeyServer,
    ticks: Clock,
    be_impatient: Callable[[], None],
    send: Send,
    broken: Callable[..., None],
) -> None:
    assert send(token(1)).status == 200
    be_impatient()
    google.behave = broken
    ticks.now += keys.MAX_LIFETIME

    assert send(token(2)).status == 200
    # A key that those do not know is the sender's fault, not the outage's.
    assert send(token(3, "next")) == FORBIDDEN


def test_a_server_that_is_down_is_asked_every_other_second_while_there_are_no_keys(
    google: KeyServer, ticks: Clock, send: Send
) -> None:
    google.behave = keyserver.fail
    for _ in range(5):
        assert send(token()).status == 503
    assert len(google.fetched) == 1

    google.behave = keyserver.publish
    ticks.now += 1.9
    assert send(token()).status == 503
    ticks.now += 0.1
    assert send(token()).status == 200


def test_a_fetch_ends_at_its_deadline_however_the_server_drips(
    key_server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "FETCH_SECONDS", 0.1)

    for key_server.behave in (keyserver.drip_the_head, keyserver.drip_the_body):
        with pytest.raises((TimeoutError, OSError)):
            keys.fetch(key_server.url)

    # It was the client that gave up.
    assert not key_server.gate.is_set()


def test_keys_from_google_come_over_tls_from_whom_the_machine_trusts(
    google: KeyServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("NO_PROXY", "*")

    with keyserver.serve(certificate) as tls_server:
        monkeypatch.setattr(tokens, "GOOGLE_KEYS_URL", tls_server.url)
        assert send_wsgi(token()).status == 503
        assert "certificate verify failed" in caplog.messages[0]

        auth.forget_keys()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert send_wsgi(token()).status == 200


def test_no_proxy_stands_before_an_emulator(
    key_server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)

    assert keys.fetch(key_server.url)


def test_the_keys_that_are_asked_for_are_googles_own() -> None:
    assert tokens.GOOGLE_KEYS_URL == "https://www.googleapis.com/oauth2/v1/certs"


# Remembered tokens


@pytest.fixture
def remembered(google: KeyServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A token that was let in once. There are no keys any more."""
    headers = token()
    assert send_wsgi(headers).status == 200
    auth.forget_keys()
    google.behave = keyserver.fail
    google.fetched.clear()
    tasks.ran.clear()
    return headers


def test_a_remembered_token_takes_neither_keys_nor_mathematics(
    google: KeyServer, remembered: dict[str, str], send: Send
) -> None:
    for _ in range(3):
        assert send(remembered).status == 200

    assert tasks.ran == [("add", 5, 4)] * 3
    assert google.fetched == []


def test_a_remembered_token_expires_like_any_other(
    google: KeyServer, remembered: dict[str, str], now: Clock, send: Send
) -> None:
    now.now = NOW + 3600 + 10
    assert send(remembered).status == 200

    now.now += 0.001

    assert send(remembered, Unreadable()) == FORBIDDEN
    assert google.fetched == []


def test_only_the_very_token_is_remembered(
    google: KeyServer, remembered: dict[str, str], send: Send
) -> None:
    assert send(token(1)).status == 503
    changed = remembered["Authorization"][:-4]
    assert send({"Authorization": changed}).status == 503


def test_a_token_is_forgotten_when_the_settings_change(
    google: KeyServer, remembered: dict[str, str], settings: Any, send: Send
) -> None:
    settings.CLOUDTASK = {
        **settings.CLOUDTASK,
        "SAE": "other@shop.iam.gserviceaccount.com",
    }

    assert send(remembered) == FORBIDDEN


def test_a_refused_token_is_not_remembered(google: KeyServer, send: Send) -> None:
    forged = bearer(Token(sign=lambda _: b"forged"))

    for _ in range(3):
        assert send(forged) == FORBIDDEN


def test_the_memory_for_tokens_is_bounded(
    google: KeyServer, monkeypatch: pytest.MonkeyPatch, send: Send
) -> None:
    monkeypatch.setattr(tokens, "_MAX_REMEMBERED", 2)
    for number in range(3):
        assert send(token(number)).status == 200
    auth.forget_keys()
    google.behave = keyserver.fail

    assert [send(token(number)).status for number in range(3)] == [503, 503, 200]
