"""What a body may cost, of those who have the credentials and of others."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import process_time
from typing import Any
from uuid import UUID

import pytest

from cloudtask.exceptions import DecodeError, EncodeError
from cloudtask.wire.payload import DJANGO, Payload, Using, decode, encode
from cloudtask.wire.strict_json import MAX_SAME_HASH
from tests.security.sending import payload, send_wsgi
from tests.security.tokens import SECRET

#: Bytes of a large body that Cloud Tasks stores.
LARGE = 955_000
MODULUS = sys.hash_info.modulus
#: CPU seconds. What is refused here took from 5 to 30, on a quick machine.
LIMIT = 3.0


def tagged(kind: str, value: Any) -> Any:
    return {"__type__": kind, "value": value}


#: Values of any number that have one hash, as JSON has them.
COLLIDING: dict[str, Callable[[int], Any]] = {
    "ints": lambda n: n * MODULUS,
    "negative ints": lambda n: -(n + 1) * MODULUS,
    "Decimals": lambda n: tagged("Decimal", str(n * MODULUS)),
    "UUIDs": lambda n: tagged("UUID", str(UUID(int=n * MODULUS))),
    "ints and UUIDs": lambda n: (
        n * MODULUS if n % 2 else tagged("UUID", str(UUID(int=n * MODULUS)))
    ),
    "tuples of ints": lambda n: tagged("tuple", [n * MODULUS]),
    # -1 has the hash of -2.
    "tuples of small ints": lambda n: tagged(
        "tuple", [-1 - int(bit) for bit in f"{n:016b}"]
    ),
    "tuples in tuples": lambda n: tagged("tuple", [tagged("tuple", [n * MODULUS])]),
}


def body(texts: Iterator[str]) -> bytes:
    """A body with a set of as many values as it can take."""
    size, items = 0, []
    for text in texts:
        size += len(text) + 1
        if size > LARGE:
            break
        items.append(text)
    whole = payload("tests.security.samples.catch_all", args=["VALUES"]).decode()
    found = f'{{"__type__": "set", "value": [{",".join(items)}]}}'
    return whole.replace('"VALUES"', found).encode()


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize("make", COLLIDING.values(), ids=COLLIDING)
def test_a_set_of_values_with_one_hash_costs_little(
    make: Callable[[int], Any],
) -> None:
    sent = body(json.dumps(make(n)) for n in itertools.count())
    started = process_time()
    answer = send_wsgi({"X-Task-Secret": SECRET}, sent)

    assert process_time() - started < LIMIT
    assert answer.status == 400


@pytest.mark.parametrize(
    "values",
    [
        set(range(100_000)),
        {-n for n in range(100_000)},
        {n << 64 for n in range(20_000)},
        {UUID(int=n << 64) for n in range(10_000)},
        {Decimal(n) / 100 for n in range(10_000)},
        {float(n) for n in range(50_000)},
        {(n, -n) for n in range(10_000)},
        {timedelta(n) for n in range(10_000)},
        {datetime(2026, 1, 1, tzinfo=UTC) + timedelta(n) for n in range(10_000)},
        # As many of one hash as may be.
        {n * MODULUS for n in range(MAX_SAME_HASH)},
        set(itertools.product((-1, -2, 0, 1), repeat=6)),
    ],
    ids=lambda values: f"{len(values)} of {type(next(iter(values))).__name__}",
)
def test_a_set_that_nobody_chose_arrives(values: set[Any]) -> None:
    started = process_time()
    [arrived] = decode(encode(of(values))).args

    assert arrived == values
    assert process_time() - started < LIMIT


def test_a_set_that_would_not_arrive_is_not_sent() -> None:
    values = {n * MODULUS for n in range(MAX_SAME_HASH + 1)}
    with pytest.raises(EncodeError) as caught:
        encode(of([values]))

    assert str(caught.value) == (
        "shop.add: args[0][0] is a set in which more than 100 values have the same "
        "hash. Pass a list."
    )


def of(*args: Any, **changes: Any) -> Payload:
    fields: dict[str, Any] = {
        "id": "0123456789abcdef0123456789abcdef",
        "task": "shop.add",
        "args": args,
        "kwargs": {},
        "enqueued_at": datetime(2026, 1, 31, tzinfo=UTC),
        **changes,
    }
    return Payload(**fields)


def test_a_queue_name_that_would_be_remembered_is_short() -> None:
    def sent(name: str) -> Payload:
        return of(kind=DJANGO, backend="default", using=Using(name, 0))

    longest = sent("x" * 500)
    assert decode(encode(longest)) == longest
    with pytest.raises(EncodeError, match="queue_name has more than 500 characters"):
        encode(sent("x" * 501))
    with pytest.raises(DecodeError, match="'queue_name' has more than 500 characters"):
        decode(encode(longest).replace(b"xxx", b"x" * 900_000, 1))
