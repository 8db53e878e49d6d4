"""Where our jobs are, and the marks by which they are known to be ours."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cloudtask.conf import get_settings
from cloudtask.schedules.settings import get_schedules_settings

#: Characters of a description.
MAX_DESCRIPTION = 500


@dataclass(frozen=True, slots=True)
class Place:
    """A project and a region of Cloud Scheduler, and our prefix there."""

    project: str
    location: str
    prefix: str

    @property
    def parent(self) -> str:
        """The full resource name of the region."""
        return f"projects/{self.project}/locations/{self.location}"

    def make_name(self, uid: str) -> str:
        """Make the full resource name of a schedule's job."""
        return f"{self.parent}/jobs/{self.prefix}-{uid}"

    def make_description(self, text: str) -> str:
        """Make the description of a job, which ends with our mark."""
        return f"{text[: MAX_DESCRIPTION - len(self._mark)]}{self._mark}"

    def find_uid(self, name: str, description: str) -> str | None:
        """
        Find the schedule of a job that has our mark in both places.

        Args:
            name: The job's full resource name.
            description: Of the job.

        Returns:
            The schedule's uid; None if the job is not ours.
        """
        start = f"{self.parent}/jobs/{self.prefix}-"
        match = re.fullmatch(rf"{re.escape(start)}([0-9a-f]{{32}})", name)
        if match is None or not description.endswith(self._mark):
            return None
        return match[1]

    @property
    def _mark(self) -> str:
        return f" [{self.prefix}]"


def get_place() -> Place:
    """
    Get the place of this project's jobs.

    Raises:
        ConfigurationError: The project or the region is not known.
        MetadataUnavailable: Nobody can tell now.
    """
    settings = get_settings()
    own = get_schedules_settings(settings)
    return Place(
        project=settings.require_project(),
        location=own.scheduler_location or settings.require_location(),
        prefix=own.scheduler_prefix,
    )
