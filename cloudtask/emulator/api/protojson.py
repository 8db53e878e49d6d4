"""Messages from JSON, with the service's words for what is wrong in it."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any, NoReturn

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.rpc import error_details_pb2

from cloudtask.emulator.values.errors import ApiError, invalid_argument

# Google's limit, far above what any message here needs. It also keeps the
# interpreter's own recursion away from the end of a thread's stack.
_MAX_DEPTH = 100
_MAX_SHOWN = 100
_MAX_EXCERPT = 20

_TYPES = {
    number: name
    for name, number in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}
_INVALID_JSON = "Invalid JSON payload received."

# An unterminated string ends with the text, so that no search begins again.
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_BRACKET = re.compile(r"[\[{\]}]")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")

# What the service says about the types that have a form of their own in JSON.
_FORMATS = {
    "google.protobuf.Any": "Illegal message",
    "google.protobuf.Duration": ("Illegal duration format; duration must end with 's'"),
    "google.protobuf.FieldMask": "Illegal field mask",
    "google.protobuf.Timestamp": (
        "Illegal timestamp format; timestamps must end with 'Z' or have a valid "
        "timezone offset."
    ),
}


def loads(text: bytes) -> Any:
    """
    Return what a JSON text says.

    Raises:
        ApiError: It is not JSON, nested too deep or has a name twice.
    """
    try:
        decoded = text.decode()
        _check_depth(decoded)
        return json.loads(
            decoded, object_pairs_hook=_read_object, parse_constant=_refuse_constant
        )
    except UnicodeDecodeError:
        raise invalid_argument(
            f"{_INVALID_JSON} Encountered non UTF-8 code points."
        ) from None
    except json.JSONDecodeError as error:
        raise invalid_argument(
            f"{_INVALID_JSON} Unexpected token.\n{_excerpt(error)}"
        ) from None
    except ValueError:  # NaN, or an integer of thousands of digits.
        raise invalid_argument(f"{_INVALID_JSON} Unexpected token.") from None


def merge(message: Any, content: Any, path: str = "", *, lenient: bool) -> None:
    """
    Set the fields of a message that a JSON object has.

    Args:
        message: A raw protobuf.
        content: What loads() returned; names in camelCase or in snake_case.
        path: Where the object is in the request, for refusals.
        lenient: Ignore what the message has no field for.

    Raises:
        ApiError: The object does not fit the message.
    """
    if not isinstance(content, dict):
        _refuse_value(message.DESCRIPTOR, path, content)
    taken: set[str] = set()
    for name, value in content.items():
        field = _fields(message.DESCRIPTOR).get(name)
        if field is None:
            if not lenient:
                _refuse_name(name, path, "Cannot find field.")
        elif value is not None:
            _check_not_taken(field, name, path, taken)
            set_field(message, field, value, _join(path, field.name), lenient=lenient)


def set_field(
    message: Any, field: Any, value: Any, path: str, *, lenient: bool
) -> None:
    """
    Set a field of a message, or add to it if it is repeated.

    Args:
        message: A raw protobuf.
        field: The descriptor of one of its fields.
        value: JSON for this field, not None.
        path: See merge().
        lenient: See merge().

    Raises:
        ApiError: The value does not fit the field.
    """
    if _is_map(field):
        _set_entries(message, field, value, path, lenient)
    elif field.is_repeated and isinstance(value, list):
        for index, item in enumerate(value):
            _set_one(message, field, item, f"{path}[{index}]", lenient)
    else:
        _set_one(message, field, value, path, lenient)


def unknown_parameter(name: str) -> ApiError:
    """Return the refusal of a query parameter that no field is called."""
    shown = _shorten(name)
    return _violation(
        f'{_INVALID_JSON} Unknown name "{shown}": Cannot bind query parameter. '
        f"Field '{shown}' could not be found in request message.",
        "",
    )


def _set_entries(
    message: Any, field: Any, value: Any, path: str, lenient: bool
) -> None:
    if not isinstance(value, dict):
        _refuse_value(field.message_type, path, value)
    entries = getattr(message, field.name)
    for index, (key, item) in enumerate(value.items()):
        entry = entries.GetEntryClass()()
        merge(entry, {"key": key, "value": item}, f"{path}[{index}]", lenient=lenient)
        # No request of the API has a map of messages.
        entries[entry.key] = entry.value


def _set_one(message: Any, field: Any, value: Any, path: str, lenient: bool) -> None:
    if field.message_type is None:
        _set_scalar(message, field, value, path, lenient)
    elif field.message_type.full_name in _FORMATS:
        _set_formatted(message, field, value, path)
    elif field.is_repeated:
        merge(getattr(message, field.name).add(), value, path, lenient=lenient)
    else:
        target = getattr(message, field.name)
        target.SetInParent()
        merge(target, value, path, lenient=lenient)


def _set_scalar(message: Any, field: Any, value: Any, path: str, lenient: bool) -> None:
    parent, _, name = path.rpartition(".")
    if isinstance(value, list):
        _refuse_name(name, parent, "Proto field is not repeating, cannot start list.")
    if isinstance(value, dict):
        raise _violation(
            f"Invalid value{_at(parent)} ({name}), "
            "Starting an object on a scalar field",
            parent,
        )
    if field.type == field.TYPE_BYTES:
        value = _check_base64(value, path)
    if not _set_by_json(message, field, value, lenient):
        _refuse_value(field.enum_type or field, path, value)


def _set_formatted(message: Any, field: Any, value: Any, path: str) -> None:
    if field.message_type.full_name == "google.protobuf.FieldMask":
        value = _to_camel_case(value)
    if not _set_by_json(message, field, value, lenient=False):
        raise _violation(
            f"Invalid value{_at(path)} ({_type_url(field.message_type)}), "
            f"Field '{field.json_name}', {_FORMATS[field.message_type.full_name]}",
            path,
        )


def _set_by_json(message: Any, field: Any, value: Any, lenient: bool) -> bool:
    """Set a field that is not an object in JSON; tell whether it worked."""
    if isinstance(value, bool) and field.type != field.TYPE_BOOL:
        return False  # An enum would take it for a number.
    part = type(message)()
    try:
        if field.type == field.TYPE_STRING and not field.is_repeated:
            setattr(part, field.name, value)  # Most are, and this is fast.
        else:
            content = {field.name: [value] if field.is_repeated else value}
            json_format.ParseDict(content, part, ignore_unknown_fields=lenient)
    except Exception:
        # Besides its own ParseError it lets others through that it met, such
        # as OverflowError; each time the value is what is wrong.
        return False
    message.MergeFrom(part)
    return True


def _check_not_taken(field: Any, name: str, path: str, taken: set[str]) -> None:
    oneof = field.containing_oneof
    if oneof is not None and oneof.name in taken:
        raise _violation(
            f"Invalid value{_at(path)} (oneof), oneof field '{oneof.name}' is "
            f"already set. Cannot set '{name}'",
            path,
        )
    if field.name in taken:  # In camelCase and in snake_case.
        _refuse_name(name, path, "Proto field is already set.")
    taken.add(field.name)
    if oneof is not None:
        taken.add(oneof.name)


@cache
def _fields(descriptor: Any) -> dict[str, Any]:
    by_name = {field.name: field for field in descriptor.fields}
    return by_name | {field.json_name: field for field in descriptor.fields}


def _is_map(field: Any) -> bool:
    kind = field.message_type
    return kind is not None and kind.GetOptions().map_entry


def _check_base64(value: Any, path: str) -> Any:
    # json_format would pass over the characters that do not belong.
    if not isinstance(value, str):
        return value
    compact = "".join(value.split())
    if _BASE64.fullmatch(compact) is None:
        raise _violation(
            f"Invalid value{_at(path)} (TYPE_BYTES), "
            f'Base64 decoding failed for "{_shorten(value)}"',
            path,
        )
    return compact.rstrip("=")


def _to_camel_case(mask: Any) -> Any:
    # json_format refuses snake_case in masks, the service takes it, too.
    if not isinstance(mask, str):
        return mask
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), mask)


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= _MAX_DEPTH:
        return
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > _MAX_DEPTH:
            raise invalid_argument(  # Unconfirmed wording.
                f"{_INVALID_JSON} Message too deep. Max recursion depth reached."
            )


def _read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):  # Unconfirmed: the service may take the last.
        raise invalid_argument(f"{_INVALID_JSON} An object has a name twice.")
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _excerpt(error: json.JSONDecodeError) -> str:
    start = max(0, error.pos - _MAX_EXCERPT)
    text = error.doc[start : error.pos + _MAX_EXCERPT]
    return f"{text}\n{' ' * (error.pos - start)}^"


def _refuse_name(name: str, path: str, reason: str) -> NoReturn:
    raise _violation(
        f'{_INVALID_JSON} Unknown name "{_shorten(name)}"{_at(path)}: {reason}', path
    )


def _refuse_value(kind: Any, path: str, value: Any) -> NoReturn:
    if not path:
        _refuse_name("", "", "Root element must be a message.")
    shown = _shorten(json.dumps(value, ensure_ascii=False))
    raise _violation(f"Invalid value{_at(path)} ({_type_url(kind)}), {shown}", path)


def _type_url(kind: Any) -> str:
    """Return how the service names the type of a field, message or enum."""
    if hasattr(kind, "json_name"):
        return _TYPES[kind.type]
    return f"type.googleapis.com/{kind.full_name}"


def _violation(description: str, path: str) -> ApiError:
    violation = error_details_pb2.BadRequest.FieldViolation(
        field=path, description=description
    )
    return invalid_argument(
        description, (error_details_pb2.BadRequest(field_violations=[violation]),)
    )


def _at(path: str) -> str:
    return f" at '{path}'" if path else ""


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _shorten(text: str) -> str:
    # JSON can hold half a surrogate pair, a message cannot.
    return text[:_MAX_SHOWN].encode(errors="replace").decode()
