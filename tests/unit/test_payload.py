# Naive values are carried, too.
# ruff: noqa: DTZ001, DTZ901

from __future__ import annotations

import enum
import io
import json
import re
import struct
import sys
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.db.models import IntegerChoices, TextChoices
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cloudtask.exceptions import DecodeError, EncodeError
from cloudtask.wire.payload import DJANGO, Payload, Using, decode, encode, new_id
from cloudtask.wire.strict_json import MAX_DEPTH, load_json
from tests.sizes import scaled

ID = "0123456789abcdef0123456789abcdef"
BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)

#: A valid body, as an object.
VALID: dict[str, Any] = {
    "v": 1,
    "id": ID,
    "task": "shop.tasks.add",
    "kind": "cloudtask",
    "args": [],
    "kwargs": {},
    "enqueued_at": "2026-01-31T12:00:00+00:00",
}


def short(value: object) -> str:
    """For the name of a test."""
    return repr(value)[:40]


def payload(*args: Any, **kwargs: Any) -> Payload:
    return Payload(
        id=ID, task="shop.tasks.add", args=args, kwargs=kwargs, enqueued_at=NOON
    )


def body(**members: Any) -> bytes:
    """A valid body, but for some members."""
    return json.dumps(VALID | members).encode()


def body_with(argument: str | bytes) -> bytes:
    """A valid body with one argument, which is JSON or no JSON."""
    text = argument.encode() if isinstance(argument, str) else argument
    return body(args=["#"]).replace(b'"#"', text)


def tagged(kind: object, **members: Any) -> bytes:
    return body(args=[{"__type__": kind, **members}])


def carried(value: Any) -> Any:
    """What arrives of one argument."""
    (arrived,) = decode(encode(payload(value))).args
    return arrived


def refusal(*args: Any, **kwargs: Any) -> str:
    """Why these arguments are not carried."""
    with pytest.raises(EncodeError) as caught:
        encode(payload(*args, **kwargs))
    task, _, problem = str(caught.value).partition(": ")
    assert task == "shop.tasks.add"
    return problem


def why_refused(text: bytes) -> str:
    """Why this body is not a payload."""
    with pytest.raises(DecodeError) as caught:
        decode(text)
    # A logged error shows what it was raised from, and that quotes the body.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return str(caught.value)


def exact(value: Any) -> Any:
    """What has to survive: equality alone takes 1 for True."""
    kind = type(value)
    if kind in (list, tuple, Using):
        return kind, [exact(item) for item in value]
    if kind is set:
        return kind, sorted(repr(exact(item)) for item in value)
    if kind is dict:
        return kind, [(key, exact(item)) for key, item in value.items()]
    if kind in (datetime, time):
        naive = value.replace(tzinfo=None, fold=0)
        return kind, naive, value.fold, zone_of(value)
    if kind is Decimal:
        return kind, value.as_tuple()
    if kind is float:
        return kind, value.hex()
    return kind, value


def zone_of(value: datetime | time) -> object:
    if isinstance(value.tzinfo, ZoneInfo):
        return value.tzinfo.key
    return value.utcoffset()


# Everything that is carried

ALMOST_A_DAY = timedelta(hours=23, minutes=59, seconds=59, microseconds=999_999)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
# Python's fromisoformat() takes an offset of less than a second for none.
offsets = st.timedeltas(-ALMOST_A_DAY, ALMOST_A_DAY).filter(
    lambda offset: not offset or abs(offset) >= timedelta(seconds=1)
)
zones = st.none() | st.timezones() | offsets.map(timezone)


def folded(moments: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda moment, fold: moment.replace(fold=fold), moments, st.integers(0, 1)
    )


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.binary()
    | st.dates()
    | folded(st.times(timezones=zones))
    | folded(st.datetimes(timezones=zones))
    | st.timedeltas()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.uuids()
)
keys = texts | st.sampled_from(["__type__", "value", "zone", "fold"])
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.sets(scalars | st.tuples(scalars, scalars), max_size=4)
    ),
    max_leaves=12,
)
payloads = st.builds(
    Payload,
    id=st.uuids().map(lambda uuid: uuid.hex),
    task=texts,
    kind=st.sampled_from(["cloudtask", "django", "schedule"]),
    args=st.lists(values, max_size=3).map(tuple),
    kwargs=st.dictionaries(keys, values, max_size=3),
    enqueued_at=st.datetimes(
        min_value=datetime(2, 1, 1),
        max_value=datetime(9998, 1, 1),
        timezones=st.just(UTC) | st.timezones(),
    ),
)
#: Those of a task backend, whatever it is called and chose.
of_backends = st.builds(
    replace,
    payloads,
    backend=texts,
    using=st.builds(
        Using,
        texts,
        st.integers(),
        st.none() | st.datetimes(timezones=st.just(UTC) | st.timezones()),
    ),
)


@pytest.mark.fuzz
@given(payloads | of_backends)
@settings(max_examples=scaled(300))
@example(payload(-0.0, 5e-324, 1.7976931348623157e308))
@example(payload({"__type__": "date", "value": "2026-01-31"}))
@example(payload(__type__="date", value="2026-01-31"))
@example(payload([[], (), {}, set(), "", b""]))
def test_every_payload_arrives_as_it_was(sent: Payload) -> None:
    arrived = decode(encode(sent))

    assert (arrived.id, arrived.task, arrived.kind) == (sent.id, sent.task, sent.kind)
    assert arrived.enqueued_at == sent.enqueued_at.astimezone(UTC)
    assert arrived.enqueued_at.tzinfo is UTC
    assert exact(arrived.args) == exact(sent.args)
    assert exact(arrived.kwargs) == exact(sent.kwargs)
    assert arrived.backend == sent.backend
    assert exact(arrived.using) == exact(sent.using)


