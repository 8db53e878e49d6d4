"""Which distributions have files in this package."""

from __future__ import annotations

import re
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING

from django.core import checks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.core.checks import CheckMessage

#: Lists of what a distribution has installed: of wheels, and of former ones.
_RECORDS = ("RECORD", "installed-files.txt")
_FILE = re.compile(r"^(?:\.\./)?cloudtask/", re.MULTILINE)
#: Whoever has this module is this package, whatever it is called.
_OWN = f"{__name__.replace('.', '/')}.py"


def check_installation() -> Iterator[CheckMessage]:
    for name in find_strangers():
        yield checks.Warning(
            f"The distribution {name!r} has installed modules in the package "
            "cloudtask, too: each has overwritten files of the other.",
            hint=f"Uninstall {name}, and install dj-cloudtask again.",
            id="cloudtask.W023",
        )


@cache
def find_strangers() -> tuple[str, ...]:
    """
    Names of other distributions with modules in the package `cloudtask`.

    Each of them overwrites files of the other when it is installed.
    """
    found = set()
    for distribution in metadata.distributions():
        for name in _RECORDS:
            record = distribution.read_text(name) or ""
            # The quick look first: there are hundreds of long lists.
            if "cloudtask/" in record and _OWN not in record and _FILE.search(record):
                found.add(distribution.metadata["Name"])
    return tuple(sorted(found))
