"""Fields of a message by their paths, as masks and filters write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudtask.emulator.values import errors

if TYPE_CHECKING:
    from collections.abc import Sequence


def resolve(descriptor: Any, path: str) -> list[Any] | None:
    """
    Return the fields' descriptors down a path: `retry_config.max_attempts`.

    The names may be in snake_case or, as in JSON, in camelCase.

    Returns:
        One descriptor for each name, None if there is no such field.
    """
    found = []
    for name in path.split("."):
        field = descriptor and (
            descriptor.fields_by_name.get(name)
            or descriptor.fields_by_camelcase_name.get(name)
        )
        if not field:
            return None
        found.append(field)
        descriptor = field.message_type
    return found


def json_name(message: Any, name: str) -> str:
    """Return what a field of a message is called in JSON."""
    shown: str = message.DESCRIPTOR.fields_by_name[name].json_name
    return shown


def replace(target: Any, source: Any, path: str) -> None:
    """
    Give the field at a path of an update mask the value that `source` has.

    What `source` does not set is not set in `target` any more.

    Raises:
        ApiError: There is no such field.
    """
    found = resolve(target.DESCRIPTOR, path)
    if found is None or any(is_list_of_messages(field) for field in found[:-1]):
        raise errors.unknown_field(path)
    _replace(target, source, [field.name for field in found])


def is_list_of_messages(field: Any) -> bool:
    """Whether a field holds any number of messages."""
    # A message is either there or not, unless there can be several.
    return field.message_type is not None and not field.has_presence


def _replace(target: Any, source: Any, names: Sequence[str]) -> None:
    name, *rest = names
    if rest:
        # If both lack it there is nothing to do, and to look would create it.
        if target.HasField(name) or source.HasField(name):
            _replace(getattr(target, name), getattr(source, name), rest)
        return
    target.ClearField(name)
    for field, value in source.ListFields():
        if field.name == name:
            target.MergeFrom(type(target)(**{name: value}))
