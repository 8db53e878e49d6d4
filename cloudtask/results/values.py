"""What a database stores of values and texts that tasks make."""

from __future__ import annotations

import codecs
import json
import re
from typing import Any

from cloudtask.wire.dumping import Unwritable, dump
from cloudtask.wire.loading import load

#: Characters of a return value, as JSON.
MAX_VALUE = 256 * 1024
#: Characters of an error's message and of its traceback.
MAX_TEXT = 16 * 1024
#: Styles of escapes: names of Python's error handlers.
PYTHON, JSON = "backslashreplace", "cloudtask.json"

#: MySQL's utf8mb3, and what it has no room for.
_UTF8_OF_3_BYTES = "utf8mb3"
_LONGER = re.compile("[\U00010000-\U0010ffff]+")
#: Names of MySQL's for character sets of connections.
_MYSQL_CHARSETS = {
    "utf8mb4": "utf-8",
    "utf8mb3": _UTF8_OF_3_BYTES,
    "utf8": _UTF8_OF_3_BYTES,
    "latin1": "cp1252",
}
#: Those of PostgreSQL that Python knows, and has in the same way.
_POSTGRESQL_CHARSET = re.compile(r"UTF8|LATIN[0-9]+|ISO_8859_[0-9]+|WIN[0-9]+")


def storable(value: Any) -> tuple[Any, bool]:
    """
    A value as JSON that every database stores.

    Returns:
        The JSON value, and whether the value had to be dropped for it: it was
        no JSON, or too long.
    """
    try:
        written = dump(value, 0)
    except (Unwritable, RecursionError):
        return None, True
    if len(written) > MAX_VALUE:
        return None, True
    return json.loads(written), False


def restored(stored: Any) -> Any:
    """The value that storable() was given."""
    return load(json.dumps(stored).encode())


def text(value: str) -> str:
    """A text that a database in UTF-8 stores, cut in its middle if long."""
    clean = escaped(value, "utf-8")
    if len(clean) <= MAX_TEXT:
        return clean
    half = MAX_TEXT // 2 - 3
    return f"{clean[:half]}\n...\n{clean[-half:]}"


def storable_text(value: str, connection: Any, style: str = PYTHON) -> str:
    """
    A text as a database can hold it.

    Args:
        value: The text.
        connection: Django's connection to the database.
        style: How characters are escaped that it has no room for: PYTHON or
            JSON.
    """
    if value.isascii():
        return escaped(value, "ascii")
    return escaped(value, charset_of(connection), style)


def escaped(value: str, charset: str, style: str = PYTHON) -> str:
    """A text whose characters are all in a character set."""
    value = value.replace("\0", "\\0")
    if charset == _UTF8_OF_3_BYTES:
        charset = "utf-8"
        value = _LONGER.sub(lambda found: escaped(found[0], "ascii", style), value)
    return value.encode(charset, style).decode(charset)


def charset_of(connection: Any) -> str:
    """
    The character set that a database can hold, as Python names it.

    Of what is not known for sure only ASCII, which all have.
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
