"""The seam where it is kept what becomes of tasks."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from cloudtask import CloudTaskRequest, stores
from cloudtask.conf import Settings
from cloudtask.stores import (
    NO_CLAIM,
    NO_STORE,
    Ending,
    ResultStore,
    Standing,
    StoredResult,
    get_store,
)
from cloudtask.wire.payload import Payload
from tests.outgoing import outgoing_task
from tests.unit.keeping import FakeStore

PAYLOAD = Payload(
    id="0" * 32, task="shop.add", args=(), kwargs={}, enqueued_at=datetime.now(UTC)
)


def stored(**values: Any) -> StoredResult:
    fields: dict[str, Any] = {
        "payload": PAYLOAD,
        "queue": "default",
        "name": None,
        "status": "SUCCESSFUL",
        "attempt": 1,
        "worker_id": "web-1",
        "trace_id": None,
        "enqueued_at": PAYLOAD.enqueued_at,
        "started_at": None,
        "last_attempted_at": None,
        "finished_at": None,
        "cancelled_at": None,
        "value": None,
        "is_value_dropped": False,
        "progress": None,
        "errors": (),
    }
    return StoredResult(**fields | values)


# Which one is used


@pytest.mark.parametrize("results", ["all", "errors", "none"])
def test_nothing_is_kept_where_no_store_is_registered(results: str) -> None:
    assert get_store(Settings.from_mapping({"RESULTS": results})) is NO_STORE


def test_who_registers_chooses_the_store_by_the_settings() -> None:
    own, other = FakeStore(), ResultStore()
    stores.register(lambda settings: own if settings.project == "shop" else other)

    assert get_store(Settings(project="shop")) is own
    assert get_store(Settings()) is other


# The store that keeps nothing


def test_the_store_that_keeps_nothing_lets_every_attempt_run() -> None:
    task = outgoing_task(queue_path="projects/p/locations/l/queues/q")
    NO_STORE.add(PAYLOAD, task)
    NO_STORE.note_sent({PAYLOAD.id: "name"})
    assert list(NO_STORE.select_unsent([PAYLOAD.id])) == []
    claim = NO_STORE.claim(PAYLOAD, CloudTaskRequest(id=PAYLOAD.id))
    claim.progress(1, 2, "half")

    assert NO_STORE.keeps is False
    assert NO_STORE.alias() is None
    assert NO_STORE.find(PAYLOAD.id) is None
    assert claim is NO_CLAIM
    assert claim.standing is Standing.FREE
    assert (claim.is_cancelled, claim.look()) == (False, False)
    assert claim.end(Ending(succeeded=True)) is True
    NO_STORE.drop(PAYLOAD)
    assert NO_STORE.claim(PAYLOAD, CloudTaskRequest(id=PAYLOAD.id)) is NO_CLAIM


# What is known of a task


@pytest.mark.parametrize(
    ("status", "is_finished"),
    [("READY", False), ("RUNNING", False), ("SUCCESSFUL", True), ("FAILED", True)],
)
def test_a_result_says_whether_the_task_is_over(status: str, is_finished: bool) -> None:
    assert stored(status=status).is_finished is is_finished


@pytest.mark.parametrize("value", [None, 0, [1, {"a": 2}]])
def test_a_task_that_succeeded_has_what_it_returned(value: object) -> None:
    assert stored(value=value).return_value == value


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"status": "READY"}, "The task has not finished yet."),
        ({"status": "RUNNING"}, "The task has not finished yet."),
        ({"status": "FAILED"}, "The task has failed."),
        ({"is_value_dropped": True}, "The task returned what cannot be stored."),
        # Why there is none, before what there would be.
        ({"status": "FAILED", "is_value_dropped": True}, "The task has failed."),
    ],
)
def test_a_task_without_a_value_says_why(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        _ = stored(value=1, **values).return_value
