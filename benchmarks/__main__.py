"""`python -m benchmarks [NAME ...]`: prints a table, fails over a limit."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from benchmarks import dispatch, enqueue, import_time

if TYPE_CHECKING:
    from benchmarks.measure import Result

BENCHMARKS = {
    "import": import_time.run,
    "enqueue": enqueue.run,
    "dispatch": dispatch.run,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}"
    )
    names = parser.parse_args().names or list(BENCHMARKS)
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    results: list[Result] = []
    for name in names:
        for result in BENCHMARKS[name]():
            print(result, flush=True)
            results.append(result)
    return 0 if all(result.holds for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
