"""Messages of the API and JSON that is nearly one, for hypothesis to draw."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from cloudtask.emulator.tasks.api.services import METHODS

TEXTS = st.text(max_size=5)


def fill(draw: Any, message: Any) -> Any:
    """Set some fields of a message to anything they can be."""
    for field in message.DESCRIPTOR.fields:
        oneof = field.containing_oneof
        taken = oneof is not None and message.WhichOneof(oneof.name) is not None
        if taken or not draw(st.booleans()):
            continue
        target = getattr(message, field.name)
        if field.message_type is None:
            values = draw(st.lists(scalars(field), min_size=1, max_size=2))
            if field.is_repeated:
                target.extend(values)
            else:
                setattr(message, field.name, values[0])
        elif field.message_type.GetOptions().map_entry:
            target.update(draw(st.dictionaries(TEXTS, TEXTS, max_size=2)))
        elif field.is_repeated:
            fill_one(draw, target.add())
        else:
            target.SetInParent()
            fill_one(draw, target)
    return message


def fill_one(draw: Any, message: Any) -> None:
    SPECIAL.get(message.DESCRIPTOR.full_name, fill)(draw, message)


def fill_timestamp(draw: Any, message: Any) -> None:
    message.seconds = draw(st.integers(-62_135_596_800, 253_402_300_799))
    message.nanos = draw(st.integers(0, 999_999_999))


def fill_duration(draw: Any, message: Any) -> None:
    sign = draw(st.sampled_from([-1, 1]))
    message.seconds = sign * draw(st.integers(0, 315_576_000_000))
    message.nanos = sign * draw(st.integers(0, 999_999_999))


def fill_mask(draw: Any, message: Any) -> None:
    path = st.from_regex(r"[a-z]+(_[a-z]+)*(\.[a-z]+(_[a-z]+)*)?", fullmatch=True)
    message.paths.extend(draw(st.lists(path, max_size=2)))


def fill_any(draw: Any, message: Any) -> None:
    message.Pack(fill(draw, METHODS["CreateTask"]().task.http_request))


SPECIAL: dict[str, Callable[[Any, Any], object]] = {
    "google.protobuf.Any": fill_any,
    "google.protobuf.Duration": fill_duration,
    "google.protobuf.FieldMask": fill_mask,
    "google.protobuf.Timestamp": fill_timestamp,
}


def scalars(field: Any) -> st.SearchStrategy[Any]:
    known = {
        field.TYPE_BOOL: st.booleans(),
        field.TYPE_BYTES: st.binary(max_size=9),
        field.TYPE_DOUBLE: st.floats(allow_nan=False),
        field.TYPE_ENUM: st.integers(-(2**31), 2**31 - 1) | st.integers(0, 7),
        field.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
        field.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
        field.TYPE_STRING: TEXTS,
    }
    return known[field.type]


# Leaves that look right somewhere, and what a JSON text can have beyond them.
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=4)
    | st.sampled_from(
        ["2026-06-01T12:00:00Z", "1.5s", "1.9e400s", "NaN", "FULL", "POST", "aGk=", "a"]
    )
    | st.sampled_from([10**400, "9" * 5000, "\ud800", "0001-01-01T00:00:00+23:59"])
)


def nearly(descriptor: Any, depth: int = 0) -> st.SearchStrategy[Any]:
    """Return objects with a message's names, and values it may not take."""
    if descriptor is None or depth == 4:
        return LEAVES
    names = [name for field in descriptor.fields for name in (field.name, "huh")]
    kinds = {field.name: field.message_type for field in descriptor.fields}
    inner = st.sampled_from(names).flatmap(
        lambda name: st.tuples(
            st.just(name),
            nearly(kinds.get(name), depth + 1)
            | st.lists(nearly(kinds.get(name), depth + 1), max_size=2)
            | LEAVES,
        )
    )
    return st.lists(inner, max_size=3).map(dict)