@pytest.mark.parametrize(
    "value",
    [
        # The clock went back: 02:30 came twice.
        datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN),
        datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
        # It went forward: 02:30 never came.
        datetime(2026, 3, 29, 2, 30, tzinfo=BERLIN),
        datetime(2026, 1, 31, 12),  # Naive stays naive.
        datetime(2026, 1, 31, 12, fold=1),
        datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=5, minutes=45))),
        datetime(2026, 1, 31, 12, tzinfo=timezone(-timedelta(seconds=1))),
        datetime(2026, 1, 31, 12, tzinfo=ZoneInfo("Etc/GMT+5")),
        datetime.min,
        datetime.max.replace(tzinfo=ZoneInfo("America/Argentina/Buenos_Aires")),
        time(2, 30, 0, 1, tzinfo=BERLIN, fold=1),
        time(23, 59, tzinfo=timezone(timedelta(hours=-3))),
        time.max,
        date.min,
        timedelta.min,
        timedelta.max,
        timedelta(microseconds=-1),
        Decimal("1.10"),
        Decimal("1E+3"),
        Decimal("-0"),
        Decimal("0E-10"),
        Decimal("0.1") + Decimal("0.2"),
        Decimal("1E+999999"),
        Decimal("1" * 5000),  # Far over the digits that an int may have.
        UUID(int=0),
        bytes(range(256)),
        "\U0001f600 \u2028 \x7f \\u0000 \ufeff",
        {"__type__": None},
        {"__type__": {"__type__": "set", "value": 1}},
        [{"value": [1], "__type__": "tuple"}],
        ((), ((),), [()]),
        # Its repr has another order in each process.
        pytest.param(
            {1, "1", None, (1, ("1",)), b"1", Decimal("1.5"), date.max}, id="a set"
        ),
    ],
    ids=short,
)
def test_what_is_easily_lost_arrives(value: object) -> None:
    arrived = carried(value)

    assert arrived == value
    assert exact(arrived) == exact(value)


def test_a_zone_without_a_key_is_carried_as_its_offset() -> None:
    # As of a file. The receiver would not know it.
    class Own(tzinfo):
        def utcoffset(self, moment: datetime | None) -> timedelta | None:
            return timedelta(hours=1)

        def dst(self, moment: datetime | None) -> timedelta | None:
            return None

        def tzname(self, moment: datetime | None) -> str | None:
            return "own"

    moment = datetime(2026, 1, 31, 12, tzinfo=Own())

    assert carried(moment) == moment
    assert carried(moment).utcoffset() == timedelta(hours=1)


@pytest.mark.parametrize("key", [None, "my zone", "../Berlin"])
def test_a_zone_of_a_file_is_carried_as_its_offset(key: str | None) -> None:
    # Two hours, all the year.
    counts = struct.pack(">6l", 0, 0, 0, 0, 1, 4)
    lines = b"TZif" + bytes(16) + counts + struct.pack(">lbb", 7200, 0, 0) + b"OWN\0"
    zone = ZoneInfo.from_file(io.BytesIO(lines), key=key)
    moment = datetime(2026, 7, 1, 12, tzinfo=zone)

    assert carried(moment) == moment
    assert carried(moment).utcoffset() == timedelta(hours=2)


class Size(TextChoices):
    SMALL = "s", "Small"


class Rank(IntegerChoices):
    FIRST = 1


class Plain(enum.StrEnum):
    A = "a"


class Flag(enum.IntFlag):
    BOTH = 3


class Text(str):
    def __str__(self) -> str:
        return "something else"


class Number(float):
    pass


class Moment(datetime):
    pass


class Day(date):
    pass


class Span(timedelta):
    pass


class Amount(Decimal):
    pass


class Key(UUID):
    pass


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (Size.SMALL, "s"),
        (Rank.FIRST, 1),
        (Plain.A, "a"),
        (Flag.BOTH, 3),
        (mark_safe("<b>"), "<b>"),
        (Text("text"), "text"),
        (Number(0.5), 0.5),
        (Moment(2026, 1, 31), datetime(2026, 1, 31)),
        (Moment(2026, 1, 31, tzinfo=BERLIN), datetime(2026, 1, 31, tzinfo=BERLIN)),
        (Day(2026, 1, 31), date(2026, 1, 31)),
        (Span(hours=1), timedelta(hours=1)),
        (Amount("1.50"), Decimal("1.50")),
        (Key(int=1), UUID(int=1)),
        ([Size.SMALL, {"rank": Rank.FIRST}], ["s", {"rank": 1}]),
        ({Size.SMALL}, {"s"}),
    ],
)
def test_a_subclass_arrives_as_the_equal_plain_value(
    value: object, arrives: object
) -> None:
    assert exact(carried(value)) == exact(arrives)


def test_a_safe_string_is_safe_no_more() -> None:
    assert not isinstance(carried(mark_safe("<b>")), SafeString)


