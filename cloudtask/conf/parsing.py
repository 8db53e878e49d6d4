"""What a dictionary of settings says, by the table of keys."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from cloudtask.conf.table import CORE_ROWS, get_all_rows
from cloudtask.exceptions import ConfigurationError

if TYPE_CHECKING:
    from cloudtask.conf.rows import Row


def parse(raw: object, *, is_options: bool = False) -> dict[str, Any]:
    """
    Check a dictionary of settings.

    Args:
        raw: CLOUDTASK, or the OPTIONS of a task backend.
        is_options: Which of the two it is.

    Returns:
        Its values by their keys. One of None is left out: it means "not set".

    Raises:
        ConfigurationError: A key is unknown or a value is wrong.
    """
    if not isinstance(raw, Mapping):
        # Not shown: a comma too many makes it a tuple, secrets and all.
        kind = type(raw).__qualname__
        raise ConfigurationError(None, f"must be a dictionary, not a {kind}.")
    values = {}
    for key, value in raw.items():
        row = _find_row(key, is_options)
        if value is not None:
            values[key] = row.check(key, value)
    if values.get("RUN_ONCE") and "RETRY" in values:
        raise ConfigurationError(
            "RUN_ONCE", "contradicts RETRY: leave one of them out."
        )
    return values


def _find_row(key: Any, is_options: bool) -> Row:
    row = CORE_ROWS.get(key) or get_all_rows().get(key)
    if row is None:
        raise ConfigurationError(key, _describe_unknown(key, is_options))
    if is_options and row.project_wide:
        raise ConfigurationError(key, f"belongs in CLOUDTASK: {row.project_wide}")
    return row


def _describe_unknown(key: object, is_options: bool) -> str:
    rows = get_all_rows()
    known = sorted(k for k in rows if not (is_options and rows[k].project_wide))
    nearest = _find_nearest(str(key).upper(), known)
    hint = f" Did you mean {nearest!r}?" if nearest else ""
    return f"is not a setting of cloudtask.{hint} Known: {', '.join(known)}."


def _find_nearest(word: str, known: Iterable[str]) -> str | None:
    for key, row in get_all_rows().items():
        if word in row.peers:
            return key
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=0.5)), None)
