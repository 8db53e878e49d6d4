"""What may be done about schedules, and by whom."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.core.exceptions import PermissionDenied
from django.db import models
from django.test import Client, RequestFactory
from pytest_django import DjangoCaptureOnCommitCallbacks

from cloudtask.results.models import TaskRecord
from cloudtask.schedules import schedule_task
from cloudtask.schedules.admin import actions
from cloudtask.schedules.models import ScheduledTask, Slot
from cloudtask.transports.memory import MemoryTransport
from tests.schedules.conftest import MovedClock
from tests.schedules.samples import runs, ticks
from tests.schedules_admin.conftest import make_person
from tests.schedules_admin.samples import URL, LogIn, count, page, told

pytestmark = pytest.mark.django_db_backend

#: The permission that each action asks for.
VERBS = {
    "pause": "pause",
    "resume": "pause",
    "run_now": "run",
    "delete_selected": "delete",
}
#: The permission that each page of a schedule asks for.
PAGES = {"pause": "pause", "resume": "pause", "run": "run", "delete": "delete"}
ALL = ("view", "add", "change", "delete", "pause", "run")

OnCommit = DjangoCaptureOnCommitCallbacks


def make(name: str = "stock", **values: Any) -> ScheduledTask:
    row = schedule_task(count, "0 * * * *", name=name, args=["bern"])
    ScheduledTask.objects.filter(pk=row.pk).update(**{"name": name, **values})
    return ScheduledTask.objects.get(pk=row.pk)


def act(client: Client, action: str, *rows: ScheduledTask, **fields: str) -> Any:
    chosen = [row.pk for row in rows]
    data = {"action": action, "_selected_action": chosen, **fields}
    answer = client.post(URL, data, follow=True)
    assert answer.status_code == 200
    return answer


def state() -> list[tuple[Any, ...]]:
    columns = ("pk", "paused_at", "generation", "cron")
    return [*ScheduledTask.objects.values_list(*columns), Slot.objects.count()]  # type: ignore[list-item]


def history() -> list[str]:
    return [entry.get_change_message() for entry in LogEntry.objects.order_by("pk")]


@pytest.mark.parametrize("action", VERBS)
def test_each_action_is_offered_to_who_may_do_it(log_in: LogIn, action: str) -> None:
    make()

    form = log_in("view", VERBS[action]).get(URL).context["action_form"]

    offered = {name for name, _ in form.fields["action"].choices if name}
    assert offered == {each for each in VERBS if VERBS[each] == VERBS[action]}


def test_who_may_only_view_is_offered_nothing(log_in: LogIn) -> None:
    row = make()
    client = log_in("view")

    assert client.get(URL).context["action_form"] is None
    html = client.get(page(row)).content.decode()
    for name in ("pause", "resume", "run", "task", "delete"):
        assert f'"{page(row, name)}"' not in html
    assert 'name="cron"' not in html


@pytest.mark.parametrize("action", VERBS)
def test_a_forged_action_is_refused(log_in: LogIn, action: str) -> None:
    row = make()
    client = log_in(*(verb for verb in ALL if verb != VERBS[action]))
    before = state()

    data = {"action": action, "_selected_action": row.pk, "post": "yes"}

    assert client.post(URL, data).status_code == 403
    assert (state(), history()) == (before, [])


@pytest.mark.parametrize("action", VERBS)
def test_an_action_asks_for_its_permission_itself(db: None, action: str) -> None:
    make()
    request = RequestFactory().post(URL)
    request.user = make_person(*(verb for verb in ALL if verb != VERBS[action]))
    shown = admin.site.get_model_admin(ScheduledTask)

    with pytest.raises(PermissionDenied):
        getattr(shown, action)(request, ScheduledTask.objects.all())


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        *((name, {verb}) for name, verb in PAGES.items()),
        *((name, {"view", "change"}) for name in ("pause", "resume", "run")),
    ],
)
def test_a_page_is_refused_to_who_may_not(
    log_in: LogIn, name: str, missing: set[str]
) -> None:
    row = make()
    client = log_in(*(verb for verb in ALL if verb not in missing))
    before = state()

    assert client.post(page(row, name), {"post": "yes"}).status_code == 403
    assert (state(), history()) == (before, [])


@pytest.mark.parametrize("name", ["pause", "resume", "run"])
def test_a_button_of_no_schedule_is_not_found(log_in: LogIn, name: str) -> None:
    client = log_in(*ALL)

    assert client.post(f"{URL}77/{name}/").status_code == 404
    assert client.post(f"{URL}x/{name}/").status_code == 404


@pytest.mark.parametrize("name", ["pause", "resume"])
def test_a_link_does_nothing(log_in: LogIn, name: str) -> None:
    row = make()
    before = state()

    assert log_in(*ALL).get(page(row, name)).status_code == 405
    assert state() == before


def test_a_schedule_is_paused_and_resumed(
    log_in: LogIn, queue: MemoryTransport, django_capture_on_commit_callbacks: OnCommit
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        row = make()
    client = log_in("view", "pause")
    html = client.get(page(row)).content.decode()
    assert f'action="{page(row, "pause")}"' in html

    with django_capture_on_commit_callbacks(execute=True):
        answer = client.post(page(row, "pause"), follow=True)

    assert told(answer) == ["'stock' paused."]
    assert ScheduledTask.objects.get().is_paused
    assert ticks(queue) == []
    html = answer.content.decode()
    assert f'action="{page(row, "resume")}"' in html
    assert f'action="{page(row, "pause")}"' not in html

    with django_capture_on_commit_callbacks(execute=True):
        client.post(page(row, "resume"))

    assert ScheduledTask.objects.get().next_at is not None
    assert len(ticks(queue)) == 1
    assert history() == ["Paused.", "Resumed."]


def test_what_is_paused_is_not_paused_again(log_in: LogIn) -> None:
    row = make()
    client = log_in("view", "pause")
    client.post(page(row, "pause"))
    before = state()

    answer = client.post(page(row, "pause"))

    assert answer.status_code == 302
    assert (state(), history()) == (before, ["Paused."])


def test_selected_schedules_are_paused_and_resumed(log_in: LogIn) -> None:
    rows = [make("a"), make("b")]
    client = log_in("view", "pause")
    client.post(page(rows[0], "pause"))

    answer = act(client, "pause", *rows)
    assert told(answer) == ["'a' paused.", "1 of 2 selected schedules paused."]
    assert told(act(client, "pause", *rows)) == ["0 of 2 selected schedules paused."]
    assert told(act(client, "resume", *rows)) == ["2 of 2 selected schedules resumed."]
    assert history() == ["Paused.", "Paused.", "Resumed.", "Resumed."]


def test_a_run_by_hand_is_confirmed(
    log_in: LogIn,
    moved: MovedClock,
    queue: MemoryTransport,
    django_capture_on_commit_callbacks: OnCommit,
) -> None:
    row = make()
    client = log_in("view", "run")
    assert f'href="{page(row, "run")}"' in client.get(page(row)).content.decode()

    html = client.get(page(row, "run")).content.decode()
    assert "stock" in html
    assert count.path in html
    assert not Slot.objects.exists()

    with django_capture_on_commit_callbacks(execute=True):
        answer = client.post(page(row, "run"), {"post": "yes"}, follow=True)

    [slot] = Slot.objects.all()
    assert (slot.state, slot.instant) == (Slot.State.MANUAL, moved.now)
    [sent] = runs(queue)
    assert (sent.payload.id, sent.payload.args) == (slot.task_id, ("bern",))
    assert TaskRecord.objects.filter(pk=slot.task_id).exists()
    assert told(answer) == ["'stock' run."]
    assert history() == [f"Run by hand: the task {slot.task_id}."]
    after = ScheduledTask.objects.get()
    assert (after.next_at, after.generation) == (row.next_at, row.generation)


def test_selected_schedules_run_once_that_is_confirmed(log_in: LogIn) -> None:
    rows = [make("a"), make("b")]
    client = log_in("view", "run")

    answer = act(client, "run_now", *rows)
    html = answer.content.decode()
    for row in rows:
        hidden = f'<input type="hidden" name="_selected_action" value="{row.pk}">'
        assert hidden in html
    assert not Slot.objects.exists()

    answer = act(client, "run_now", *rows, post="yes")

    assert told(answer) == ["2 of 2 selected schedules run."]
    assert set(Slot.objects.values_list("schedule", flat=True)) == {
        row.pk for row in rows
    }


def test_a_run_that_cannot_be_enqueued_is_told(log_in: LogIn) -> None:
    row = make(path="shop.tasks.gone")
    client = log_in("view", "run")

    answer = client.post(page(row, "run"), follow=True)

    assert told(answer) == ["'stock': No task is registered as 'shop.tasks.gone'."]
    assert (Slot.objects.count(), history()) == (0, [])


@pytest.mark.parametrize("action", ["pause", "resume", "run_now"])
def test_no_action_takes_more_than_its_limit(
    log_in: LogIn, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    monkeypatch.setattr(actions, "MAX_ACTION", 1)
    rows = [make("a"), make("b")]
    before = state()

    answer = act(log_in("view", "pause", "run"), action, *rows, post="yes")

    assert told(answer) == ["Select at most 1 schedules at once."]
    assert state() == before


def test_a_schedule_is_deleted_and_its_tick_with_it(
    log_in: LogIn, queue: MemoryTransport, django_capture_on_commit_callbacks: OnCommit
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        row = make()
    assert len(ticks(queue)) == 1
    client = log_in("view", "delete")
    assert b"stock" in client.get(page(row, "delete")).content

    with django_capture_on_commit_callbacks(execute=True):
        client.post(page(row, "delete"), {"post": "yes"})

    assert not ScheduledTask.objects.exists()
    assert ticks(queue) == []


def test_selected_schedules_are_deleted_with_their_ticks(
    log_in: LogIn, queue: MemoryTransport, django_capture_on_commit_callbacks: OnCommit
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        rows = [make("a"), make("b")]
    client = log_in("view", "delete")
    Slot.objects.create(
        schedule=rows[0],
        instant=rows[0].created_at,
        state=Slot.State.SKIPPED,
        decided_at=rows[0].created_at,
    )
    answer = act(client, "delete_selected", *rows)
    assert b"Are you sure" in answer.content
    assert ScheduledTask.objects.count() == 2

    with django_capture_on_commit_callbacks(execute=True):
        act(client, "delete_selected", *rows, post="yes")

    assert not ScheduledTask.objects.exists()
    assert ticks(queue) == []


def test_a_schedule_of_the_code_is_only_paused_resumed_and_run(log_in: LogIn) -> None:
    row = make(is_declared=True)
    client = log_in(*ALL)

    html = client.get(page(row)).content.decode()
    assert "The code declares this schedule." in html
    assert 'name="cron"' not in html
    assert page(row, "task") not in html
    for name in ("change", "task"):
        assert client.post(page(row, name), {"cron": "0 5 * * *"}).status_code == 403
    client.post(page(row, "pause"))
    client.post(page(row, "resume"))
    client.post(page(row, "run"))

    after = ScheduledTask.objects.get()
    assert (after.cron, after.is_declared) == ("0 * * * *", True)
    assert history()[:2] == ["Paused.", "Resumed."]
    assert Slot.objects.get().state == Slot.State.MANUAL


def test_a_schedule_of_the_code_is_not_deleted(log_in: LogIn) -> None:
    declared, row = make("nightly", is_declared=True), make("row")
    client = log_in("view", "delete")

    answer = client.post(page(declared, "delete"), {"post": "yes"}, follow=True)
    assert told(answer) == [f"'nightly' {actions.DECLARED}"]
    answer = act(client, "delete_selected", declared, post="yes")
    assert told(answer) == [f"'nightly' {actions.DECLARED}"]
    answer = act(client, "delete_selected", declared, row, post="yes")
    assert told(answer) == [
        f"'nightly' {actions.DECLARED}",
        "Successfully deleted 1 scheduled task.",
    ]

    assert [each.name for each in ScheduledTask.objects.all()] == ["nightly"]
    assert len(history()) == 1


def test_slots_have_no_page_of_their_own() -> None:
    registered: set[type[models.Model]] = set(admin.site._registry)
    assert Slot not in registered
    assert ScheduledTask in registered
