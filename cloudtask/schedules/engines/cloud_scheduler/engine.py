"""The engine: jobs follow rows, and are compared with them."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from django.db import transaction

from cloudtask.conf import get_settings
from cloudtask.exceptions import CloudTaskError
from cloudtask.results.database.connections import get_alias
from cloudtask.schedules.changes import Comparison, Step, Verb
from cloudtask.schedules.engines.base import Engine
from cloudtask.schedules.engines.cloud_scheduler.diff import compare
from cloudtask.schedules.engines.cloud_scheduler.places import get_place
from cloudtask.schedules.models import ScheduledTask

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from cloudtask.schedules.engines.cloud_scheduler.client import Client
    from cloudtask.schedules.engines.cloud_scheduler.jobs import Job
    from cloudtask.schedules.engines.cloud_scheduler.places import Place

logger = logging.getLogger("cloudtask")

#: What steps are taken to.
JOB = "job"
#: How often a job is put that was changed meanwhile.
_TRIES = 5
_NEEDS_FULL_VIEW = (
    "The targets of {} jobs are not shown to this process, so that URL, headers and "
    "body are not compared. Give it the permission cloudscheduler.jobs.fullView."
)


class CloudSchedulerEngine(Engine):
    """
    One job at Cloud Scheduler for each schedule.

    Raises:
        ConfigurationError: The extra `scheduler` is not installed.
    """

    def __init__(self) -> None:
        settings = get_settings()
        try:
            from cloudtask.schedules.engines.cloud_scheduler import client, wanted
        except ImportError as error:
            raise settings.error(
                "SCHEDULER",
                "is 'scheduler', and google-cloud-scheduler is not installed. Run "
                "`pip install 'dj-cloudtask[scheduler]'`.",
            ) from error
        self._get_client = partial(client.get_client, settings)
        self._make_wanted = wanted.make_wanted
        self._goes_to_google = wanted.goes_to_google

    def follow(self, row: ScheduledTask) -> None:
        """Put the schedule's job once the change is committed."""
        self._bring_at_commit(row, "apply")

    def forget(self, row: ScheduledTask) -> None:
        """Delete the schedule's job once the row is gone."""
        self._bring_at_commit(row, "prune")

    def revive(self, row: ScheduledTask) -> None:
        """Say that a tick did not come. Its job is for people to look at."""
        logger.warning(
            "schedule=%r: Cloud Scheduler has sent no tick for its last slot. Look for "
            "its job by `manage.py cloudtask schedules plan`.",
            row.name,
        )

    def compare(
        self, rows: Iterable[ScheduledTask], gone: Collection[str] = ()
    ) -> Comparison:
        """Compare schedules with all of our jobs. See Engine.compare()."""
        place, client = get_place(), self._get_client()
        found = find_ours(client.iterate_jobs(place.parent), place)
        comparison = Comparison()
        partial_jobs = sum(job.is_partial for job in found.values())
        if partial_jobs:
            comparison.notes.append(_NEEDS_FULL_VIEW.format(partial_jobs))
        for row in rows:
            job = found.pop(row.uid, None)
            try:
                wanted = self._make_wanted(row, place)
            except CloudTaskError as error:
                comparison.problems.append(f"{row.name}: {error}")
            else:
                comparison.steps += _find_steps(client, row.name, wanted, job)
        for uid, job in found.items():
            if uid not in gone:
                comparison.orphans.append(_make_deletion(client, job))
        return comparison

    def _bring_at_commit(self, row: ScheduledTask, repair: str) -> None:
        # Where tasks never leave this process, no tick could reach it.
        if self._goes_to_google(row):
            transaction.on_commit(
                partial(self._try_to_bring, row.uid, row.name, repair),
                get_alias(),
                robust=True,
            )

    def _try_to_bring(self, uid: str, name: str, repair: str) -> None:
        try:
            self._bring(uid)
        except CloudTaskError as error:
            logger.error(
                "schedule=%r: its job at Cloud Scheduler is not as it should be. Run "
                "`manage.py cloudtask schedules %s`. %s",
                name,
                repair,
                error,
            )

    def _bring(self, uid: str) -> None:
        """Have the job be as the row is, also if others change it meanwhile."""
        place, client = get_place(), self._get_client()
        for _ in range(_TRIES):
            row = _find_row(uid)
            if row is None:
                client.delete(place.make_name(uid))
            else:
                client.put(self._make_wanted(row, place))
            if _find_generation(uid) == (row and row.generation):
                return


def find_ours(jobs: Iterable[Job], place: Place) -> dict[str, Job]:
    """Find the jobs that have our mark, by the uids of their schedules."""
    ours = ((place.find_uid(each.name, each.description), each) for each in jobs)
    return {uid: job for uid, job in ours if uid is not None}


def _find_row(uid: str) -> ScheduledTask | None:
    return ScheduledTask.objects.filter(uid=uid).first()


def _find_generation(uid: str) -> int | None:
    rows = ScheduledTask.objects.filter(uid=uid)
    return rows.values_list("generation", flat=True).first()


def _find_steps(
    client: Client, name: str, wanted: Job, found: Job | None
) -> Iterator[Step]:
    if found is None:
        take = partial(client.create, wanted)
        yield Step(verb=Verb.CREATE, what=JOB, name=name, take=take)
        return
    diff = compare(wanted, found)
    if diff.changes:
        take = partial(client.change, wanted)
        yield Step(
            verb=Verb.CHANGE, what=JOB, name=name, changes=diff.changes, take=take
        )


def _make_deletion(client: Client, job: Job) -> Step:
    job_id, description = job.name.rpartition("/")[2], job.description
    return Step(
        verb=Verb.DELETE,
        what=JOB,
        name=f"{job_id}: {description}",
        take=partial(client.delete, job.name),
    )
