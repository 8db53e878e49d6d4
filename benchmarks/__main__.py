"""`python -m benchmarks [NAME ...]`: prints a table, fails over a limit."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import admin, dispatch, emulator, enqueue, import_time, results

if TYPE_CHECKING:
    from benchmarks.measure import Result

BENCHMARKS = {
    "import": import_time.run,
    "enqueue": enqueue.run,
    "dispatch": dispatch.run,
    "results": results.run,
    "admin": admin.run,
    "emulator": emulator.run,
}
QUICK = BENCHMARKS | {
    "admin": partial(admin.run, admin.QUICK),
    "emulator": partial(emulator.run, emulator.QUICK),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="smaller sizes where a run would take minutes; for a look only",
    )
    options = parser.parse_args()
    names = options.names or list(BENCHMARKS)
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    benchmarks = QUICK if options.quick else BENCHMARKS
    results: list[Result] = []
    for name in names:
        for result in benchmarks[name]():
            print(result, flush=True)
            results.append(result)
    return 0 if all(result.holds for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
