"""
Bodies and headers of no one's making: nothing breaks, nothing wrong runs.

5,000 bodies and 800 sets of headers, through both handlers. The environment
variable CLOUDTASK_FUZZ=40 makes it forty times as many.
"""

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import tasks
from tests.security import samples
from tests.security.sending import (
    AUTHENTIC,
    FORBIDDEN,
    Answer,
    Unreadable,
    asend,
    payload,
    send_wsgi,
)
from tests.security.tokens import Token, bearer, claims
from tests.sizes import scaled

CATCH_ALL = f"{samples.__name__}.catch_all"
#: Mutated bodies for each example: making one is cheap, and drawing is not.
BATCH = 25


def examples(number: int) -> Callable[..., Any]:
    return settings(
        max_examples=scaled(number),
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


pytestmark = [pytest.mark.fuzz, pytest.mark.usefixtures("secret")]


@pytest.fixture(params=["wsgi", "asgi"])
def send(request: pytest.FixtureRequest) -> Any:
    """Send a dispatch, through one loop for all of them."""
    if request.param == "wsgi":
        yield send_wsgi
        return
    with asyncio.Runner() as runner:
        yield lambda *args, **kwargs: runner.run(asend(*args, **kwargs))


def check(answer: Answer, body: bytes) -> None:
    """What must hold whatever was sent."""
    ran = list(tasks.ran)
    tasks.ran.clear()
    assert answer.status in (200, 400, 404), body
    # It ran once, and only what says by itself that it is to be run.
    assert len(ran) == (1 if answer.status == 200 else 0), body
    if answer.status == 200:
        document = json.loads(body.decode())
        assert document["v"] == 1, body
        assert document["task"] == CATCH_ALL, body
        assert document["kind"] == "cloudtask", body
        assert len(document["id"]) == 32, body
        assert isinstance(document["args"], list), body
        assert isinstance(document["kwargs"], dict), body


# Any JSON, and what looks like a payload

_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["__type__", "value", "tuple", "datetime", "Decimal", "2026-01-31T12:00", "NaN"]
    )
)
_json = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        | st.fixed_dictionaries(
            {
                "__type__": st.sampled_from(
                    [
                        *("tuple", "set", "dict", "datetime", "date", "time", "bytes"),
                        *("timedelta", "Decimal", "UUID", "os.system"),
                    ]
                )
                | inner,
                "value": inner,
            },
            optional={"zone": inner, "fold": inner, "self": inner, "__type": inner},
        )
    ),
    max_leaves=8,
)
_ids = st.sampled_from(["0123456789abcdef0123456789abcdef", "f" * 32]) | _json
_documents = st.fixed_dictionaries(
    {
        "v": st.just(1) | _json,
        "id": _ids,
        "task": st.sampled_from([CATCH_ALL, "os.abort", "builtins.eval"]) | _json,
        "kind": st.sampled_from(["cloudtask", "django"]) | _json,
        "args": st.lists(_json, max_size=3) | _json,
        "kwargs": st.dictionaries(st.text(max_size=5), _json, max_size=3) | _json,
        "enqueued_at": st.just("2026-01-31T12:00:00+00:00") | _json,
    },
    optional={"more": _json},
)


@examples(300)
@given(value=_json | _documents)
def test_any_json_is_answered_and_only_payloads_run(send: Any, value: Any) -> None:
    body = json.dumps(value).encode()

    check(send(AUTHENTIC, body), body)


@examples(300)
@given(
    args=st.lists(_json, max_size=3),
    kwargs=st.dictionaries(st.text(max_size=5), _json, max_size=3),
)
def test_any_arguments_are_taken_or_refused(
    send: Any, args: list[Any], kwargs: dict[str, Any]
) -> None:
    body = payload(CATCH_ALL, args=args, kwargs=kwargs)

    check(send(AUTHENTIC, body), body)


