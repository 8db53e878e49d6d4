"""What may be done about tasks, and by whom."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.core.exceptions import PermissionDenied
from django.test import Client, RequestFactory
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from cloudtask.exceptions import DecodeError
from cloudtask.payload import DJANGO, Payload, Using, encode, new_id
from cloudtask.results import admin as results_admin
from cloudtask.results.admin import run_again
from cloudtask.results.models import TaskRecord
from cloudtask.transports.memory import MemoryTransport
from tests.results_admin.conftest import LogIn
from tests.results_admin.rows import ENQUEUED, QUEUE_PATH, Status, make_person, make_row
from tests.results_admin.test_list import URL

pytestmark = pytest.mark.django_db_backend

#: The permission that each action asks for.
VERBS = {
    "cancel": "cancel",
    "redrive": "redrive",
    "run_again": "rerun",
    "delete_selected": "delete",
}
STATUSES = (Status.READY, Status.RUNNING, Status.SUCCESSFUL, Status.FAILED)


def act(client: Client, action: str, *rows: TaskRecord, **fields: str) -> list[str]:
    """Do something with rows. Gives what the next page tells."""
    chosen = [row.pk for row in rows]
    data = {"action": action, "_selected_action": chosen, **fields}
    answer = client.post(URL, data, follow=True)
    assert answer.status_code == 200
    return [str(message) for message in answer.context["messages"]]


def state() -> list[tuple[Any, ...]]:
    columns = ("pk", "status", "cancelled_at", "send_at")
    return list(TaskRecord.objects.order_by("pk").values_list(*columns))


@pytest.mark.parametrize("action", VERBS)
def test_each_action_is_offered_to_who_may_do_it(log_in: LogIn, action: str) -> None:
    make_row()

    form = log_in("view", VERBS[action]).get(URL).context["action_form"]

    offered = [name for name, _ in form.fields["action"].choices if name]
    assert offered == [action]


def test_who_may_only_view_is_offered_no_action(log_in: LogIn) -> None:
    make_row()

    answer = log_in("view").get(URL)

    assert answer.context["action_form"] is None
    assert 'name="_selected_action"' not in answer.content.decode()


@pytest.mark.parametrize("action", VERBS)
@pytest.mark.parametrize("status", STATUSES)
def test_a_forged_action_does_nothing(log_in: LogIn, action: str, status: str) -> None:
    row = make_row(status)
    others = {verb for verb in VERBS.values() if verb != VERBS[action]}
    client = log_in("view", "add", "change", *others)
    before = state()

    told = act(client, action, row, post="yes")

    assert told == ["No action selected."]
    assert state() == before
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("action", VERBS)
def test_an_action_asks_for_its_permission_itself(db: None, action: str) -> None:
    row = make_row(Status.FAILED)
    others = {verb for verb in VERBS.values() if verb != VERBS[action]}
    request = RequestFactory().post(URL)
    request.user = make_person("view", "change", *others)
    task_admin = admin.site.get_model_admin(TaskRecord)

    with pytest.raises(PermissionDenied):
        getattr(task_admin, action)(request, TaskRecord.objects.filter(pk=row.pk))

    assert TaskRecord.objects.get().status == Status.FAILED


def test_cancelling_ends_what_waits_and_tells_what_runs(
    log_in: LogIn, queue: MemoryTransport
) -> None:
    rows = {status: make_row(status) for status in STATUSES}

    told = act(log_in("view", "cancel"), "cancel", *rows.values())

    assert told == ["2 of 4 selected tasks cancelled."]
    after = {row.pk: row for row in TaskRecord.objects.all()}
    became = {status: after[row.pk] for status, row in rows.items()}
    assert became[Status.READY].status == Status.FAILED
    assert became[Status.RUNNING].status == Status.RUNNING
    assert [status for status in STATUSES if became[status].cancelled_at] == [
        Status.READY,
        Status.RUNNING,
    ]


def test_a_cancelled_task_leaves_its_queue(
    log_in: LogIn, queue: MemoryTransport, django_capture_on_commit_callbacks: Any
) -> None:
    client = log_in("view", "cancel", "rerun")
    with django_capture_on_commit_callbacks(execute=True):
        act(client, "run_again", make_row(Status.SUCCESSFUL))
    [sent] = queue.tasks

    act(client, "cancel", TaskRecord.objects.get(pk=sent.payload.id))

    assert queue.tasks == []


def test_redriving_sends_failed_tasks_and_no_others(
    log_in: LogIn,
    queue: MemoryTransport,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    rows = {status: make_row(status) for status in STATUSES}
    client = log_in("view", "redrive")

    with django_capture_on_commit_callbacks(execute=True):
        told = act(client, "redrive", *rows.values())

    failed = rows[Status.FAILED]
    assert told == ["1 of 4 selected tasks redriven."]
    assert [task.payload.id for task in queue.tasks] == [failed.pk]
    failed.refresh_from_db()
    assert (failed.status, failed.send_at) == (Status.READY, None)
    assert failed.name == queue.tasks[0].name


def test_what_is_over_runs_again_as_a_new_task(
    log_in: LogIn,
    queue: MemoryTransport,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    rows = [make_row(status, args=(1,), kwargs={"b": 2}) for status in STATUSES]
    client = log_in("view", "rerun")

    with django_capture_on_commit_callbacks(execute=True):
        told = act(client, "run_again", *rows)

    assert told == ["2 of 4 selected tasks enqueued again."]
    sent = [task.payload for task in queue.tasks]
    assert [(each.task, each.args, each.kwargs) for each in sent] == [
        ("tests.tasks.add", (1,), {"b": 2})
    ] * 2
    assert not {each.id for each in sent} & {row.pk for row in rows}
    assert {row.status for row in rows} == {*STATUSES}
    assert TaskRecord.objects.count() == 6


def test_a_task_that_runs_again_is_due_now_and_unnamed(db: None) -> None:
    using = Using("emails", 5, ENQUEUED)
    payload = Payload(
        id=new_id(),
        task="shop.tasks.ship",
        kwargs={"order": 3},
        enqueued_at=ENQUEUED,
        kind=DJANGO,
        backend="default",
        using=using,
    )
    row = make_row(
        Status.SUCCESSFUL,
        id=payload.id,
        path="shop.tasks.ship",
        kind="django",
        backend="default",
        queue="emails",
        url="https://shop.example/_tasks/",
        body=encode(payload).decode(),
        task_id="report",
        name=f"{QUEUE_PATH}/tasks/report",
        schedule_time=ENQUEUED,
        return_value=1,
        attempt=4,
    )
    before = timezone.now()

    again = TaskRecord.objects.get(pk=run_again(row))

    kept = ("path", "kind", "backend", "queue", "url")
    assert all(getattr(again, name) == getattr(row, name) for name in kept)
    assert again.status == Status.READY
    assert (again.name, again.task_id, again.schedule_time) == ("", "", None)
    assert (again.attempt, again.return_value, again.finished_at) == (0, None, None)
    assert again.enqueued_at >= before
    assert again.send_at is not None
    body = json.loads(again.body)
    assert body["id"] == again.pk
    assert body["kwargs"] == {"order": 3}
    assert body["using"] == {"queue_name": "emails", "priority": 5}


@pytest.mark.parametrize("body", ["", "no JSON", '{"v": 2}'])
def test_what_cannot_be_read_does_not_run_again(log_in: LogIn, body: str) -> None:
    row = make_row(Status.SUCCESSFUL, body=body)

    told = act(log_in("view", "rerun"), "run_again", row)

    assert told == ["0 of 1 selected tasks enqueued again."]
    assert TaskRecord.objects.count() == 1
    with pytest.raises(DecodeError):
        run_again(row)


def test_a_task_that_cannot_be_sent_now_is_sent_later(
    log_in: LogIn,
    queue: MemoryTransport,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def send(*args: object) -> str:
        raise RuntimeError("broken")

    monkeypatch.setattr(MemoryTransport, "send", send)
    row = make_row(Status.FAILED)
    client = log_in("view", "redrive")

    with django_capture_on_commit_callbacks(execute=True):
        told = act(client, "redrive", row)

    assert told == ["1 of 1 selected tasks redriven."]
    row.refresh_from_db()
    assert row.status == Status.READY
    assert row.send_at is not None


def test_no_action_sends_more_than_a_page_waits_for(
    log_in: LogIn,
    queue: MemoryTransport,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(results_admin, "MAX_SENT", 2)
    rows = [make_row(Status.FAILED) for _ in range(3)]
    client = log_in("view", "redrive")

    with django_capture_on_commit_callbacks(execute=True):
        told = act(client, "redrive", *rows)

    assert told == ["3 of 3 selected tasks redriven."]
    assert len(queue.tasks) == 2
    assert TaskRecord.objects.filter(send_at__isnull=False).count() == 1


def test_deleting_asks_first_and_leaves_what_is_not_over(log_in: LogIn) -> None:
    rows = [make_row(status) for status in STATUSES]
    client = log_in("view", "delete")

    asked = act(client, "delete_selected", *rows)
    before = TaskRecord.objects.count()
    told = act(client, "delete_selected", *rows, post="yes")

    assert (asked, before) == ([], 4)
    assert told == ["Successfully deleted 2 tasks."]
    left = TaskRecord.objects.values_list("status", flat=True)
    assert {*left} == {Status.READY, Status.RUNNING}


def test_deleting_only_what_is_not_over_deletes_nothing(log_in: LogIn) -> None:
    row = make_row(Status.RUNNING)

    told = act(log_in("view", "delete"), "delete_selected", row, post="yes")

    assert told == ["None of the selected tasks is over."]
    assert TaskRecord.objects.count() == 1


@pytest.mark.parametrize(
    ("action", "status"),
    [
        ("cancel", Status.READY),
        ("redrive", Status.FAILED),
        ("run_again", Status.FAILED),
        ("delete_selected", Status.FAILED),
    ],
)
def test_an_action_takes_so_many_tasks_at_once(
    log_in: LogIn, monkeypatch: pytest.MonkeyPatch, action: str, status: str
) -> None:
    monkeypatch.setattr(results_admin, "MAX_ACTION", 2)
    rows = [make_row(status) for _ in range(3)]
    client = log_in("view", VERBS[action])

    told = act(client, action, rows[0], select_across="1", post="yes")

    assert told == ["Select at most 2 tasks at once."]
    assert [status for _, status, *_ in state()] == [status] * 3


def test_it_is_kept_who_did_what(log_in: LogIn) -> None:
    done, over = make_row(), make_row(Status.SUCCESSFUL)

    act(log_in("view", "cancel"), "cancel", done, over)

    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.change_message) == (done.pk, "Cancelled.")
    assert (entry.user.get_username(), entry.is_change()) == ("ada", True)
