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
        _hasten()
        bug = os.environ.get("RELIABILITY_BUG")
        if bug:
            BUGS[bug]()


def _hasten() -> None:
    from cloudtask.results import leases, store, sweeping

    leases.LEASE = timedelta(seconds=float(os.environ["RELIABILITY_LEASE"]))
    leases.HEARTBEAT = float(os.environ["RELIABILITY_HEARTBEAT"])
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


def _no_heartbeat() -> None:
    from cloudtask.results.leases import Heart

    Heart.prolong = lambda heart: None  # type: ignore[method-assign]


def _select_then_update() -> None:
    from cloudtask.results import store
    from cloudtask.results.models import TaskRecord

    claimable = store._claimable

    class Naive:
        def __init__(self, task_id: str) -> None:
            self.task_id = task_id

        def update(self, **values: Any) -> int:
            if not claimable(self.task_id).exists():
                return 0
            return TaskRecord.objects.filter(pk=self.task_id).update(**values)

    store._claimable = Naive


#: What the harness has to find out.
BUGS = {
    "ack while running": _ack_while_running,
    "no fence": _no_fence,
    "no heartbeat": _no_heartbeat,
    "select then update": _select_then_update,
}