@examples(100)
@given(body=st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_answered(send: Any, body: bytes) -> None:
    check(send(AUTHENTIC, body), body)


# Payloads that were damaged on the way

_VALID = [
    payload(CATCH_ALL),
    payload(CATCH_ALL, args=[1, -2.5, "text", None, True, [[]], {"a": {}}]),
    payload(CATCH_ALL, kwargs={"a": 1, "é": "ü", "nested": [{"b": [1]}]}),
    payload(
        CATCH_ALL,
        args=[
            {"__type__": "datetime", "value": "2026-01-31T12:00", "zone": "UTC"},
            {"__type__": "date", "value": "2026-01-31"},
            {"__type__": "time", "value": "12:00:00", "fold": 1},
            {"__type__": "timedelta", "value": [1, 2, 3]},
            {"__type__": "Decimal", "value": "1.5"},
            {"__type__": "UUID", "value": "0123456789abcdef0123456789abcdef"},
            {"__type__": "bytes", "value": "AAEC"},
            {"__type__": "tuple", "value": [1, [2]]},
            {"__type__": "set", "value": [1, 2]},
            {"__type__": "dict", "value": [["__type__", 1]]},
        ],
    ),
]
_PIECES = [
    *(b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"\\u0000", b"\\ud800", b"0"),
    *(b"NaN", b"1e999", b"-", b"null", b"true", b'"v"', b'"__type__"', b'"value"'),
    *(
        b"\0",
        b"\xff",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b" ",
        b"\n",
        b"9" * 99,
    ),
]


def mutate(body: bytes, rng: random.Random) -> bytes:
    """Damage a body in one to four places."""
    for _ in range(rng.randint(1, 4)):
        start = rng.randint(0, len(body))
        end = min(len(body), start + rng.choice([0, 0, 1, 1, 2, 8, 64]))
        other = rng.choice(_VALID)
        at = rng.randint(0, len(other))
        piece = rng.choice(
            [
                b"",
                rng.choice(_PIECES),
                bytes([rng.randrange(256)]),
                body[start:end] * 2,
                other[at : at + rng.randint(1, 40)],
            ]
        )
        body = body[:start] + piece + body[end:]
    return body


@examples(1800 // BATCH)
@given(seed=st.integers(0, 2**64))
def test_damaged_payloads_are_answered_and_run_only_whole(send: Any, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - to be repeated
    for _ in range(BATCH):
        body = mutate(rng.choice(_VALID), rng)
        check(send(AUTHENTIC, body), body)


# Headers

_HEADERS = [
    *("X-CloudTasks-QueueName", "X-CloudTasks-TaskName", "X-CloudTasks-TaskETA"),
    *("X-CloudTasks-TaskRetryCount", "X-CloudTasks-TaskExecutionCount"),
    *("X-CloudTasks-TaskPreviousResponse", "X-CloudTasks-TaskRetryReason"),
    *("Content-Type", "User-Agent", "Accept", "Host", "Cookie", "X-Forwarded-For"),
]
_latin = st.text(st.characters(max_codepoint=255), max_size=12)
_numbers = st.integers(-(10**12), 10**12).map(str) | st.floats().map(str)
_values = (
    _latin
    | _numbers
    | st.sampled_from(["", ",", "1,2", "9" * 40, "x" * 8192, "\xb2", "1_0", "0x1"])
)
_header_sets = st.dictionaries(st.sampled_from(_HEADERS), _values, max_size=8)


@examples(200)
@given(headers=_header_sets)
def test_any_headers_of_cloud_tasks_run_a_task_once(
    send: Any, headers: dict[str, str]
) -> None:
    tasks.ran.clear()
    body = payload("tests.tasks.inspect")

    answer = send({**headers, **AUTHENTIC}, body)

    assert (answer.status, answer.word) == (200, "done")
    [request] = tasks.ran
    assert isinstance(request, tasks.CloudTaskRequest)
    assert 1 <= request.attempt <= 10**9
    assert request.previous_response is None or 100 <= request.previous_response < 600
    assert request.eta is None or request.eta.year >= 1970
    assert request.queue is None or request.queue.isascii()


_parts = st.binary(max_size=60).map(lambda part: part.hex()) | _latin
_claims = st.dictionaries(st.sampled_from(list(claims())), _json, max_size=3)
_tokens = (
    _latin
    | st.lists(_parts, max_size=5).map(".".join)
    | _claims.map(lambda changes: str(Token(claims=claims(**changes), sign=len_of)))
    | st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit"]), _json).map(
        lambda changes: str(Token(header=changes, sign=len_of))
    )
)


def len_of(signed: bytes) -> bytes:
    """In place of a signature: no key has made it."""
    return str(len(signed)).encode()


@examples(200)
@given(
    headers=_header_sets,
    credentials=st.fixed_dictionaries(
        {}, optional={"X-Task-Secret": _latin, "Authorization": _latin | _tokens}
    ),
    token=st.none() | _tokens,
)
def test_any_headers_without_a_credential_that_holds_are_refused(
    google: Any,
    send: Any,
    headers: dict[str, str],
    credentials: dict[str, str],
    token: str | None,
) -> None:
    if token is not None and token.isascii():
        credentials = {**credentials, **bearer(token)}

    assert send({**headers, **credentials}, Unreadable()) == FORBIDDEN
    assert tasks.ran == []
