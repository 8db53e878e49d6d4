"""How a job differs from what it should be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudtask.schedules.changes import Change
from cloudtask.schedules.engines.cloud_scheduler.jobs import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cloudtask.schedules.engines.cloud_scheduler.jobs import Job

#: Headers that Cloud Scheduler sets or replaces, and may tell with ours.
_ITS_OWN = ("content-length", "host", "user-agent")
_ITS_OWN_PREFIXES = ("x-appengine-", "x-cloudscheduler", "x-google-")
#: What of a job is named in an update, for each field that may differ. A
#: schedule and its zone go together: a zone that is left out is an empty one.
_TIMES = ("schedule", "time_zone")
_MASKS: Mapping[str, tuple[str, ...]] = {
    "cron": _TIMES,
    "time zone": _TIMES,
    "description": ("description",),
    "deadline": ("attempt_deadline",),
    "retries": ("retry_config",),
}
#: Fields that are shown to nobody.
_TARGET = ("http_target",)
ALL = (*_TIMES, "description", "attempt_deadline", "retry_config", *_TARGET)


@dataclass(frozen=True, slots=True)
class Diff:
    """
    What is to be done with a job.

    Attributes:
        changes: What differs, for people.
        mask: What an update names; empty where none is needed.
    """

    changes: tuple[Change, ...]
    mask: tuple[str, ...]


def compare(wanted: Job, found: Job) -> Diff:
    """
    Compare a job as it should be with the one that is there.

    The target of one that is partial counts as the same, since nobody can
    tell. The values of headers are never part of what is told.
    """
    changes = [*_compare_plain(wanted, found)]
    if not found.is_partial:
        changes += _compare_target(wanted, found)
    mask = ALL if found.is_broken else _make_mask(changes)
    if wanted.state is not found.state:
        changes.append(Change("state", found.state.value, wanted.state.value))
    return Diff(tuple(changes), mask)


def find_switch(wanted: State, found: State) -> str | None:
    """Find the call that brings a job into a state; None if none is to."""
    if wanted is State.PAUSED and found is State.ENABLED:
        return "PauseJob"
    if wanted is State.ENABLED and found is State.PAUSED:
        return "ResumeJob"
    return None


def _compare_plain(wanted: Job, found: Job) -> Iterator[Change]:
    yield from _differ("cron", found.schedule, wanted.schedule)
    yield from _differ("time zone", found.time_zone or "UTC", wanted.time_zone)
    yield from _differ("description", found.description, wanted.description)
    yield from _differ("deadline", found.deadline, wanted.deadline)
    yield from _differ("retries", found.retries, wanted.retries)


def _compare_target(wanted: Job, found: Job) -> Iterator[Change]:
    yield from _differ("URL", found.url, wanted.url)
    yield from _differ("method", found.method, wanted.method)
    yield from _differ("service account", _email(found), _email(wanted))
    yield from _differ("audience", _audience(found), _audience(wanted))
    if _common(found.headers) != _common(wanted.headers):
        yield Change("headers")
    if found.body != wanted.body:
        yield Change("body")


def _differ(field: str, old: object, new: object) -> Iterator[Change]:
    if old != new:
        yield Change(field, str(old), str(new))


def _email(job: Job) -> str:
    return job.oidc.email if job.oidc else ""


def _audience(job: Job) -> str:
    return job.oidc.audience if job.oidc else ""


def _common(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that count, by names of which case does not matter."""
    return {
        name: value
        for name, value in ((n.lower(), v) for n, v in headers.items())
        if name not in _ITS_OWN and not name.startswith(_ITS_OWN_PREFIXES)
    }


def _make_mask(changes: list[Change]) -> tuple[str, ...]:
    paths = {path for each in changes for path in _MASKS.get(each.field, _TARGET)}
    return tuple(path for path in ALL if path in paths)
