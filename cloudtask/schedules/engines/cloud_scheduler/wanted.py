"""The job that a schedule should have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtask.auth.signing import make_signature_headers
from cloudtask.dispatch.kinds import find_settings
from cloudtask.schedules.engines.cloud_scheduler.jobs import Job, State
from cloudtask.schedules.kind import make_tick_route
from cloudtask.schedules.ticks import make_standing_tick
from cloudtask.wire.payload import encode

if TYPE_CHECKING:
    from cloudtask.schedules.engines.cloud_scheduler.places import Place
    from cloudtask.schedules.models import ScheduledTask


def make_wanted(row: ScheduledTask, place: Place) -> Job:
    """
    Make the job that a schedule should have, the same one each time.

    Raises:
        TaskNotFound: This process has no such task.
        InvalidTask: Its task or its plan is not valid any more.
        DispatchRefused: Its backend is not in TASKS any more.
        ConfigurationError: A setting that is needed is missing.
        MetadataUnavailable: Nobody can tell now where they go.
    """
    settings = find_settings(row.backend or None)
    tick = make_standing_tick(row)
    route, body = make_tick_route(row, tick), encode(tick)
    proof = make_signature_headers(settings, tick, body, None, expires=False)
    return Job(
        name=place.make_name(row.uid),
        description=place.make_description(f"{row.name} ({row.path})"),
        schedule=row.plan.cron.text,
        time_zone=row.plan.zone.key,
        url=route.url or settings.require_url(),
        headers={**route.headers, **proof},
        body=body,
        oidc=route.oidc,
        state=State.PAUSED if row.is_paused else State.ENABLED,
    )
