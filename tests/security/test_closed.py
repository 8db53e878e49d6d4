"""Who is let in: nobody, until a credential is set and holds."""

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from cloudtask.checks import check_cloudtask
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
    forged,
)

#: What Cloud Tasks, App Engine and proxies say of themselves.
SPOOFED = {
    "User-Agent": "Google-Cloud-Tasks",
    "X-CloudTasks-QueueName": "default",
    "X-CloudTasks-TaskName": "1234567890",
    "X-CloudTasks-TaskRetryCount": "0",
    "X-CloudTasks-TaskExecutionCount": "0",
    "X-CloudTasks-TaskETA": "1800000000.123456",
    "X-CloudTasks-TaskPreviousResponse": "503",
    "X-CloudTasks-TaskRetryReason": "",
    "X-AppEngine-QueueName": "default",
    "X-AppEngine-TaskName": "1234567890",
    "X-Google-Internal-SkipAdminCheck": "true",
    "X-Serverless-Authorization": f"Bearer {Token()}",
    "X-Forwarded-For": "127.0.0.1",
    "X-Goog-Authenticated-User-Email": f"accounts.google.com:{EMAIL}",
    "X-Goog-IAP-JWT-Assertion": str(Token()),
    "Forwarded": "for=127.0.0.1;proto=https",
    "Host": "localhost",
    "Cookie": "sessionid=admin",
}
NOTHING_SET: dict[str, Mapping[str, Any] | None] = {
    "no setting": None,
    "an empty one": {},
    "no credential": {"PROJECT": "shop", "LOCATION": "europe-west1", "QUEUE": "q"},
    "all asked for": {"AUTH": "all"},
    "any asked for": {"AUTH": "any"},
    "no signature": {"SIGN": False},
    "no signature, all": {"SIGN": False, "AUTH": "all"},
    "credentials of None": {"SECRET": None, "SAE": None, "SECRET_FALLBACKS": None},
    "no fallbacks": {"SECRET_FALLBACKS": []},
    "an audience alone": {"AUDIENCE": AUDIENCE, "URL": AUDIENCE},
    "an emulator alone": {"EMULATOR_HOST": "127.0.0.1:8123", "AUDIENCE": AUDIENCE},
    "an emulator, both": {"EMULATOR_HOST": "127.0.0.1:8123", "AUTH": "all"},
}


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("configured", NOTHING_SET.values(), ids=NOTHING_SET)
def test_with_no_credential_set_everyone_is_refused_in_every_environment(
    google: KeyServer,
    settings: Any,
    send: Send,
    configured: Mapping[str, Any] | None,
    debug: bool,
) -> None:
    settings.DEBUG = debug
    settings.CLOUDTASK = configured

    for credentials in (
        {},
        SPOOFED,
        bearer(Token()),
        {"X-Task-Secret": SECRET},
        {"X-Task-Secret": ""},
        {"X-Task-Secret": "None"},
        {**SPOOFED, **bearer(Token()), "X-Task-Secret": SECRET},
    ):
        assert send(credentials, Unreadable()) == FORBIDDEN

    assert tasks.ran == []
    assert google.fetched == []


@pytest.mark.parametrize("debug", [True, False])
def test_with_no_credential_set_the_check_reports_an_error(
    settings: Any, debug: bool
) -> None:
    settings.DEBUG = debug
    settings.CLOUDTASK = {"SIGN": False}

    [message] = [m for m in check_cloudtask() if m.id == "cloudtask.E002"]

    assert message.is_serious()
    assert message.msg == (
        "CLOUDTASK['SIGN'] is off, and neither CLOUDTASK['SECRET'] nor "
        "CLOUDTASK['SAE'] is set: the dispatch view refuses every task."
    )


@pytest.mark.parametrize("auth", ["any", "all"])
def test_headers_of_cloud_tasks_never_authenticate(
    google: KeyServer, settings: Any, send: Send, auth: str
) -> None:
    settings.CLOUDTASK = {**TOKENS_ONLY, "SECRET": SECRET, "AUTH": auth}

    assert send(SPOOFED, Unreadable()) == FORBIDDEN
    assert send({}, Unreadable()) == FORBIDDEN


