"""What somebody finds who is shown an exception with all its frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def values_in(error: BaseException) -> Iterator[str]:
    """
    Representations of what an exception, and those that it hangs on, hold.

    Local variables of frames, and what is in their containers, as reporters
    show them; frames of this project's tests are left out.
    """
    seen: set[int] = set()
    for each in _chain(error, seen):
        yield f"{each} {each!r} {each.args!r}"
        traceback = each.__traceback__
        while traceback is not None:
            frame = traceback.tb_frame
            if not frame.f_globals.get("__name__", "").startswith("tests."):
                yield from _shown(dict(frame.f_locals))
            traceback = traceback.tb_next


def _chain(error: BaseException | None, seen: set[int]) -> Iterator[BaseException]:
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    yield from _chain(error.__cause__, seen)
    yield from _chain(error.__context__, seen)


def _shown(value: Any, depth: int = 0) -> Iterator[str]:
    yield repr(value)
    if depth > 5:
        return
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple, set, frozenset)):
        for each in value:
            yield from _shown(each, depth + 1)
