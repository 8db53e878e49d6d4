"""Time zones by their names in the tz database."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo

from cloudtask.cron.errors import InvalidZone

_PART = "[A-Za-z0-9_+-]+"
_NAME = re.compile(rf"{_PART}(/{_PART}){{0,2}}")
#: Files beside the database: copies, some of them with leap seconds, and what
#: this machine is set to.
_OTHER = re.compile(r"(posix|right)/.*|posixrules|localtime")


def find_zone(name: str) -> ZoneInfo:
    """
    Find a time zone.

    Args:
        name: As the tz database has it: "Europe/Berlin". An empty one, "utc"
            and "UTC" are UTC.

    Raises:
        InvalidZone: There is none of this name, or no tz database here.
    """
    if name in ("", "utc"):
        name = "UTC"
    if _is_name(name):
        try:
            return ZoneInfo(name)
        # The file is not there, is a directory, or holds something else.
        except (KeyError, OSError, ValueError):
            _check_database()
    raise InvalidZone(
        f"{name!r} is not a time zone. Write a name of the tz database, such as "
        "'Europe/Berlin' or 'UTC'."
    )


def _is_name(name: object) -> bool:
    return (
        isinstance(name, str)
        and _NAME.fullmatch(name) is not None
        and _OTHER.fullmatch(name) is None
    )


def _check_database() -> None:
    try:
        ZoneInfo.no_cache("UTC")
    except KeyError:
        raise InvalidZone(
            "There is no tz database on this system. Install the package 'tzdata'."
        ) from None
