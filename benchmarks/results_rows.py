"""Makes the tasks that the benchmark of results has run, and prints them."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

from django.core.management import call_command

# It configures Django, for what is imported below.
from benchmarks import peers, results_site  # noqa: F401
from benchmarks.results import KEPT, PLAIN
from benchmarks.serving import URL
from cloudtask.results.models import TaskRecord
from cloudtask.wire.payload import DJANGO, Payload, Using, encode, new_id


def main(number: int) -> None:
    call_command("migrate", verbosity=0)
    kept, plain = ([_payload(name) for _ in range(number)] for name in (KEPT, PLAIN))
    _keep(kept)
    bodies = {KEPT: _bodies(kept), PLAIN: _bodies(plain), **peers.kept_tasks(number)}
    json.dump(bodies, sys.stdout)


def _payload(backend: str) -> Payload:
    return Payload(
        id=new_id(),
        task="benchmarks.django_tasks.noop",
        kwargs={"a": 1},
        enqueued_at=datetime.now(UTC),
        kind=DJANGO,
        backend=backend,
        using=Using("default", 0),
    )


def _bodies(payloads: list[Payload]) -> list[str]:
    return [encode(payload).decode() for payload in payloads]


def _keep(payloads: list[Payload]) -> None:
    TaskRecord.objects.bulk_create(
        TaskRecord(
            id=payload.id,
            path=payload.task,
            kind=payload.kind,
            backend=payload.backend or "",
            queue="default",
            body=encode(payload).decode(),
            url=URL,
            enqueued_at=payload.enqueued_at,
            sent_at=payload.enqueued_at,
        )
        for payload in payloads
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
