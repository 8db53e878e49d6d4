"""Schedules as Python code, for people to paste above their tasks."""

from __future__ import annotations

import json
import keyword
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cloudtask.schedules.importers.entries import Entry

_WIDTH = 88


def write_source(entries: Iterable[Entry]) -> str:
    """
    Write schedules as code: a function for each task, with its decorators.

    Those that are switched off are left out.
    """
    groups: dict[tuple[object, ...], list[Entry]] = {}
    for entry in entries:
        if entry.is_enabled:
            groups.setdefault(_group(entry), []).append(entry)
    names: set[str] = set()
    functions = [_write_function(group, names) for group in groups.values()]
    return "\n\n\n".join([_write_imports(groups), *functions]) + "\n" if groups else ""


def _group(entry: Entry) -> tuple[object, ...]:
    return (entry.task, *(entry.args if entry.is_command else ()))


def _write_imports(groups: dict[tuple[object, ...], list[Entry]]) -> str:
    entries = [entry for group in groups.values() for entry in group]
    lines = []
    if any(entry.plan.starts or entry.plan.ends for entry in entries):
        lines += ["from datetime import datetime", ""]
    if any(entry.is_command for entry in entries):
        lines += ["from django.core.management import call_command", ""]
    return "\n".join([*lines, "from cloudtask import schedule, task"])


def _write_function(group: list[Entry], names: set[str]) -> str:
    first = group[0]
    name = _choose_name(first.task, names)
    lines = [f"# {first.task}"]
    lines += [f"# {entry.name}: {note}" for entry in group for note in entry.notes]
    lines += [_write_decorator(entry) for entry in group]
    lines.append("@task")
    if first.is_command:
        words = [(None, word) for word in (first.task, *first.args)]
        lines.append(f"def {name}(request):")
        lines.append(f"    {_write_call('call_command', words, 4)}")
    else:
        lines.append(f"def {name}(request, *args, **kwargs): ...")
    return "\n".join(lines)


def _choose_name(task: str, names: set[str]) -> str:
    """Choose the name of a function, which no other one has."""
    base = re.sub(r"\W", "_", task.rpartition(".")[2], flags=re.ASCII) or "task"
    if keyword.iskeyword(base) or base[0].isdigit():
        base = f"task_{base}"
    name, number = base, 1
    while name in names or name in ("schedule", "task", "call_command", "datetime"):
        number += 1
        name = f"{base}_{number}"
    names.add(name)
    return name


def _write_decorator(entry: Entry) -> str:
    arguments: list[tuple[str | None, Any]] = [
        (None, entry.plan.cron.text),
        ("timezone", entry.plan.zone.key),
        ("name", entry.name),
    ]
    if not entry.is_command:
        arguments += [("args", list(entry.args))] if entry.args else []
        arguments += [("kwargs", dict(entry.kwargs))] if entry.kwargs else []
    for name, moment in (("starts", entry.plan.starts), ("ends", entry.plan.ends)):
        if moment is not None:
            arguments.append(
                (name, _Code(f'datetime.fromisoformat("{moment.isoformat()}")'))
            )
    return _write_call("@schedule", arguments, 0)


class _Code(str):
    """What is written as it is."""


def _write_call(
    function: str, arguments: Sequence[tuple[str | None, Any]], indent: int
) -> str:
    parts = [(f"{name}=" if name else "", value) for name, value in arguments]
    return _write_items(f"{function}(", parts, ")", indent)


def _write_items(
    head: str, parts: list[tuple[str, Any]], tail: str, indent: int, before: int = 0
) -> str:
    """Write what stands between brackets, in one line if there is room."""
    line = f"{head}{', '.join(name + _write(value) for name, value in parts)}{tail}"
    if indent + before + len(line) <= _WIDTH or not parts:
        return line
    inner = indent + 4
    lines = [
        # A comma follows.
        f"{' ' * inner}{name}{_write_long(value, inner, len(name) + 1)},"
        for name, value in parts
    ]
    return "\n".join([head, *lines, f"{' ' * indent}{tail}"])


def _write_long(value: Any, indent: int, before: int) -> str:
    if isinstance(value, dict):
        parts = [(f"{_write(key)}: ", each) for key, each in value.items()]
        return _write_items("{", parts, "}", indent, before)
    if isinstance(value, list):
        return _write_items("[", [("", each) for each in value], "]", indent, before)
    return _write(value)


def _write(value: Any) -> str:
    """Write a value of JSON as Python."""
    if isinstance(value, _Code):
        return value
    if isinstance(value, str):
        # JSON's escapes mean the same in Python.
        text = json.dumps(value, ensure_ascii=False)
        if '"' in value and "'" not in value:
            return "'" + text[1:-1].replace('\\"', '"') + "'"
        return text
    if isinstance(value, list):
        return f"[{', '.join(map(_write, value))}]"
    if isinstance(value, dict):
        pairs = (f"{_write(key)}: {_write(each)}" for key, each in value.items())
        return f"{{{', '.join(pairs)}}}"
    return repr(value)
