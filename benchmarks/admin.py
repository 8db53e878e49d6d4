"""
What the admin asks of PostgreSQL, with a million tasks in the table.

In a process of its own, as Django is configured but once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from benchmarks import database
from benchmarks.measure import Result

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = 1_000_000
#: For a look; the limit is about the full table.
QUICK = 300_000
_LIMIT = 200


def run(rows: int = ROWS) -> Iterator[Result]:
    with database.postgresql() as entry:
        environment = {
            **os.environ,
            "BENCHMARK_DATABASE": entry["NAME"],
            "BENCHMARK_ROWS": str(rows),
        }
        command = [sys.executable, "-m", "benchmarks.admin_process"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                name, milliseconds, queries, slowest = json.loads(line)
                detail = f"{queries} queries, slowest {slowest:.1f} ms"
                yield Result(f"admin: {name}, ms", milliseconds, _LIMIT, True, detail)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
