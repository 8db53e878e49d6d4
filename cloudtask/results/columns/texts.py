"""Texts that tasks make, in characters that a database can store."""

from __future__ import annotations

import codecs
import json
import re
from typing import Any

#: Characters of an error's message and of its traceback.
MAX_TEXT = 16 * 1024
#: Styles of escapes: names of Python's error handlers.
PYTHON, JSON = "backslashreplace", "cloudtask.json"

#: MySQL's utf8mb3, and the characters that it cannot store.
_UTF8_OF_3_BYTES = "utf8mb3"
_LONGER = re.compile("[\U00010000-\U0010ffff]+")
#: MySQL's names of character sets of connections.
_MYSQL_CHARSETS = {
    "utf8mb4": "utf-8",
    "utf8mb3": _UTF8_OF_3_BYTES,
    "utf8": _UTF8_OF_3_BYTES,
    "latin1": "cp1252",
}
#: PostgreSQL's character sets that are the same in Python.
_POSTGRESQL_CHARSET = re.compile(r"UTF8|LATIN[0-9]+|ISO_8859_[0-9]+|WIN[0-9]+")


def clean_text(value: str) -> str:
    """Make a text storable in UTF-8. A long one is cut in the middle."""
    clean = escape(value, "utf-8")
    if len(clean) <= MAX_TEXT:
        return clean
    half = MAX_TEXT // 2 - 3
    return f"{clean[:half]}\n...\n{clean[-half:]}"


def fit_text(value: str, connection: Any, style: str = PYTHON) -> str:
    """
    Escape what a database cannot store of a text.

    Args:
        value: The text.
        connection: Django's connection to the database.
        style: How characters are escaped: PYTHON or JSON.
    """
    if value.isascii():
        return escape(value, "ascii")
    return escape(value, find_charset(connection), style)


def escape(value: str, charset: str, style: str = PYTHON) -> str:
    """Escape the characters of a text that a character set does not have."""
    value = value.replace("\0", "\\0")
    if charset == _UTF8_OF_3_BYTES:
        charset = "utf-8"
        value = _LONGER.sub(lambda found: escape(found[0], "ascii", style), value)
    return value.encode(charset, style).decode(charset)


def find_charset(connection: Any) -> str:
    """
    Find the character set of a database, as Python names it.

    Returns:
        ASCII, which is part of all of them, where it is not known for sure.
    """
    connection.ensure_connection()
    driver = connection.connection
    if connection.vendor == "postgresql":
        name = driver.info.parameter_status("server_encoding") or ""
        if _POSTGRESQL_CHARSET.fullmatch(name) is None:
            return "ascii"
        return name.replace("WIN", "cp")
    if connection.vendor == "mysql":
        # The columns hold all of Unicode.
        return _MYSQL_CHARSETS.get(driver.character_set_name(), "ascii")
    return "utf-8"


def _escape_as_json(error: Any) -> tuple[str, int]:
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error(JSON, _escape_as_json)
