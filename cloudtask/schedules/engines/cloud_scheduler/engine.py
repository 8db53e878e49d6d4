"""The engine: jobs follow rows, and are compared with them."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from django.db import transaction

from cloudtask.conf import get_settings
from cloudtask.exceptions import (
    CloudTaskError,
    DispatchRefused,
    InvalidTask,
    TaskNotFound,
)
from cloudtask.results.database.connections import get_alias
from cloudtask.schedules.changes import Comparison, Step, Verb
from cloudtask.schedules.engines.base import Engine
from cloudtask.schedules.engines.cloud_scheduler.diff import compare
from cloudtask.schedules.engines.cloud_scheduler.places import get_place
from cloudtask.schedules.models import ScheduledTask
from cloudtask.schedules.settings import CLOUD_SCHEDULER, get_schedules_settings
from cloudtask.transports import get_transport

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from django.db.models import QuerySet

    from cloudtask.schedules.engines.cloud_scheduler.jobs import Job
    from cloudtask.schedules.engines.cloud_scheduler.places import Place

logger = logging.getLogger("cloudtask")

#: What steps are taken to.
JOB = "job"
#: How often a job is put that was changed meanwhile.
_TRIES = 5
#: What is wrong with one schedule, and with no other.
_ROW_ERRORS = (DispatchRefused, InvalidTask, TaskNotFound)
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
            from cloudtask.transports.google import GoogleTransport
        except ImportError as error:
            raise settings.error(
                "SCHEDULER",
                "is 'scheduler', and google-cloud-scheduler is not installed. Run "
                "`pip install 'dj-cloudtask[scheduler]'`.",
            ) from error
        self._get_client = partial(client.get_client, settings)
        self._make_wanted = wanted.make_wanted
        self._google_transport = GoogleTransport
        self._settings = settings

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
        self._check_transport()
        place = get_place()
        found = self._find_ours(place)
        comparison = Comparison()
        hidden = sum(job.is_partial for job in found.values())
        if hidden:
            comparison.notes.append(_NEEDS_FULL_VIEW.format(hidden))
        for row in rows:
            job = found.pop(row.uid, None)
            try:
                wanted = self._make_wanted(row, place)
            except _ROW_ERRORS as error:
                comparison.notes.append(f"{row.name}: its job stays as it is: {error}")
            else:
                comparison.steps += self._find_steps(row.name, wanted, job)
        left = {uid: job for uid, job in found.items() if uid not in gone}
        comparison.orphans += self._make_deletions(left)
        return comparison

    def find_orphans(self) -> list[Step]:
        """
        Find how our jobs are deleted that no schedule has any more.

        They are all of them where another engine is chosen.

        Raises:
            CloudTaskError: They cannot be listed.
        """
        # Rows last: there is none without a row unless that is gone.
        found = self._find_ours(get_place())
        rows = self._select_followed().filter(uid__in=found)
        followed = set(rows.values_list("uid", flat=True))
        left = {uid: job for uid, job in found.items() if uid not in followed}
        return self._make_deletions(left)

    def _check_transport(self) -> None:
        if not self._goes_to_google():
            raise self._settings.error(
                "TRANSPORT",
                "is not Google's, so that Cloud Scheduler cannot reach this project.",
            )

    def _goes_to_google(self) -> bool:
        transport = get_transport(self._settings)
        return isinstance(transport, self._google_transport)

    def _select_followed(self) -> QuerySet[ScheduledTask]:
        chosen = get_schedules_settings(self._settings).scheduler
        rows = ScheduledTask.objects.all()
        return rows if chosen == CLOUD_SCHEDULER else rows.none()

    def _find_ours(self, place: Place) -> dict[str, Job]:
        """Find the jobs that have our mark, by the uids of their schedules."""
        jobs = self._get_client().iterate_jobs(place.parent)
        ours = ((place.find_uid(each.name, each.description), each) for each in jobs)
        return {uid: job for uid, job in ours if uid is not None}

    def _find_steps(self, name: str, wanted: Job, found: Job | None) -> Iterator[Step]:
        client = self._get_client()
        if found is None:
            take = partial(client.create, wanted)
            yield Step(verb=Verb.CREATE, what=JOB, name=name, take=take)
            return
        changes = compare(wanted, found).changes
        if changes:
            take = partial(client.change, wanted)
            yield Step(
                verb=Verb.CHANGE, what=JOB, name=name, changes=changes, take=take
            )

    def _make_deletions(self, jobs: Mapping[str, Job]) -> list[Step]:
        return [
            Step(
                verb=Verb.DELETE,
                what=JOB,
                name=f"{job.name.rpartition('/')[2]}: {job.description}",
                take=partial(self._delete, uid, job.name),
            )
            for uid, job in jobs.items()
        ]

    def _delete(self, uid: str, name: str) -> None:
        # Somebody may have made the schedule while others thought about it.
        if not self._select_followed().filter(uid=uid).exists():
            self._get_client().delete(name)

    def _bring_at_commit(self, row: ScheduledTask, repair: str) -> None:
        transaction.on_commit(
            partial(self._try_to_bring, row.uid, row.name, repair),
            get_alias(),
            robust=True,
        )

    def _try_to_bring(self, uid: str, name: str, repair: str) -> None:
        try:
            # Where tasks never leave this process, no tick could reach it.
            if self._goes_to_google():
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
        """Have the job be as the row is, whoever changes it meanwhile."""
        place, client = get_place(), self._get_client()
        for _ in range(_TRIES):
            row = _find_row(uid)
            if row is None:
                client.delete(place.make_name(uid))
            else:
                client.put(self._make_wanted(row, place))
            if _find_generation(uid) == (row and row.generation):
                return


def _find_row(uid: str) -> ScheduledTask | None:
    return ScheduledTask.objects.filter(uid=uid).first()


def _find_generation(uid: str) -> int | None:
    rows = ScheduledTask.objects.filter(uid=uid)
    return rows.values_list("generation", flat=True).first()
