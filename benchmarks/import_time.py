"""What `import cloudtask` adds to `import django`."""

from __future__ import annotations

import subprocess
import sys
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.measure import Result

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROGRAM = """
import django, time
started = time.perf_counter()
{statement}
print((time.perf_counter() - started) * 1000)
"""
_RUNS = 15


def run() -> Iterator[Result]:
    milliseconds = _milliseconds("import cloudtask")
    yield Result("import cloudtask, ms over import django", milliseconds, 30, True)


def _milliseconds(statement: str) -> float:
    program = _PROGRAM.format(statement=statement)
    return median(
        float(subprocess.check_output([sys.executable, "-c", program]))
        for _ in range(_RUNS)
    )
