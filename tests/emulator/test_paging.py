import base64

import pytest
from google.rpc import code_pb2
from hypothesis import example, given
from hypothesis import strategies as st

from cloudtask.emulator.tasks.limits import MAX_QUEUES_PAGE, MAX_TASKS_PAGE
from cloudtask.emulator.values.errors import ApiError
from cloudtask.emulator.values.paging import decode, encode, page_size
from tests.emulator.samples import HOUR, NOW

WRONG = "The page token is not valid for this parent and this filter."


def base64_of(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode()


def refusal(token: str, scope: str, now: int = NOW) -> str:
    with pytest.raises(ApiError) as caught:
        decode(token, scope, now)
    assert caught.value.code == code_pb2.INVALID_ARGUMENT
    return caught.value.message


def test_the_first_page_has_an_empty_token() -> None:
    assert decode("", "any", NOW) == ""


@given(st.text(), st.text())
def test_a_token_gives_back_what_was_encoded(after: str, scope: str) -> None:
    token = encode(after, scope, NOW)

    assert decode(token, scope, NOW) == after
    assert token.isascii()


@given(st.text(min_size=1), st.text(), st.text())
def test_a_token_holds_for_its_scope_alone(after: str, one: str, other: str) -> None:
    token = encode(after, one, NOW)

    if one != other:
        assert refusal(token, other) == WRONG


def test_a_token_lives_two_hours() -> None:
    token = encode("a", "scope", NOW)

    assert decode(token, "scope", NOW + 2 * HOUR) == "a"
    assert refusal(token, "scope", NOW + 2 * HOUR + 1) == "The page token has expired."
    assert decode(token, "scope", NOW - 9 * HOUR) == "a"  # A clock set back.


@given(st.text(min_size=1) | st.binary(min_size=1).map(base64_of))
@example("ä")
@example("AAAA")
@example("A")
def test_what_is_no_token_is_refused(text: str) -> None:
    assert refusal(text, "scope") == WRONG


@given(st.integers(0), st.integers(1, 255))
def test_a_token_that_was_changed_is_refused(place: int, change: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(encode("queue", "scope", NOW)))
    raw[place % len(raw)] ^= change

    assert refusal(base64_of(bytes(raw)), "scope") == WRONG


@pytest.mark.parametrize(
    ("requested", "maximum", "size"),
    [
        (0, MAX_QUEUES_PAGE, 9800),
        (0, MAX_TASKS_PAGE, 1000),
        (1, 1000, 1),
        (1000, 1000, 1000),
        (1001, 1000, 1000),
        (2**31 - 1, 9800, 9800),
    ],
)
def test_a_page_has_what_is_requested_up_to_the_maximum(
    requested: int, maximum: int, size: int
) -> None:
    assert page_size(requested, maximum) == size


def test_a_negative_page_size_is_refused() -> None:
    with pytest.raises(ApiError, match="The page size cannot be negative") as caught:
        page_size(-1, 1000)

    assert caught.value.code == code_pb2.INVALID_ARGUMENT
