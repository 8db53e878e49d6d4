"""What may be done about tasks, and by whom."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.test import Client, RequestFactory
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks

from cloudtask.results.admin import actions
from cloudtask.results.models import TaskRecord
from cloudtask.transports.memory import MemoryTransport
from tests.results_admin.conftest import LogIn
from tests.results_admin.rows import Status, make_error, make_person, make_row
from tests.results_admin.test_list import URL

pytestmark = pytest.mark.django_db_backend

#: The permission that each action asks for.
VERBS = {
    "cancel": "cancel",
    "retry": "retry",
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
@pytest.mark.parametrize("others", [True, False])
def test_a_forged_action_is_refused(
    log_in: LogIn, action: str, status: str, others: bool
) -> None:
    row = make_row(status)
    verbs = {verb for verb in VERBS.values() if verb != VERBS[action]} if others else ()
    client = log_in("view", "add", "change", *verbs)
    before = state()

    data = {"action": ["", action], "_selected_action": row.pk, "post": "yes"}
    answer = client.post(URL, data)

    assert answer.status_code == 403
    assert state() == before
    assert not LogEntry.objects.exists()


def test_an_action_that_there_is_not_does_nothing(log_in: LogIn) -> None:
    row = make_row()

    assert act(log_in("view", "cancel"), "no_such", row) == ["No action selected."]


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

    with django_capture_on_commit_callbacks(execute=True):
        act(client, "cancel", TaskRecord.objects.get(pk=sent.payload.id))

    assert queue.tasks == []


@pytest.mark.parametrize("count", [1, 30])
def test_tasks_are_cancelled_by_as_many_queries_however_many_they_are(
    log_in: LogIn, django_assert_num_queries: DjangoAssertNumQueries, count: int
) -> None:
    rows = [make_row() for _ in range(count)]
    client = log_in("view", "cancel")
    data = {"action": "cancel", "_selected_action": [row.pk for row in rows]}
    ContentType.objects.get_for_model(TaskRecord)  # Known to the process.

    # The session, the user and two for permissions; the list, which offers its
    # filters twice; the ids, three to cancel them, and two for the log.
    with django_assert_num_queries(15):
        client.post(URL, data)

    assert {status for _, status, *_ in state()} == {Status.FAILED}
    assert LogEntry.objects.count() == count


def waiting_again(
    client: Client, queue: MemoryTransport, on_commit: DjangoCaptureOnCommitCallbacks
) -> TaskRecord:
    """A task whose next attempt is in an hour."""
    with on_commit(execute=True):
        act(client, "redrive", make_row(Status.FAILED))
    sent = queue.tasks[-1]
    sent.due += timedelta(hours=1)
    TaskRecord.objects.filter(pk=sent.payload.id).update(attempt=1)
    return TaskRecord.objects.get(pk=sent.payload.id)


def test_a_task_that_waits_for_its_next_attempt_is_dispatched_now(
    log_in: LogIn,
    queue: MemoryTransport,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    client = log_in("view", "redrive", "retry")
    waits = waiting_again(client, queue, django_capture_on_commit_callbacks)
    rows = [make_row(status, attempt=1) for status in STATUSES]
    before = state()

    told = act(client, "retry", waits, *rows)

    assert told == ["1 of 5 selected tasks retried."]
    [kept] = queue.tasks
    assert kept.due <= timezone.now()
    assert state() == before
    assert LogEntry.objects.latest("pk").object_id == waits.pk


def test_no_more_tasks_are_retried_than_a_page_waits_for(
    log_in: LogIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "MAX_SENT", 2)
    rows = [make_row(attempt=1) for _ in range(3)]

    told = act(log_in("view", "retry"), "retry", *rows)

    assert told == ["Select at most 2 tasks at once."]


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


@pytest.mark.parametrize("body", ["", "no JSON", '{"v": 2}'])
def test_what_cannot_be_read_does_not_run_again(log_in: LogIn, body: str) -> None:
    row = make_row(Status.SUCCESSFUL, body=body)

    told = act(log_in("view", "rerun"), "run_again", row)

    assert told == ["0 of 1 selected tasks enqueued again."]
    assert TaskRecord.objects.count() == 1
    assert not LogEntry.objects.exists()


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
    monkeypatch.setattr(actions, "MAX_SENT", 2)
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


def test_what_is_to_be_deleted_is_listed_without_its_errors(log_in: LogIn) -> None:
    rows = [make_row(Status.FAILED) for _ in range(2)]
    for row in rows:
        make_error(row, message="No stock.")
    chosen = {"action": "delete_selected", "_selected_action": [rows[0].pk, rows[1].pk]}

    page = log_in("view", "delete").post(URL, chosen).content.decode()

    assert all(str(row) in page for row in rows)
    assert "No stock." not in page
    assert "Tasks: 2" in page


def test_deleting_only_what_is_not_over_deletes_nothing(log_in: LogIn) -> None:
    row = make_row(Status.RUNNING)

    told = act(log_in("view", "delete"), "delete_selected", row, post="yes")

    assert told == ["None of the selected tasks has finished."]
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
    monkeypatch.setattr(actions, "MAX_ACTION", 2)
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
