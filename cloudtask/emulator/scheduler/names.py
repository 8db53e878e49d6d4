"""Names of jobs: what is well formed."""

from __future__ import annotations

import re

from cloudtask.emulator.scheduler import refusals
from cloudtask.emulator.values.locations import LOCATION, PROJECT

_JOB = re.compile(
    rf"(projects/{PROJECT}/locations/{LOCATION})/jobs/[A-Za-z0-9_-]{{1,500}}"
)


def split_job_name(name: str) -> str:
    """
    Return the location in a job's name.

    Raises:
        ApiError: It is not `projects/P/locations/L/jobs/J`.
    """
    match = _JOB.fullmatch(name)
    if match is None:
        raise refusals.bad_job_name()
    return match[1]
