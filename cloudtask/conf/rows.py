"""What is known of one key of CLOUDTASK."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """
    One key, and all that is known of it but its default.

    The default is that of the field which has the key's name in lower case:
    of Settings, or of the class in which an optional app has its own.
    """

    #: What its value must be: takes the key and the value, returns the value
    #: that is used, raises ConfigurationError.
    check: Callable[[str, Any], Any]
    #: Why OPTIONS of a task backend do not take it. Empty if they do.
    project_wide: str = ""
    #: Keys that belong to it: where OPTIONS have this one, those of CLOUDTASK
    #: do not count.
    owns: tuple[str, ...] = ()
    #: What to set it to, for a key that may be needed and not be known.
    example: str = ""
    #: What other packages call it, in capitals.
    peers: tuple[str, ...] = ()