def test_the_wire_format_stays_what_it_is() -> None:
    # Tasks wait up to 30 days: what was sent then must be read now.
    sent = Payload(
        id=ID,
        task="shop.tasks.add",
        args=(
            None,
            True,
            1,
            0.5,
            "ä",
            [date(2026, 1, 31)],
            (1,),
            {2, 1},
            b"\x00\xff",
            Decimal("1.10"),
            UUID(int=1),
            timedelta(days=-1, microseconds=5),
        ),
        kwargs={
            "plain": {"a": 1},
            "marked": {"__type__": 1},
            "naive": datetime(2026, 1, 31, 12),
            "fixed": datetime(2026, 1, 31, 12, tzinfo=UTC),
            "zoned": datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
            "time": time(12, 30),
        },
        enqueued_at=NOON,
    )

    assert encode(sent).decode() == (
        '{"v":1,"id":"0123456789abcdef0123456789abcdef","task":"shop.tasks.add",'
        '"kind":"cloudtask","args":[null,true,1,0.5,"ä",'
        '[{"__type__":"date","value":"2026-01-31"}],'
        '{"__type__":"tuple","value":[1]},'
        '{"__type__":"set","value":[1,2]},'
        '{"__type__":"bytes","value":"AP8="},'
        '{"__type__":"Decimal","value":"1.10"},'
        '{"__type__":"UUID","value":"00000000-0000-0000-0000-000000000001"},'
        '{"__type__":"timedelta","value":[-1,0,5]}],'
        '"kwargs":{"plain":{"a":1},'
        '"marked":{"__type__":"dict","value":[["__type__",1]]},'
        '"naive":{"__type__":"datetime","value":"2026-01-31T12:00:00"},'
        '"fixed":{"__type__":"datetime","value":"2026-01-31T12:00:00+00:00"},'
        '"zoned":{"__type__":"datetime","value":"2026-10-25T02:30:00",'
        '"zone":"Europe/Berlin","fold":1},'
        '"time":{"__type__":"time","value":"12:30:00"}},'
        '"enqueued_at":"2026-01-31T12:00:00+00:00"}'
    )
    assert exact(decode(encode(sent)).kwargs) == exact(sent.kwargs)


def test_equal_sets_make_equal_payloads() -> None:
    # In one table slot, so that they keep the order they were added in.
    one, other = {8, 0}, {0, 8}

    assert list(one) != list(other)
    assert encode(payload(one)) == encode(payload(other))


def test_ids_are_random() -> None:
    ids = {new_id() for _ in range(100)}

    assert len(ids) == 100
    assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in ids)


# What is not carried


class Colour(enum.Enum):
    RED = 1


class Bytes(bytes):
    pass


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (object(), "object"),
        (frozenset({1}), "frozenset"),
        (bytearray(b"x"), "bytearray"),
        (memoryview(b"x"), "memoryview"),
        (Bytes(b"x"), "Bytes"),
        (Point(1, 2), "Point"),  # Its names would be lost.
        (OrderedDict(a=1), "OrderedDict"),
        (defaultdict(int), "defaultdict"),
        (range(3), "range"),
        (1j, "complex"),
        (Colour.RED, "Colour"),
        (Path("x"), type(Path("x")).__name__),
        (gettext_lazy("x"), "lazy.<locals>.__proxy__"),
        (len, "builtin_function_or_method"),
        (int, "type"),
        (BERLIN, "ZoneInfo"),
        (ValueError("x"), "ValueError"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_types_are_refused_by_name(value: object, kind: str) -> None:
    assert refusal(value) == (
        f"args[0] is a {kind}, which no payload carries. Pass its primary key, or "
        "one of: None, bool, int, float, str, list, dict, tuple, set, datetime, date, "
        "time, timedelta, Decimal, UUID, bytes."
    )


THING = object()


@pytest.mark.parametrize(
    ("args", "kwargs", "where"),
    [
        ((THING,), {}, "args[0]"),
        ((1, THING), {}, "args[1]"),
        (({"when": THING},), {}, "args[0]['when']"),
        ((), {"when": THING}, "kwargs['when']"),
        ((), {"a": [1, {"b": (2, THING)}]}, "kwargs['a'][1]['b'][1]"),
        (({THING},), {}, "args[0][0]"),
        # Written in another way, and named in the same.
        (({"__type__": 1, "when": THING},), {}, "args[0]['when']"),
        ((), {"__type__": 1, "when": THING}, "kwargs['when']"),
        (({"a\nb": THING},), {}, r"args[0]['a\nb']"),
        (({"k" * 200: THING},), {}, f"args[0]['{'k' * 71}..."),
    ],
)
def test_an_argument_that_is_not_carried_is_named(
    args: tuple[Any, ...], kwargs: dict[str, Any], where: str
) -> None:
    assert refusal(*args, **kwargs).startswith(f"{where} is a object, which")


class Nowhere(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        return None


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (float("nan"), "is nan, which JSON cannot say."),
        (float("inf"), "is inf, which JSON cannot say."),
        (Number("-inf"), "is -inf, which JSON cannot say."),
        (Decimal("NaN"), "is Decimal('NaN'), which no payload carries."),
        (Decimal("sNaN"), "is Decimal('sNaN'), which no payload carries."),
        (Decimal("-Infinity"), "is Decimal('-Infinity'), which no payload carries."),
        ("a\0b", "has a NUL character."),
        ("\ud800", "has half a surrogate pair."),
        ("\udfff\ud800", "has half a surrogate pair."),
        (mark_safe("\0"), "has a NUL character."),
        ({"\0": 1}, "has a key that has a NUL character."),
        ({"\udc80": 1}, "has a key that has half a surrogate pair."),
        ({"__type__": 1, "\0": 1}, "has a key that has a NUL character."),
        ({1: 2}, "has the key 1; JSON's keys are strings. Pass a list of pairs."),
        (
            {None: 2},
            "has the key None; JSON's keys are strings. Pass a list of pairs.",
        ),
        (
            {True: 2},
            "has the key True; JSON's keys are strings. Pass a list of pairs.",
        ),
        (
            {Size.SMALL: 2},
            f"has the key {Size.SMALL!r}; JSON's keys are strings. Pass a list of "
            "pairs.",
        ),
        (
            datetime(2026, 1, 31, tzinfo=Nowhere()),
            "has a time zone without an offset.",
        ),
        # No day, so no offset.
        (
            time(12, tzinfo=Nowhere()),
            "has a time zone without an offset.",
        ),
    ],
    ids=short,
)
def test_values_that_would_not_arrive_are_refused(value: object, problem: str) -> None:
    assert refusal(value) == f"args[0] {problem}"
    assert refusal(a=[value]) == f"kwargs['a'][0] {problem}"