# AUTH: see test_matrix.py, too

SET: dict[str, dict[str, Any]] = {
    "neither": {},
    "secret": {"SECRET": SECRET},
    "token": TOKENS_ONLY,
    "both": {**TOKENS_ONLY, "SECRET": SECRET},
}
SECRETS = {
    "ok": {"X-Task-Secret": SECRET},
    "bad": {"X-Task-Secret": "x" * len(SECRET)},
    "absent": {},
}
TOKENS = {"ok": bearer(Token()), "bad": bearer(Token(sign=forged)), "absent": {}}


def test_any_credential_is_enough_where_nothing_else_is_said(
    google: KeyServer, settings: Any, send: Send
) -> None:
    settings.CLOUDTASK = {**TOKENS_ONLY, "SECRET": SECRET}

    assert send({"X-Task-Secret": SECRET}).status == 200
    assert send(bearer(Token())).status == 200


# The log says why

REASONS = {
    "neither a secret nor a signature nor a token was sent": (
        "any",
        "both",
        "absent",
        "absent",
    ),
    "the secret is another": ("any", "both", "bad", "absent"),
    "the token's signature is wrong": ("any", "both", "absent", "bad"),
    "a token was sent, and SAE is not set": ("any", "secret", "absent", "ok"),
    "the secret is another; the token's signature is wrong": (
        *("any", "both"),
        *("bad", "bad"),
    ),
    "neither SECRET nor SAE is set, and SIGN is off": ("all", "neither", "ok", "ok"),
    "no secret was sent": ("all", "both", "absent", "ok"),
    "no token was sent": ("all", "both", "ok", "absent"),
}


@pytest.mark.parametrize(("reason", "case"), REASONS.items(), ids=REASONS)
def test_the_log_says_why_a_dispatch_was_refused(
    google: KeyServer,
    settings: Any,
    send: Send,
    caplog: pytest.LogCaptureFixture,
    reason: str,
    case: tuple[str, str, str, str],
) -> None:
    auth, configured, sent_secret, sent_token = case
    settings.CLOUDTASK = {**SET[configured], "AUTH": auth, "SIGN": False}

    answer = send({**SECRETS[sent_secret], **TOKENS[sent_token]}, Unreadable())

    assert answer == FORBIDDEN
    assert caplog.record_tuples == [
        ("cloudtask", logging.WARNING, f"refused a dispatch: {reason!r}")
    ]


# Broken settings

