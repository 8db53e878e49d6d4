"""
Schedules of Celery.

`manage.py dumpdata django_celery_beat` writes the rows of django-celery-beat.
A project without it has CELERY_BEAT_SCHEDULE, a dictionary, which is read as
JSON: a schedule is a number of seconds, five fields of cron, or an object with
the arguments of `crontab()`.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from cloudtask.schedules.importers.entries import Entry, Found, Unsupported, make_entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    _Fields = Mapping[str, Any]
    #: The fields of each row, by its model and its key.
    _Rows = Mapping[tuple[str, str], _Fields]

#: The fields of a crontab, in our order.
_FIELDS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
_APP = "django_celery_beat."
_PERIODS = ("days", "hours", "minutes", "seconds", "microseconds")
_WORD = re.compile("[A-Za-z]+")
#: What of a row has no equal, with what to do.
_LOST = {
    "expire_seconds": "runs do not expire: see catch_up=.",
    "queue": "give the task its queue.",
    "exchange": "there are none.",
    "routing_key": "there are none.",
    "priority": "give the task its priority.",
}


def read_celery_beat(text: str, timezone: str) -> Found:
    """
    Read a dump of django-celery-beat, or CELERY_BEAT_SCHEDULE as JSON.

    Args:
        text: What is in the file.
        timezone: Name of the zone of what says none.

    Raises:
        Unsupported: It is neither.
    """
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise Unsupported("The file is not JSON.") from None
    if isinstance(document, dict):
        return _read_settings(document, timezone)
    if isinstance(document, list) and all(map(_is_row, document)):
        return _read_rows(document, timezone)
    raise Unsupported(
        "The file is neither a dump of django_celery_beat, nor an object with the "
        "entries of CELERY_BEAT_SCHEDULE."
    )


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _is_row(row: object) -> bool:
    return (
        isinstance(row, dict)
        and isinstance(row.get("model"), str)
        and isinstance(row.get("fields"), dict)
    )


def _read_settings(document: Mapping[str, Any], timezone: str) -> Found:
    found = Found()
    for name, entry in document.items():
        found.add(repr(name), partial(_read_setting, name, entry, timezone))
    return found


def _read_setting(name: str, entry: Any, timezone: str) -> Entry:
    if not isinstance(entry, dict):
        raise Unsupported("it is not an object.")
    options = entry.get("options") or {}
    if not isinstance(options, dict):
        raise Unsupported("its options are not an object.")
    lost = {**options, "expire_seconds": options.get("expires")}
    return make_entry(
        *(repr(name), name, entry.get("task")),
        {**_read_schedule(entry.get("schedule")), "timezone": timezone},
        args=tuple(_expect(list, "args", entry.get("args") or [])),
        kwargs=_expect(dict, "kwargs", entry.get("kwargs") or {}),
        notes=tuple(_list_lost(lost)),
    )


def _read_schedule(schedule: Any) -> dict[str, Any]:
    if isinstance(schedule, (int, float)) and not isinstance(schedule, bool):
        return {"cron": None, "every": _make_interval(schedule, "seconds")}
    if isinstance(schedule, str):
        return {"cron": schedule}
    if isinstance(schedule, dict) and schedule.keys() <= {*_FIELDS}:
        return {"cron": _write_cron(schedule)}
    raise Unsupported(
        "its schedule is not a number of seconds, five fields, or the arguments of "
        "crontab()."
    )


def _read_rows(document: list[Any], timezone: str) -> Found:
    # By texts: a key may be anything.
    rows = {(row["model"], repr(row.get("pk"))): row["fields"] for row in document}
    found = Found()
    for row in document:
        if row["model"] == f"{_APP}periodictask":
            fields = row["fields"]
            where = repr(fields.get("name"))
            found.add(where, partial(_read_row, where, fields, rows, timezone))
    return found


def _read_row(where: str, fields: _Fields, rows: _Rows, timezone: str) -> Entry:
    if fields.get("one_off") or fields.get("clocked"):
        raise Unsupported("it runs once. Enqueue its task for that time.")
    if fields.get("solar"):
        raise Unsupported("it follows the sun.")
    plan = _find_plan(fields, rows, timezone)
    plan["starts"] = _read_moment("start_time", fields)
    plan["ends"] = _read_moment("expires", fields)
    return make_entry(
        *(where, fields.get("name"), fields.get("task")),
        plan,
        args=tuple(_read_json(list, "args", fields)),
        kwargs=_read_json(dict, "kwargs", fields),
        is_enabled=fields.get("enabled") is not False,
        notes=tuple(_list_lost(fields)),
    )


def _find_plan(fields: _Fields, rows: _Rows, timezone: str) -> dict[str, Any]:
    for what, read in (("crontab", _read_crontab), ("interval", _read_interval)):
        key = fields.get(what)
        if key is None:
            continue
        row = rows.get((f"{_APP}{what}schedule", repr(key)))
        if row is None:
            raise Unsupported(f"its {what} is not in the file.")
        return {"timezone": timezone, **read(row)}
    raise Unsupported("it has no schedule.")


def _read_crontab(row: _Fields) -> dict[str, Any]:
    plan = {"cron": _write_cron(row)}
    return {**plan, "timezone": row["timezone"]} if row.get("timezone") else plan


def _read_interval(row: _Fields) -> dict[str, Any]:
    return {"every": _make_interval(row.get("every"), row.get("period"))}


def _make_interval(number: Any, period: Any) -> timedelta:
    try:
        return timedelta(**{_PERIODS[_PERIODS.index(period)]: number})
    except (TypeError, ValueError, OverflowError):
        raise Unsupported(f"{number!r} {period} is not an interval.") from None


def _write_cron(crontab: _Fields) -> str:
    """Write the five fields of a crontab of Celery."""
    fields = [_write_field(crontab.get(name, "*")) for name in _FIELDS]
    if "*" not in (fields[2], fields[4]):
        raise Unsupported(
            f"'{fields[2]}' and '{fields[4]}' mean days that match both for Celery, "
            "and days that match either here."
        )
    return " ".join(fields)


def _write_field(value: Any) -> str:
    if isinstance(value, list):
        value = ",".join(map(str, value))
    # Days and months may be written out.
    return _WORD.sub(lambda word: word[0][:3], "".join(str(value).split())) or "*"


def _read_moment(name: str, fields: _Fields) -> datetime | None:
    text = fields.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise Unsupported(f"its {name} is not a time.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _read_json(kind: type, name: str, fields: _Fields) -> Any:
    try:
        value = json.loads(fields.get(name) or "null", parse_constant=_refuse_constant)
    except (TypeError, ValueError, RecursionError):
        raise Unsupported(f"its {name} are not JSON.") from None
    return _expect(kind, name, kind() if value is None else value)


def _expect(kind: type, name: str, value: Any) -> Any:
    if not isinstance(value, kind):
        raise Unsupported(f"its {name} are not of the right form.")
    return value


def _list_lost(fields: _Fields) -> Iterator[str]:
    for name, advice in _LOST.items():
        if fields.get(name) is not None:
            yield f"{name} is left out: {advice}"
    if fields.get("headers") not in (None, {}, "", "{}"):
        yield "headers are left out: give them to the task."
