"""Short times for everything, and bugs on request."""

import os
import threading
from datetime import datetime, timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.apps import AppConfig


class ServedConfig(AppConfig):
    name = "tests.reliability.served"
    label = "served"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from tests.reliability.served import points

        _hasten()
        _move_clock()
        points.install()
        bug = os.environ.get("RELIABILITY_BUG")
        if bug:
            BUGS[bug]()


def _hasten() -> None:
    from cloudtask.dispatch import answers
    from cloudtask.results import leases, records
    from cloudtask.results.sweeping import outbox, recovery

    answers.RETRY_AFTER = 1
    leases.LEASE = timedelta(seconds=float(os.environ["RELIABILITY_LEASE"]))
    recovery.GRACE = timedelta(seconds=float(os.environ["RELIABILITY_GRACE"]))
    outbox.PAUSE = timedelta(seconds=1)
    records.SEND_AFTER = timedelta(seconds=2)


def _move_clock() -> None:
    """Have the clock of the package follow the harness's."""
    from django.conf import settings

    from cloudtask.conf import clock
    from cloudtask.results import records
    from cloudtask.results.verbs import add

    real, make_row = clock.now, records.make_row

    def now() -> datetime:
        with open(settings.CLOCK) as file:
            return real() + timedelta(seconds=float(file.read() or 0))

    def make_row_by_clock_of_database(*args: Any) -> Any:
        row = make_row(*args)
        row.send_at = real() + records.SEND_AFTER
        return row

    clock.now = now
    add.make_row = make_row_by_clock_of_database


def _ack_while_running() -> None:
    from cloudtask.dispatch.answers import STATUS_CODES
    from cloudtask.dispatch.outcomes import Status

    STATUS_CODES[Status.BUSY] = 200


def _no_fence() -> None:
    from cloudtask.results.leases import Lease
    from cloudtask.results.models import TaskRecord

    def held(lease: Lease) -> Any:
        return TaskRecord.objects.filter(pk=lease.task_id)

    Lease.held_row = property(held)  # type: ignore[assignment]


def _no_fence_for_errors() -> None:
    from cloudtask.results.claims import LeaseClaim
    from cloudtask.results.models import TaskRecord
    from cloudtask.results.verbs.end import make_end_values
    from cloudtask.results.verbs.keep_error import keep_error

    end = LeaseClaim._end

    def unfenced(claim: Any, ending: Any, **options: Any) -> bool:
        if ending.error is None:
            return end(claim, ending, **options)
        row = TaskRecord.objects.filter(pk=claim._lease.task_id)
        row.update(**make_end_values(succeeded=False, final=ending.final))
        keep_error(claim._payload, claim._request, ending)
        return True

    LeaseClaim._end = unfenced  # type: ignore[method-assign]


def _no_heartbeat() -> None:
    from cloudtask.results.heartbeat import Heart

    Heart.prolong = lambda heart: None  # type: ignore[method-assign]


def _select_then_update() -> None:
    from cloudtask.results.database.statements import Update, bind
    from cloudtask.results.models import TaskRecord
    from cloudtask.results.verbs import claim as claiming

    claim = Update(
        lambda: (TaskRecord.objects.filter(pk=bind("id")), claiming.make_claim_values())
    )

    class Naive:
        def run(self, **values: Any) -> int:
            is_free = claiming.select_claimable(values["id"]).exists()
            return claim.run(**values) if is_free else 0

    claiming._CLAIM = Naive()  # type: ignore[assignment]


def _take_any_alarm() -> None:
    from cloudtask.results.database.statements import Update, bind
    from cloudtask.results.verbs import claim as claiming

    claiming._CLAIM = Update(
        lambda: (claiming.select_claimable(bind("id")), claiming.make_claim_values())
    )


def _refuse_duplicates() -> None:
    from cloudtask.dispatch.answers import STATUS_CODES
    from cloudtask.dispatch.outcomes import Status

    STATUS_CODES[Status.DUPLICATE] = 409


def _no_mark() -> None:
    from cloudtask.results.sweeping import passes

    def taken(rows: Any, limit: int, **mark: Any) -> list[Any]:
        return list(rows[:limit])

    passes.claim_rows_to_sweep = taken


def _end_once() -> None:
    from cloudtask.results import claims

    def end_once(claim: Any, ending: Any) -> bool:
        claims.HEART.remove(claim._lease)
        is_kept: bool = claim._end(ending)
        return is_kept

    claims.LeaseClaim._end_while_held = end_once  # type: ignore[method-assign]


def _trust_connections() -> None:
    from cloudtask.results.database.connections import retry_on_conflict
    from cloudtask.results.database.sessions import Session

    def ask(session: Any, question: Any) -> Any:
        return retry_on_conflict(question)

    Session.ask = ask  # type: ignore[method-assign]


def _trust_progress() -> None:
    from django.db import Error

    from cloudtask.results.database.connections import get_connection, renew
    from cloudtask.results.heartbeat import Heart
    from cloudtask.wire.request import CloudTaskRequest

    def progress(request: Any, done: Any, total: Any = None, message: Any = "") -> None:
        request._hold.progress(done, total, message)

    def start(heart: Any) -> None:
        if heart._thread is None:
            heart._thread = threading.Thread(target=heart._beat, daemon=True)
            heart._thread.start()

    def tick(heart: Any, *, is_due: bool) -> bool:
        try:
            for lease in list(heart._leases.values()):
                lease.held_row.update(**lease.progress)
            if is_due:
                heart.prolong()
        except Error:
            renew(get_connection())
        return is_due

    CloudTaskRequest.progress = progress  # type: ignore[method-assign]
    Heart._start = start  # type: ignore[method-assign]
    Heart._tick = tick  # type: ignore[method-assign]


def _leave_cancelled() -> None:
    from cloudtask.dispatch.deferral import Deferral

    async def in_thread(deferral: Any, function: Any) -> Any:
        return await sync_to_async(function)()

    Deferral.in_thread = in_thread  # type: ignore[method-assign]


def _keep_channel() -> None:
    from cloudtask.transports.google.channel import Link

    def explain(link: Any, connection: Any, error: Any) -> Any:
        return error.code(), error.details()

    Link.explain = explain  # type: ignore[method-assign]


#: What the harness has to find out.
BUGS = {
    "ack while running": _ack_while_running,
    "finished answered 409": _refuse_duplicates,
    "no fence": _no_fence,
    "no fence for errors": _no_fence_for_errors,
    "sweeper without mark": _no_mark,
    "no heartbeat": _no_heartbeat,
    "select then update": _select_then_update,
    "any alarm taken": _take_any_alarm,
    "end tried once": _end_once,
    "end on the task's connection": _trust_connections,
    "unchecked progress": _trust_progress,
    "cancelled without an end": _leave_cancelled,
    "channel kept": _keep_channel,
}
