"""Crontabs: five fields and a command in each line."""

from __future__ import annotations

import re
import shlex
from functools import partial
from pathlib import PurePosixPath

from cloudtask.schedules.importers.entries import Entry, Found, Unsupported, make_entry

#: What cron has short words for.
_ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_ASSIGNMENT = re.compile(r"""([A-Za-z_]\w*)\s*=\s*(["']?)(.*?)\2\s*""", re.ASCII)
_ENTRY = re.compile(r"(@\w+|(?:\S+\s+){4}\S+)\s+(\S.*)")
#: `>> file`, `2>&1` and the like, at the end of a command.
_REDIRECTION = re.compile(r"\s+(?:[12&]?>>?\s*(?:&[12]|[\w./-]+))\s*$")
_CHANGE_OF_DIRECTORY = re.compile(r"\Acd\s+[\w./-]+\s*(?:&&|;)\s*")
_VARIABLE = re.compile(r"[A-Za-z_]\w*=[\w./:-]*")
#: Characters by which a shell does more than run a program.
_SHELL = frozenset("|&;<>()$`{}*?~%\\!#[]")
_PROGRAMS = ("manage.py", "django-admin")


def read_crontab(text: str, timezone: str) -> Found:
    """
    Read the crontab of a user.

    Args:
        text: What is in the file.
        timezone: Name of the zone of lines before any CRON_TZ.
    """
    found = Found()
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        assignment = _ASSIGNMENT.fullmatch(line)
        if assignment is not None:
            if assignment[1] in ("CRON_TZ", "TZ"):
                timezone = assignment[3]
        elif line and not line.startswith("#"):
            where = f"line {number}"
            found.add(where, partial(_make_entry, where, line, timezone))
    return found


def _make_entry(where: str, line: str, timezone: str) -> Entry:
    match = _ENTRY.fullmatch(line)
    if match is None:
        raise Unsupported("it is not five fields and a command.")
    cron = _read_cron(match[1])
    command, *args = _read_command(match[2])
    plan = {"cron": cron, "timezone": timezone}
    name = " ".join([command, *args])
    return make_entry(where, name, command, plan, args=tuple(args), is_command=True)


def _read_cron(text: str) -> str:
    if text.startswith("@"):
        if text not in _ALIASES:
            raise Unsupported(f"{text} is not a time.")
        return _ALIASES[text]
    _, _, day, _, weekday = text.split()
    open_day, open_weekday = day[:1] == "*", weekday[:1] == "*"
    if "*" not in (day, weekday) and (open_day or open_weekday):
        raise Unsupported(
            f"'{day}' and '{weekday}' mean days that match both for cron, and days "
            "that match either here. Write a list of days."
        )
    return text


def _read_command(text: str) -> list[str]:
    """Read which management command is run, with its arguments."""
    words = _split(text)
    while words and _VARIABLE.fullmatch(words[0]):
        words.pop(0)
    if words and PurePosixPath(words[0]).name.startswith("python"):
        words.pop(0)
    if len(words) < 2 or PurePosixPath(words[0]).name not in _PROGRAMS:
        raise Unsupported(
            "it does not run manage.py. Make a task of what it does, and schedule that."
        )
    return words[1:]


def _split(text: str) -> list[str]:
    text = _CHANGE_OF_DIRECTORY.sub("", text)
    while (shorter := _REDIRECTION.sub("", text)) != text:
        text = shorter
    if _SHELL & {*text}:
        raise Unsupported(
            "it needs a shell. Make a task of what it does, and schedule that."
        )
    try:
        return shlex.split(text)
    except ValueError:
        raise Unsupported("a quotation in it does not end.") from None