@pytest.mark.parametrize("sign", [1, -1])
def test_an_int_has_as_many_digits_as_python_reads(sign: int) -> None:
    longest = sign * (10**4300 - 1)
    problem = "is an int of more digits than Python writes. Pass it in hex."

    assert carried(longest) == longest
    assert refusal(longest + sign) == f"args[0] {problem}"
    # Where it is written before the rest is, to be sorted.
    assert refusal({longest + sign}) == f"args[0][0] {problem}"


def test_a_keyword_that_would_not_arrive_is_refused() -> None:
    assert refusal(**{"a\0": 1}) == "kwargs has a key that has a NUL character."


@pytest.mark.parametrize("path", ["a\0b", "\ud800"])
def test_a_path_that_would_not_arrive_is_refused(path: str) -> None:
    sent = Payload(id=ID, task=path, kwargs={}, enqueued_at=NOON)

    with pytest.raises(EncodeError, match=r"path= has (a NUL|half a surrogate)"):
        encode(sent)


def test_a_value_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)

    assert refusal(loop) == (
        "args[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]"
        "[0][... nests deeper than 64 levels."
    )


# How deep

WRAPPERS: dict[str, tuple[Callable[[Any], Any], int]] = {
    "list": (lambda value: [value], 1),
    "dict": (lambda value: {"key": value}, 1),
    "tuple": (lambda value: (value,), 2),
    "marked dict": (lambda value: {"__type__": value}, 3),
}
LEAVES: list[tuple[Any, int]] = [
    (None, 0),
    ("text", 0),
    ([], 1),
    ({}, 1),
    (date(2026, 1, 31), 1),
    (NOON, 1),
    (time(12, tzinfo=BERLIN), 1),
    (Decimal(1), 1),
    (UUID(int=1), 1),
    (b"", 1),
    (timedelta(1), 2),
    ((), 2),
    ({1}, 2),
    ({"__type__": 1}, 3),
]


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize(("leaf", "levels"), LEAVES, ids=short)
def test_what_encode_takes_decode_takes_back(
    wrapper: str, leaf: object, levels: int
) -> None:
    wrap, step = WRAPPERS[wrapper]
    value, depth = leaf, 2 + levels
    taken = []
    while depth <= MAX_DEPTH + 4:
        if depth <= MAX_DEPTH:
            assert carried(value) == value
            taken.append(depth)
        else:
            assert refusal(value).endswith("nests deeper than 64 levels.")
        value, depth = wrap(value), depth + step
    assert taken[-1] + step > MAX_DEPTH


@pytest.mark.parametrize(("levels", "taken"), [(63, True), (64, True), (65, False)])
@pytest.mark.parametrize(("left", "right"), [("[", "]"), ('{"k":', "}")])
def test_a_body_nests_64_levels(
    left: str, right: str, levels: int, taken: bool
) -> None:
    count = levels - 2
    text = body_with(left * count + ("0" if left != "[" else "") + right * count)

    if taken:
        assert encode(decode(text)).decode().count(left) == count + (left == "[")
    else:
        assert why_refused(text) == "The body nests deeper than 64 levels."


@pytest.mark.parametrize(("left", "right"), [("[", "]"), ('{"":', "}")])
def test_a_bomb_of_levels_is_refused(left: str, right: str) -> None:
    for text in (
        (left * 100_000).encode(),
        (left * 100_000 + "0" + right * 100_000).encode(),
        body_with(left * 100_000 + "0" + right * 100_000),
    ):
        assert why_refused(text) in (
            "The body is not a payload (RecursionError).",
            "The body is not a payload (JSONDecodeError).",  # Where it is cut off.
            "The body nests deeper than 64 levels.",
        )


