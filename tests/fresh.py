"""Code in a new process, which has loaded nothing yet."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def run_fresh(code: str) -> Any:
    """
    Run code that prints JSON.

    Returns:
        What it printed.

    Raises:
        RuntimeError: It failed. The message is what it wrote to stderr.
    """
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)