BROKEN: list[Any] = [
    *([], [("SECRET", SECRET)], "SECRET", 1, True, object),
    *({"SECRTE": SECRET}, {"secret": SECRET}, {1: 2}, {None: None}, {("a",): 1}),
    *({"SECRET": ""}, {"SECRET": b"bytes"}, {"SECRET": 1}, {"SECRET": " padded "}),
    *({"SECRET": "é"}, {"SECRET": "a\nb"}, {"SECRET": [SECRET]}, {"SECRET": object}),
    *({"SECRET_FALLBACKS": SECRET}, {"SECRET_FALLBACKS": [""]}),
    *({"SECRET_FALLBACKS": [None]}, {"SECRET_FALLBACKS": {SECRET}}),
    *({"SAE": ""}, {"SAE": "nobody"}, {"SAE": [EMAIL]}, {"SAE": "a@b@c"}),
    *({"AUDIENCE": ""}, {"AUDIENCE": []}, {"AUDIENCE": [None]}, {"AUDIENCE": 1}),
    *({"AUTH": "none"}, {"AUTH": None, "URL": "x"}, {"AUTH": ["any"]}, {"AUTH": {}}),
    *({"AUTH": "shop.auth.Mine"}, {"AUTH": "os.getpid"}, {"AUTH": "builtins.object"}),
    *({"AUTH_PARAMS": "x"}, {"AUTH_PARAMS": {1: 2}}, {"AUTH_PARAMS": {"x": SECRET}}),
    *({"URL": "/_tasks/"}, {"URL": "ftp://x/"}, {"URL": "https://[::/"}, {"URL": 1}),
    *({"EMULATOR_HOST": "nowhere"}, {"EMULATOR_HOST": "a:b"}, {"EMULATOR_HOST": ":1"}),
    *({"EMULATOR_HOST": "a:1", "EMULATOR_HTTP_HOST": "a/b:1"}, {"QUEUE": "a b"}),
    *({"PROJECT": ""}, {"LOCATION": "Earth"}, {"CREDENTIALS": None, "QUEUES": []}),
    *({"ON_COMMIT": "yes"}, {"DEADLINE": 30}, {"DEADLINE": timedelta(1)}),
    *({"RETRY": 5}, {"RETRY": {"attempts": 5}}, {"RETRY": {"max_attempts": []}}),
    *({"SIGN": 1}, {"SIGN": "no"}, {"SIGN_KEYS": []}, {"SIGN_KEYS": SECRET}),
    *({"SIGN_KEYS": ["é" * 24]}, {"SIGN_KEYS": [SECRET, ""]}, {"SIGN_KEYS": [b"k"]}),
    *({"RUN_ONCE": 1}, {"RUN_ONCE": True, "RETRY": {}}, {"IMPORTS": "shop.jobs"}),
    *({"QUEUES": {1: {}}}, {"QUEUES": {"q": 1}}, {"QUEUES": {"q": {"x": 1}}}),
    *({"PRIORITY_QUEUES": {"high": "q"}}, {"QUEUE_ALIASES": {"": "q"}}),
    *({"TRANSPORT": 1}, {"RPC_TIMEOUT": timedelta(0)}, {"RPC_TIMEOUT": 10}),
]


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("broken", BROKEN, ids=repr)
def test_broken_settings_close_the_view_and_are_logged_as_an_error(
    google: KeyServer,
    settings: Any,
    send: Send,
    caplog: pytest.LogCaptureFixture,
    broken: Any,
    debug: bool,
) -> None:
    settings.DEBUG = debug
    if isinstance(broken, dict):
        # What holds beside the fault does not count either.
        broken = {**TOKENS_ONLY, "SECRET": SECRET, **broken}
    settings.CLOUDTASK = broken

    answer = send({"X-Task-Secret": SECRET, **bearer(Token())}, Unreadable())

    assert answer == FORBIDDEN
    [record] = caplog.records
    assert (record.name, record.levelno) == ("cloudtask", logging.ERROR)
    assert "CLOUDTASK" in record.getMessage()
    assert SECRET not in caplog.text


# On Google Cloud nothing has to be set


def _metadata(server: KeyServer, handler: Any) -> None:
    values = {
        "instance/service-accounts/default/email": EMAIL,
        "instance/region": "projects/123/regions/europe-west1",
        "project/numeric-project-id": "123",
    }
    value = values[handler.path.removeprefix("/computeMetadata/v1/")].encode()
    handler.send_response(200)
    handler.send_header("Metadata-Flavor", "Google")
    handler.send_header("Content-Length", str(len(value)))
    handler.end_headers()
    handler.wfile.write(value)


def test_on_cloud_run_the_services_own_account_is_let_in_and_no_other(
    google: KeyServer, settings: Any, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "https://shop-123.europe-west1.run.app/_tasks/"
    monkeypatch.delenv("NO_GCE_CHECK")
    monkeypatch.setenv("K_SERVICE", "shop")
    monkeypatch.setenv("GCE_METADATA_HOST", google.address)
    settings.CLOUDTASK = {}
    publish = google.behave

    def behave(server: KeyServer, handler: Any) -> None:
        is_metadata = handler.path.startswith("/computeMetadata/")
        (_metadata if is_metadata else publish)(server, handler)

    google.behave = behave

    assert send(bearer(Token(claims=claims(aud=url)))).status == 200
    assert send(bearer(Token())) == FORBIDDEN  # For another audience.
    other = claims(aud=url, email="other@shop.iam.gserviceaccount.com")
    assert send(bearer(Token(claims=other))) == FORBIDDEN
    assert send({}) == FORBIDDEN
    assert send({"X-Task-Secret": SECRET}) == FORBIDDEN