# What is not a payload


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "The body is not a payload (JSONDecodeError)."),
        (b"canary", "The body is not a payload (JSONDecodeError)."),
        (b"{'canary': 1}", "The body is not a payload (JSONDecodeError)."),
        (b'{"canary": 1,}', "The body is not a payload (JSONDecodeError)."),
        (body() + b"canary", "The body is not a payload (JSONDecodeError)."),
        (body() + body(), "The body is not a payload (JSONDecodeError)."),
        (b"null", "The body is not an object."),
        (b"[]", "The body is not an object."),
        (b'"canary"', "The body is not an object."),
        (b"1", "The body is not an object."),
        (b"{}", "'v' must be of type int."),
        # Encodings.
        (b"\xef\xbb\xbf" + body(), "The body is not a payload (JSONDecodeError)."),
        (
            json.dumps(VALID).encode("utf-16"),
            "The body is not a payload (UnicodeDecodeError).",
        ),
        (
            json.dumps(VALID).encode("utf-16-le"),
            "The body is not a payload (JSONDecodeError).",
        ),
        (
            json.dumps(VALID).encode("utf-32-be"),
            "The body is not a payload (JSONDecodeError).",
        ),
        (
            body_with('"canär"'.encode("latin-1")),
            "The body is not a payload (UnicodeDecodeError).",
        ),
        # Overlong, and a surrogate as bytes.
        (body_with(b'"\xc0\x80"'), "The body is not a payload (UnicodeDecodeError)."),
        (
            body_with(b'"\xed\xa0\x80"'),
            "The body is not a payload (UnicodeDecodeError).",
        ),
        # Numbers that JSON has not.
        (body_with("NaN"), "NaN is not JSON."),
        (body_with("Infinity"), "Infinity is not JSON."),
        (body_with("-Infinity"), "-Infinity is not JSON."),
        (body_with('{"a": [NaN]}'), "NaN is not JSON."),
        (body_with("1e400"), "A number is out of range."),
        (body_with("-1e400"), "A number is out of range."),
        (body_with('[{"a": 1e999}]'), "A number is out of range."),
        (body_with("9" * 4301), "The body is not a payload (ValueError)."),
        (body_with("-" + "9" * 5000), "The body is not a payload (ValueError)."),
        (body_with("01"), "The body is not a payload (JSONDecodeError)."),
        # Keys that come twice.
        (b'{"v": 1,' + body()[1:], "An object has the same key twice."),
        (body_with('{"a": 1, "a": 1}'), "An object has the same key twice."),
        (body_with('[[{"": 1, "b": 2, "": 3}]]'), "An object has the same key twice."),
        (body_with(r'{"a": 1, "\u0061": 2}'), "An object has the same key twice."),
        (
            body_with('{"__type__": "date", "__type__": "set", "value": []}'),
            "An object has the same key twice.",
        ),
        (
            body_with('{"__type__": "dict", "value": [["a", 1], ["a", 2]]}'),
            "An object has the same key twice.",
        ),
        # Half a surrogate pair, and NUL.
        (body_with(r'"\ud800"'), "A string has half a surrogate pair."),
        (body_with(r'"\udc00\ud800"'), "A string has half a surrogate pair."),
        (body_with(r'{"a": ["\uDFFF"]}'), "A string has half a surrogate pair."),
        (body_with(r'{"\ud800": 1}'), "A string has half a surrogate pair."),
        (body_with(r'"canary\u0000"'), "A string has a NUL character."),
        (body_with(r'[{"\u0000": 1}]'), "A string has a NUL character."),
        (body(canary="\0"), "A string has a NUL character."),
        (body(task="canary\0"), "A string has a NUL character."),
        (body_with(b'"\x00"'), "The body is not a payload (JSONDecodeError)."),
        (body_with(b'{"\x00": 1}'), "The body is not a payload (JSONDecodeError)."),
        (body() + b"\0", "The body is not a payload (JSONDecodeError)."),
        (body_with(b'"a\nb"'), "The body is not a payload (JSONDecodeError)."),
    ],
    ids=short,
)
def test_what_is_not_strictly_json_is_refused(text: bytes, problem: str) -> None:
    assert why_refused(text) == problem


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("v", 2, "The payload is of another version than 1."),
        ("v", 0, "The payload is of another version than 1."),
        ("v", 10**30, "The payload is of another version than 1."),
        ("v", True, "'v' must be of type int."),  # Equal to 1.
        ("v", 1.0, "'v' must be of type int."),
        ("v", "1", "'v' must be of type int."),
        ("v", "canary", "'v' must be of type int."),
        ("v", None, "'v' must be of type int."),
        ("v", [1], "'v' must be of type int."),
        ("v", {"__type__": "Decimal", "value": "1"}, "'v' must be of type int."),
        ("id", 1, "'id' must be of type str."),
        ("id", None, "'id' must be of type str."),
        ("id", "", "'id' must be 128 bits in hex."),
        ("id", ID[1:], "'id' must be 128 bits in hex."),
        ("id", ID + "0", "'id' must be 128 bits in hex."),
        ("id", ID + "\n", "'id' must be 128 bits in hex."),
        ("id", ID.upper(), "'id' must be 128 bits in hex."),
        ("id", str(UUID(ID)), "'id' must be 128 bits in hex."),
        ("id", "g" * 32, "'id' must be 128 bits in hex."),
        ("id", "\u0661" * 32, "'id' must be 128 bits in hex."),
        ("task", None, "'task' must be of type str."),
        ("task", ["os.system"], "'task' must be of type str."),
        ("kind", 1, "'kind' must be of type str."),
        ("args", None, "'args' must be of type list."),
        ("args", "canary", "'args' must be of type list."),
        ("args", {}, "'args' must be of type list."),
        (
            "args",
            {"__type__": "tuple", "value": []},
            "'args' must be of type list.",
        ),
        ("kwargs", None, "'kwargs' must be of type dict."),
        ("kwargs", [], "'kwargs' must be of type dict."),
        (
            "kwargs",
            {"__type__": "date", "value": "2026-01-31"},
            "'kwargs' must be of type dict.",
        ),
        ("enqueued_at", 1, "'enqueued_at' must be of type str."),
        (
            "enqueued_at",
            {"__type__": "datetime", "value": "2026-01-31T12:00:00+00:00"},
            "'enqueued_at' must be of type str.",
        ),
        ("enqueued_at", "2026-01-31T12:00:00", "'enqueued_at' has no time zone."),
        ("enqueued_at", "canary", "The body is not a payload (ValueError)."),
        (
            "enqueued_at",
            "0001-01-01T00:00:00+23:59",
            "The body is not a payload (OverflowError).",
        ),
    ],
)
def test_a_wrong_member_is_named(key: str, value: object, problem: str) -> None:
    assert why_refused(body(**{key: value})) == problem


