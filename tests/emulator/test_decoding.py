import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudtask.emulator.tasks.admin.decoding import (
    MAX_SUMMARY,
    MAX_TEXT,
    Call,
    decode,
    summary,
)

PAYLOAD: dict[str, Any] = {
    "v": 1,
    "id": "0" * 32,
    "task": "shop.tasks.add",
    "kind": "cloudtask",
    "args": [1, "x"],
    "kwargs": {"when": {"__type__": "date", "value": "2026-01-31"}},
    "enqueued_at": "2026-01-31T12:00:00+00:00",
}


def payload(**changes: Any) -> bytes:
    return json.dumps(PAYLOAD | changes).encode()


def test_a_call_is_recognised_by_its_shape() -> None:
    decoded = decode(payload())

    assert decoded.format == "cloudtask"
    assert decoded.call == Call(
        task="shop.tasks.add",
        id="0" * 32,
        kind="cloudtask",
        args=["1", '"x"'],
        kwargs={"when": '{"__type__": "date", "value": "2026-01-31"}'},
        enqueued_at="2026-01-31T12:00:00+00:00",
    )
    assert decoded.summary == (
        'shop.tasks.add(1, "x", when={"__type__": "date", "value": "2026-01-31"})'
    )
    assert json.loads(decoded.text) == PAYLOAD


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"v": "1"}, id="version"),
        pytest.param({"v": True}, id="a bool is no version"),
        pytest.param({"id": None}, id="id"),
        pytest.param({"task": 1}, id="task"),
        pytest.param({"kind": []}, id="kind"),
        pytest.param({"args": {}}, id="args"),
        pytest.param({"kwargs": []}, id="kwargs"),
    ],
)
def test_other_json_is_no_call(changes: dict[str, Any]) -> None:
    decoded = decode(payload(**changes))

    assert (decoded.format, decoded.call) == ("json", None)


def test_a_call_need_not_say_when_it_was_enqueued() -> None:
    call = decode(payload(enqueued_at=1)).call

    assert call is not None
    assert call.enqueued_at is None


@pytest.mark.parametrize(
    ("body", "expected_format", "expected_summary", "expected_text"),
    [
        (b"", "empty", "", ""),
        (b'{"a":[1]}', "json", '{"a":[1]}', '{\n  "a": [\n    1\n  ]\n}'),
        (b"[]", "json", "[]", "[]"),
        (b'"\\u00fc"', "json", '"\\u00fc"', '"ü"'),
        (b"1152921504606846977", "json", *["1152921504606846977"] * 2),
        (b"a=1&b=2", "text", "a=1&b=2", "a=1&b=2"),
        (b"one\n\n  two ", "text", "one two", "one\n\n  two "),
        ("grüße".encode(), "text", "grüße", "grüße"),
        (b"[" * 100_000, "text", "[" * 119 + "…", "[" * MAX_TEXT),
        (b"9" * 5000, "text", "9" * 119 + "…", "9" * 5000),
        (
            b"\xff\x00Az",
            "binary",
            "4 bytes",
            f"00000000  {'ff 00 41 7a':<47}  ..Az",
        ),
        (b"a\x00b", "binary", "3 bytes", f"00000000  {'61 00 62':<47}  a.b"),
    ],
    ids=[
        *("empty", "object", "list", "string", "large number", "form", "lines"),
        *("umlauts", "deep", "digits", "binary", "zero byte"),
    ],
)
def test_a_body_is_made_readable(
    body: bytes, expected_format: str, expected_summary: str, expected_text: str
) -> None:
    decoded = decode(body)

    assert decoded.format == expected_format
    assert decoded.size == len(body)
    assert decoded.summary == expected_summary
    assert decoded.text == expected_text


@pytest.mark.parametrize(
    ("body", "truncated"),
    [
        pytest.param(b"x" * MAX_TEXT, False, id="text"),
        pytest.param(b"x" * (MAX_TEXT + 1), True, id="long text"),
        pytest.param(b'"%s"' % (b"x" * (MAX_TEXT - 2)), False, id="json"),
        pytest.param(b'"%s"' % (b"x" * (MAX_TEXT - 1)), True, id="long json"),
        pytest.param(b"\xff" * 256, False, id="binary"),
        pytest.param(b"\xff" * 257, True, id="long binary"),
    ],
)
def test_only_the_beginning_of_a_long_body_is_shown(
    body: bytes, truncated: bool
) -> None:
    decoded = decode(body)

    assert decoded.truncated is truncated
    assert len(decoded.text) <= MAX_TEXT


def test_binary_bodies_are_shown_in_lines_of_16() -> None:
    lines = decode(bytes(range(256, 0, -1)[1:])).text.splitlines()

    assert [line[:8] for line in lines[:2]] == ["00000000", "00000010"]
    assert len(lines) == 16


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", ""),
        (b'{"a": 1}', '{"a": 1}'),
        (b"x" * MAX_SUMMARY, "x" * MAX_SUMMARY),
        (b"x" * (MAX_SUMMARY + 1), "x" * (MAX_SUMMARY - 1) + "…"),
        (b" " * 500 + b"x", "…"),
        (payload(args=["x" * 20_000], kwargs={}), '{"v": 1, "id": "000'),
        (b"\xff" * 20_000, "\N{REPLACEMENT CHARACTER}" * (MAX_SUMMARY - 1) + "…"),
    ],
    ids=["empty", "json", "full", "over", "blanks", "large call", "large binary"],
)
def test_a_summary_is_one_short_line(body: bytes, expected: str) -> None:
    assert summary(body).startswith(expected)
    assert len(summary(body)) <= MAX_SUMMARY


@given(st.binary() | st.text().map(str.encode))
def test_every_body_can_be_shown(body: bytes) -> None:
    decoded = decode(body)

    assert decoded.size == len(body)
    assert json.dumps(decoded.to_dict())
    assert "\n" not in summary(body)
