"""Short times for everything, and bugs on request."""

import os
from datetime import timedelta
from typing import Any

from django.apps import AppConfig


class ServedConfig(AppConfig):
    name = "tests.reliability.served"
    label = "served"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from tests.reliability.served import points

        _hasten()
        points.install()
        bug = os.environ.get("RELIABILITY_BUG")
        if bug:
            BUGS.get(bug, lambda: None)()


def _hasten() -> None:
    from cloudtask import views
    from cloudtask.results import leases, store, sweeping

    views._RETRY_AFTER = 1
    leases.LEASE = timedelta(seconds=float(os.environ["RELIABILITY_LEASE"]))
    sweeping.GRACE = timedelta(seconds=float(os.environ["RELIABILITY_GRACE"]))
    sweeping.PAUSE = timedelta(seconds=1)
    store.SEND_AFTER = timedelta(seconds=2)


def _ack_while_running() -> None:
    from cloudtask import views
    from cloudtask.execution import Status

    views._STATUS_CODES[Status.BUSY] = 200


def _no_fence() -> None:
    from cloudtask.results.leases import Lease
    from cloudtask.results.models import TaskRecord

    def held(lease: Lease) -> Any:
        return TaskRecord.objects.filter(pk=lease.task_id)

    Lease.held = property(held)  # type: ignore[assignment]


def _no_fence_for_errors() -> None:
    from cloudtask.results import store
    from cloudtask.results.models import TaskRecord

    end = store.LeaseClaim._end

    def unfenced(claim: Any, ending: Any) -> bool:
        if ending.error is None:
            return end(claim, ending)
        row = TaskRecord.objects.filter(pk=claim._lease.task_id)
        row.update(**store._ended(succeeded=False, final=ending.final))
        store._keep_error(claim._payload, claim._request, ending)
        return True

    store.LeaseClaim._end = unfenced  # type: ignore[method-assign]


def _no_heartbeat() -> None:
    from cloudtask.results.leases import Heart

    Heart.prolong = lambda heart: None  # type: ignore[method-assign]


def _select_then_update() -> None:
    from cloudtask.results import store
    from cloudtask.results.models import TaskRecord
    from cloudtask.results.statements import Update, given

    claim = Update(
        lambda: (TaskRecord.objects.filter(pk=given("id")), store._claimed())
    )

    class Naive:
        def run(self, **values: Any) -> int:
            is_free = store._claimable(values["id"]).exists()
            return claim.run(**values) if is_free else 0

    store._CLAIM = Naive()  # type: ignore[assignment]


def _refuse_duplicates() -> None:
    from cloudtask import views
    from cloudtask.execution import Status

    views._STATUS_CODES[Status.DUPLICATE] = 409


def _no_mark() -> None:
    from cloudtask.results import sweeping

    def taken(rows: Any, limit: int, **mark: Any) -> list[Any]:
        return list(rows[:limit])

    sweeping._taken = taken


#: What the harness has to find out.
BUGS = {
    "ack while running": _ack_while_running,
    "finished answered 409": _refuse_duplicates,
    "no fence": _no_fence,
    "no fence for errors": _no_fence_for_errors,
    "sweeper without mark": _no_mark,
    "no heartbeat": _no_heartbeat,
    "select then update": _select_then_update,
}