@pytest.mark.parametrize("key", [key for key in VALID if key != "v"])
def test_a_missing_member_is_named(key: str) -> None:
    members = {k: v for k, v in VALID.items() if k != key}

    problem = why_refused(json.dumps(members).encode())

    assert re.fullmatch(rf"'{key}' must be of type \w+\.", problem)


@pytest.mark.parametrize(
    "text",
    [
        # Unknown types, and types that are no strings.
        tagged("canary", value=1),
        tagged("Date", value="2026-01-31"),
        tagged("object", value=1),
        tagged("os.system", value="canary"),
        tagged(1, value=1),
        tagged(None, value=1),
        tagged(["date"], value=1),
        tagged({}, value=1),
        # Members missing, unknown or too many.
        tagged("date"),
        tagged("date", canary="2026-01-31"),
        tagged("date", value="2026-01-31", canary=1),
        tagged("date", value="2026-01-31", zone="Europe/Berlin"),
        tagged("tuple", value=[], self=1),
        # Values of other types.
        tagged("date", value=20260131),
        tagged("date", value=None),
        tagged("date", value="canary"),
        tagged("date", value="2026-02-30"),
        tagged("date", value="2026-01-31T12:00:00"),
        tagged("datetime", value=["2026-01-31"]),
        tagged("datetime", value="canary"),
        tagged("datetime", value="2026-01-31T12:00:00", fold=2),
        tagged("datetime", value="2026-01-31T12:00:00", fold="1"),
        tagged("time", value="25:00"),
        tagged("time", value="2026-01-31"),
        tagged("time", value="12:00", fold=-1),
        tagged("timedelta", value=1),
        tagged("timedelta", value="1 day"),
        tagged("timedelta", value=[1, 2]),
        tagged("timedelta", value=[1, 2, 3, 4]),
        tagged("timedelta", value=[1, 2, "3"]),
        tagged("timedelta", value=[0.5, 0, 0]),
        tagged("timedelta", value=[True, 0, 0]),
        tagged("timedelta", value=[10**9, 0, 0]),
        tagged("timedelta", value=[10**300, 0, 0]),
        tagged("Decimal", value="canary"),
        tagged("Decimal", value=""),
        tagged("Decimal", value=1),
        tagged("Decimal", value=0.1),  # Would be another number.
        tagged("Decimal", value=[0, [1], 2]),
        tagged("Decimal", value="NaN"),
        tagged("Decimal", value="sNaN"),
        tagged("Decimal", value="-Infinity"),
        tagged("Decimal", value="1E+9999999999999999999"),
        tagged("UUID", value="canary"),
        tagged("UUID", value=1),
        tagged("bytes", value="canary"),
        tagged("bytes", value="####"),
        tagged("bytes", value="ä"),
        tagged("bytes", value=1),
        tagged("bytes", value={"__type__": "bytes", "value": "YQ=="}),
        tagged("tuple", value="canary"),
        tagged("tuple", value={"a": 1}),
        tagged("tuple", value=None),
        tagged("tuple", value={"__type__": "tuple", "value": []}),
        tagged("set", value="canary"),
        tagged("set", value=[[]]),  # No member of a set.
        tagged("set", value=[{}]),
        tagged("dict", value={"a": 1}),
        tagged("dict", value=["ab"]),
        tagged("dict", value=[{"a": 1, "b": 2}]),
        tagged("dict", value=[["a"]]),
        tagged("dict", value=[["a", 1, 2]]),
        tagged("dict", value=[[1, 2]]),
        tagged("dict", value=[[["a"], 2]]),
        tagged("dict", value=[[None, 2]]),
        # The whole body.
        tagged("canary", value=1)[:-1] + b',"__type__":"canary"}',
    ],
)
def test_a_malformed_value_is_refused(text: bytes) -> None:
    assert "canary" not in why_refused(text)


@pytest.mark.parametrize("kind", ["datetime", "time"])
@pytest.mark.parametrize(
    "zone",
    [
        "Mars/Olympus",
        "",
        ".",
        "..",
        "../../../etc/passwd",
        "/etc/localtime",
        "Europe",  # A folder.
        "Europe/",
        "antigravity",  # A module, and one that is never to be imported.
        "antigravity/x",
        "os.path",
        "Europe/Berlin ",
        "Europe/Berlin\n",
        "Z" * 100_000,
        1,
        ["Europe/Berlin"],
        {},
    ],
    ids=short,
)
def test_an_unknown_zone_is_refused(kind: str, zone: object) -> None:
    value = "2026-01-31T12:00:00" if kind == "datetime" else "12:00:00"

    why_refused(tagged(kind, value=value, zone=zone))

    assert "antigravity" not in sys.modules


def test_an_unknown_zone_is_told() -> None:
    text = tagged("time", value="12:00:00", zone="../canary")

    assert why_refused(text) == "A value has an unknown time zone."


def test_an_unknown_type_is_told() -> None:
    assert why_refused(tagged("canary")) == "A value has an unknown type."


def test_a_value_of_another_type_is_told() -> None:
    assert why_refused(tagged("set", value="canary")) == (
        "A tagged value must be of type list."
    )


def test_unknown_members_are_ignored() -> None:
    # A later version may add some.
    arrived = decode(body(trace="00-1-2", headers={"a": [1]}, args=[1]))

    assert arrived == payload(1)


def test_a_kind_that_is_not_known_here_is_read() -> None:
    # Who runs it decides.
    assert decode(body(kind="django")).kind == "django"


# Of a task backend

USING = Using(
    "mails", -50, run_after=datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1)
)
CHOSEN = {"queue_name": "mails", "priority": -50}


def of_backend(**changes: Any) -> Payload:
    fields: dict[str, Any] = {"kind": DJANGO, "backend": "mails", "using": USING}
    return replace(payload(1), **(fields | changes))


def test_a_backend_and_its_choices_arrive() -> None:
    arrived = decode(encode(of_backend()))

    assert arrived == of_backend()
    assert exact(arrived.using) == exact(USING)


def test_the_wire_format_of_a_backends_payload_stays_what_it_is() -> None:
    assert encode(of_backend()).decode() == (
        '{"v":1,"id":"0123456789abcdef0123456789abcdef","task":"shop.tasks.add",'
        '"kind":"django","args":[1],"kwargs":{},'
        '"enqueued_at":"2026-01-31T12:00:00+00:00",'
        '"backend":"mails","using":{"queue_name":"mails","priority":-50,'
        '"run_after":{"__type__":"datetime","value":"2026-10-25T02:30:00",'
        '"zone":"Europe/Berlin","fold":1}}}'
    )


def test_a_task_that_is_due_at_once_says_nothing_of_a_time() -> None:
    text = encode(of_backend(using=Using("mails", 0)))

    assert text.endswith(
        b',"backend":"mails","using":{"queue_name":"mails","priority":0}}'
    )
    assert decode(text).using == Using("mails", 0, None)


def test_a_payload_of_no_backend_says_nothing_of_one() -> None:
    sent = json.loads(encode(payload(1)))

    assert "backend" not in sent
    assert "using" not in sent


def test_each_backend_and_choice_is_written_as_its_own() -> None:
    # What one wrote before stands in no other's place.
    sent = [
        of_backend(backend=backend, using=Using(queue, priority, run_after))
        for backend in ("mails", "default")
        for queue in ("mails", "default")
        for priority in (0, 1, -1)
        for run_after in (None, NOON, NOON + timedelta(hours=1))
    ]

    for _ in range(2):
        assert [decode(encode(each)) for each in sent] == sent


def test_a_time_that_came_twice_is_not_mistaken_for_the_other() -> None:
    # They are equal to Python, and an hour apart.
    for fold in (0, 1, 0):
        run_after = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=fold)
        arrived = decode(encode(of_backend(using=Using("mails", 0, run_after))))

        assert exact(arrived.using) == exact(Using("mails", 0, run_after))


@pytest.mark.parametrize("backend", ["", "Mäils", 'a"b', "a\\b", "x" * 10_000])
def test_a_backend_may_have_any_alias(backend: str) -> None:
    assert decode(encode(of_backend(backend=backend))).backend == backend


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"backend": "\ud800"}, "backend"),
        ({"backend": "a\0b"}, "backend"),
        ({"using": Using("\ud800", 0)}, "using['queue_name']"),
        ({"using": Using("mails", 10**5000)}, "using['priority']"),
    ],
    ids=["a half alias", "a NUL", "half a queue", "a priority of 5,000 digits"],
)
def test_what_a_backend_cannot_say_is_named(
    changes: dict[str, Any], place: str
) -> None:
    with pytest.raises(EncodeError) as caught:
        encode(of_backend(**changes))

    assert str(caught.value).startswith(f"shop.tasks.add: {place} ")


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("backend", 1, "'backend' must be of type str."),
        ("backend", True, "'backend' must be of type str."),
        ("backend", ["mails"], "'backend' must be of type str."),
        (
            "backend",
            {"__type__": "UUID", "value": str(UUID(ID))},
            "'backend' must be of type str.",
        ),
        ("using", None, "'using' must be of type dict."),
        ("using", [], "'using' must be of type dict."),
        ("using", "mails", "'using' must be of type dict."),
        (
            "using",
            {"__type__": "date", "value": "2026-01-31"},
            "'using' must be of type dict.",
        ),
        ("using", {}, "'queue_name' must be of type str."),
        ("using", {"priority": 1}, "'queue_name' must be of type str."),
        ("using", {"queue_name": "mails"}, "'priority' must be of type int."),
        ("using", CHOSEN | {"queue_name": 1}, "'queue_name' must be of type str."),
        ("using", CHOSEN | {"queue_name": None}, "'queue_name' must be of type str."),
        ("using", CHOSEN | {"priority": "1"}, "'priority' must be of type int."),
        ("using", CHOSEN | {"priority": True}, "'priority' must be of type int."),
        ("using", CHOSEN | {"priority": 1.0}, "'priority' must be of type int."),
        ("using", CHOSEN | {"run_after": 1}, "'run_after' must be of type datetime."),
        (
            "using",
            CHOSEN | {"run_after": "2026-01-31T12:00:00+00:00"},
            "'run_after' must be of type datetime.",
        ),
        (
            "using",
            CHOSEN | {"run_after": {"__type__": "date", "value": "2026-01-31"}},
            "'run_after' must be of type datetime.",
        ),
    ],
)
def test_a_wrong_member_of_a_backend_is_named(
    key: str, value: object, problem: str
) -> None:
    members = {"kind": DJANGO, "backend": "mails", "using": CHOSEN, key: value}

    assert why_refused(body(**members)) == problem


def test_a_backend_without_its_choices_is_refused() -> None:
    assert why_refused(body(kind=DJANGO, backend="mails")) == (
        "'using' must be of type dict."
    )


def test_choices_that_are_not_known_here_are_ignored() -> None:
    # A later version may add some.
    members = {**CHOSEN, "run_after": None, "deadline": 5}

    arrived = decode(body(kind=DJANGO, backend="mails", using=members))

    assert arrived.using == Using("mails", -50, None)


@pytest.mark.parametrize("using", [None, {}, [], "mails", CHOSEN])
def test_choices_of_no_backend_are_ignored(using: object) -> None:
    # As every member is that means nothing here.
    assert decode(body(args=[1], backend=None, using=using)) == payload(1)
    assert decode(body(args=[1], using=using)) == payload(1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"\u00e9\ud83d\ude00"', "é\U0001f600"),  # Pairs that are whole.
        (r'"\\u0000"', r"\u0000"),  # A backslash and more.
        (r'{"\u0061": true}', {"a": True}),
        ('"\U0001f600"', "\U0001f600"),
        (" \n[ ] ", []),
        ("1E3", 1000.0),
        ("-0", 0),
        ("9" * 50, 10**50 - 1),
    ],
    ids=short,
)
def test_json_may_be_written_in_another_way(text: str, value: object) -> None:
    (arrived,) = decode(body_with(text)).args

    assert exact(arrived) == exact(value)


def test_json_of_other_things_is_read_as_strictly() -> None:
    # As keys and tokens are.
    assert load_json(b'{"kid": ["x", 1]}') == {"kid": ["x", 1]}
    with pytest.raises(DecodeError):
        load_json(b'{"kid": 1, "kid": 2}')
    with pytest.raises(UnicodeDecodeError):
        load_json(b'"\xff"')


# Whatever comes


def read(text: bytes) -> None:
    """Arguments that can be written again, or the one error."""
    try:
        arrived = decode(text)
    except DecodeError:
        return
    again = decode(encode(payload(*arrived.args, **arrived.kwargs)))
    assert exact(again.args) == exact(arrived.args)
    assert exact(again.kwargs) == exact(arrived.kwargs)


@given(st.binary(max_size=200))
@example(b"[" * 1_000_000)
@example(b'{"":' * 200_000)
@example(b"1" * 1_000_000)
@example(b'"\\ud800"')
def test_no_bytes_make_decode_raise_another_error(text: bytes) -> None:
    read(text)
    read(body_with(text))


tags = st.sampled_from(
    [
        "tuple",
        "set",
        "dict",
        "datetime",
        "date",
        "time",
        "timedelta",
        "Decimal",
        "UUID",
        "bytes",
    ]
)
plausible = st.sampled_from(
    ["2026-01-31", "12:00", "2026-01-31T12:00:00Z", "1", "YQ==", ID, "Europe/Berlin"]
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | plausible,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(keys, inner, max_size=3)
        | st.fixed_dictionaries(
            {"__type__": tags | inner, "value": inner},
            optional={"zone": plausible | inner, "fold": inner},
        )
    ),
    max_leaves=8,
)


@pytest.mark.fuzz
@given(st.lists(json_values, max_size=3), st.dictionaries(keys, json_values))
@settings(max_examples=scaled(300))
def test_no_tagged_value_makes_decode_raise_another_error(
    args: list[Any], kwargs: dict[str, Any]
) -> None:
    read(body(args=args, kwargs=kwargs))


@pytest.mark.fuzz
@given(st.sampled_from(sorted(VALID)) | st.just("__type__"), json_values)
@settings(max_examples=scaled(100))
def test_no_member_makes_decode_raise_another_error(key: str, value: object) -> None:
    read(body(**{key: value}))


@given(json_values, json_values)
def test_no_member_of_a_backend_makes_decode_raise_another_error(
    backend: object, using: object
) -> None:
    read(body(kind=DJANGO, backend=backend, using=CHOSEN))
    read(body(kind=DJANGO, backend="mails", using=using))
    for key in Using._fields:
        read(body(kind=DJANGO, backend="mails", using=CHOSEN | {key: using}))


PIECES = [
    b"",
    b"\0",
    b"\\u0000",
    b"\\ud800",
    b"\xed\xa0\x80",
    b"\xff",
    b'"',
    b"\\",
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b"NaN",
    b"1e999",
    b"9" * 5000,
    b"[" * 100,
    b'"__type__":"set",',
    b'"v":1,',
    b'{"__type__":"dict","value":[]}',
]


@st.composite
def mutated_bodies(draw: st.DrawFn) -> bytes:
    text = encode(draw(payloads | of_backends))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(start + 8, len(text))))
        piece = draw(st.sampled_from(PIECES) | st.binary(max_size=3))
        text = text[:start] + piece + text[end:]
    return text


@pytest.mark.fuzz
@given(mutated_bodies())
@settings(max_examples=scaled(200))
def test_no_damaged_body_makes_decode_raise_another_error(text: bytes) -> None:
    read(text)
