"""The page, driven in a real browser."""

import json
import shlex
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
from google.cloud import tasks_v2

from cloudtask.emulator import Emulator
from tests.chromium import Chromium, Page, needs_chromium

from .calls import post
from .conftest import Target

pytestmark = [needs_chromium, pytest.mark.external]

CALL = {
    "v": 1,
    "id": "5e" * 16,
    "task": "shop.tasks.confirm_order",
    "kind": "cloudtask",
    "args": [7],
    "kwargs": {"note": "<img src=x onerror=alert(1)>"},
    "enqueued_at": "2026-01-31T12:00:00+00:00",
}

# What stands on what: every text that is seen, with the contrast it has.
CONTRASTS = """
(() => {
  const parse = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return { r, g, b, a };
  };
  const over = (top, below) => ({
    r: top.r * top.a + below.r * (1 - top.a),
    g: top.g * top.a + below.g * (1 - top.a),
    b: top.b * top.a + below.b * (1 - top.a),
    a: 1,
  });
  const ground = (node) => {
    if (!node) {
      return { r: 255, g: 255, b: 255, a: 1 };
    }
    const own = parse(getComputedStyle(node).backgroundColor);
    return own.a === 1 ? own : over(own, ground(node.parentElement));
  };
  const light = ({ r, g, b }) => {
    const [x, y, z] = [r, g, b].map((each) => {
      const part = each / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (text && node.checkVisibility() && !node.closest("option, noscript")) {
      const below = ground(node);
      const top = over(parse(getComputedStyle(node).color), below);
      const [high, low] = [light(top), light(below)].sort((a, b) => b - a);
      found.push([Math.round(((high + 0.05) / (low + 0.05)) * 100) / 100, text]);
    }
  }
  return found;
})()
"""

# What is wider than its panel or, outside of panels, the page.
OVERFLOWING = """
[...document.body.querySelectorAll("*")]
  .filter((node) => node.checkVisibility() && !node.closest(".unseen"))
  .filter((node) => {
    const end = node.closest(".panel")?.getBoundingClientRect().right ?? innerWidth;
    return node.getBoundingClientRect().right > end + 0.5;
  })
  .map((node) => node.outerHTML.slice(0, 80))
"""

SMALL_BUTTONS = """
[...document.querySelectorAll("button, .button, input, select")]
  .filter((node) => node.checkVisibility())
  .filter((node) => {
    const { width, height } = node.getBoundingClientRect();
    return width < 24 || height < 24;
  })
  .map((node) => node.outerHTML)
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with Chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Chromium, emulator: Emulator) -> Iterator[Callable[..., Page]]:
    """
    Return a function that opens the emulator's page.

    When the test is over nothing may have come from elsewhere, and nothing
    may stand in the console but that a queue or a task is no longer there.
    """
    pages = []

    def visit(fragment: str = "", **size: int) -> Page:
        page = browser.open(f"{emulator.http_url}/{fragment}", **size)
        pages.append(page)
        page.wait_for_text("Live", "#connection")
        return page

    yield visit
    for page in pages:
        hosts = {urlsplit(url).netloc for url in page.requests}
        assert hosts == {urlsplit(emulator.http_url).netloc}
        # A list may be asked for while its queue is being deleted.
        assert [each for each in page.problems if "/emulator/tasks" not in each] == []


@pytest.fixture
def emulator(start: Callable[..., Emulator]) -> Emulator:
    return start(["emails:min_backoff=10,max_backoff=300", "reports"])


@pytest.fixture
def queue(emulator: Emulator) -> str:
    return emulator.queue_path("emails")


@pytest.fixture
def add(
    client: tasks_v2.CloudTasksClient, queue: str, target: Target
) -> Callable[..., str]:
    """Return a function that enqueues a task for tomorrow, by its id."""

    def add(task_id: str, **request: Any) -> str:
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        client.create_task(
            parent=queue,
            task={
                "name": f"{queue}/tasks/{task_id}",
                "schedule_time": tomorrow,
                "http_request": {"url": target.url} | request,
            },
        )
        return task_id

    return add


def row(table: str, text: str) -> str:
    """Return an expression for a table's row that contains a text."""
    return (
        f"[...document.querySelectorAll({json.dumps(f'#{table} tbody tr')})]"
        f".find((row) => row.innerText.includes({json.dumps(text)}))"
    )


def wait_for_row(page: Page, table: str, *texts: str) -> None:
    parts = " && ".join(
        f"{row(table, texts[0])}.innerText.includes({json.dumps(text)})"
        for text in texts
    )
    page.wait_for(parts)


def tab_to(page: Page, expression: str) -> None:
    """Press Tab until the focus is there, and see that it shows."""
    for _ in range(60):
        page.press("Tab")
        if page.evaluate(f"document.activeElement === ({expression})"):
            break
    else:
        raise AssertionError(f"not reached: {expression}")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != (
        "none"
    )


def by_id(name: str) -> str:
    return f"document.getElementById({json.dumps(name)})"


def add_job(emulator: Emulator, job_id: str, uri: str, **fields: Any) -> None:
    """Create a job for every midnight in Tokyo."""
    job = {
        "name": emulator.job_path(job_id),
        "schedule": "0 0 * * *",
        "timeZone": "Asia/Tokyo",
        "httpTarget": {"uri": uri},
    }
    answer = post(emulator, f"/v1/{emulator.parent}/jobs", {**job, **fields})
    assert answer.status == 200


# Jobs of Cloud Scheduler.


def test_jobs_are_shown_and_steered(
    visit: Callable[..., Page], emulator: Emulator, target: Target
) -> None:
    page = visit()
    assert page.evaluate(f"{by_id('jobs-panel')}.hidden")
    target.answers = [500, 200]
    add_job(emulator, "nightly", target.url)
    wait_for_row(page, "jobs", "nightly", "Enabled", "0 0 * * *", "Asia/Tokyo", "in ")

    page.click('[aria-label="Run nightly now"]')
    wait_for_row(page, "jobs", "nightly", "gave up", "HTTP 500, by hand")
    page.click('[aria-label="Run nightly now"]')
    wait_for_row(page, "jobs", "nightly", "done", "HTTP 200, by hand")
    page.click('[aria-label="Pause nightly"]')
    wait_for_row(page, "jobs", "nightly", "Paused")
    assert emulator.jobs[0].next_slots == []
    page.click('[aria-label="Resume nightly"]')
    wait_for_row(page, "jobs", "nightly", "Enabled")


def test_every_kind_of_target_is_shown(
    visit: Callable[..., Page], emulator: Emulator
) -> None:
    page = visit()
    topic = {"topicName": "projects/demo/topics/ticks", "data": "eA=="}
    name = {"name": emulator.job_path("a"), "schedule": "every 5 minutes"}
    jobs = f"/v1/{emulator.parent}/jobs"
    assert post(emulator, jobs, {**name, "pubsubTarget": topic}).status == 200
    name["name"] = emulator.job_path("b")
    engine = {"appEngineHttpTarget": {"relativeUri": "/tick"}}
    assert post(emulator, jobs, {**name, **engine}).status == 200

    wait_for_row(page, "jobs", "topics/ticks (Pub/Sub)", "UTC", "every 5 minutes")
    wait_for_row(page, "jobs", "POST /tick (App Engine)")


# Seeing what happens.


def test_what_happens_is_seen_without_reloading(
    visit: Callable[..., Page],
    add: Callable[..., str],
    emulator: Emulator,
    queue: str,
    target: Target,
    client: tasks_v2.CloudTasksClient,
) -> None:
    page = visit(f"#/{queue}")
    page.evaluate("window.isTheSame = true")
    page.wait_for_text("No task is waiting here.")

    add("first")
    wait_for_row(page, "tasks", "first", target.url, "in 23 h")
    wait_for_row(page, "queues", "emails", "1")
    target.answers = [503]
    client.run_task(name=f"{queue}/tasks/first")
    wait_for_row(page, "attempts", "first", "HTTP 503", "retry")
    wait_for_row(page, "tasks", "first", "HTTP 503", "in 9")
    emulator.advance(seconds=11)
    wait_for_row(page, "attempts", "2", "HTTP 200", "done")
    page.wait_for_text("No task is waiting here.")

    assert page.evaluate("window.isTheSame")


def test_attempts_under_way_are_seen(
    visit: Callable[..., Page],
    queue: str,
    target: Target,
    client: tasks_v2.CloudTasksClient,
) -> None:
    page = visit(f"#/{queue}")
    target.gate.clear()
    soon = datetime.now(UTC) + timedelta(seconds=1)
    task = {"http_request": {"url": target.url}, "schedule_time": soon}
    client.create_task(parent=queue, task=task)

    wait_for_row(page, "tasks", "under way")
    assert page.evaluate(f"{row('queues', 'emails')}.cells[3].innerText") == "1"
    target.gate.set()

    wait_for_row(page, "attempts", "HTTP 200")


def test_a_task_is_shown_whole(
    visit: Callable[..., Page],
    add: Callable[..., str],
    queue: str,
    target: Target,
    client: tasks_v2.CloudTasksClient,
) -> None:
    add(
        "confirm",
        body=json.dumps(CALL).encode(),
        headers={"Content-Type": "application/json", "X-Api-Key": "hunter2"},
        oidc_token={"service_account_email": "me@example.com"},
    )
    target.answers = [503]
    client.run_task(name=f"{queue}/tasks/confirm")

    page = visit(f"#/{queue}/tasks/confirm")
    page.wait_for_text("HTTP 503", "#task-attempts")

    shown = page.text("#task")
    assert f"POST {target.url}" in shown
    assert "me@example.com" in shown
    assert page.text("#call") == "shop.tasks.confirm_order"
    assert "argument 1\n7" in page.text("#arguments")
    # Somebody else's text is text.
    assert f'note\n"{CALL["kwargs"]["note"]}"' in page.text("#arguments")
    assert page.evaluate("document.querySelectorAll('#task img').length") == 0
    # What comes next.
    retries = page.text("#retries").splitlines()
    assert retries[0] == "Attempt 2"
    assert "Attempt 21" in retries
    assert page.text("#retries-end").startswith("And so on. Given up after attempt 100")
    # Credentials are shown to those who ask.
    assert "hunter2" not in shown
    page.click("#headers button")
    assert "hunter2" in page.text("#headers")
    page.click("#headers button")
    assert "hunter2" not in page.text("#headers")
    page.click("#task-attempts summary")
    page.wait_for_text("X-CloudTasks-TaskRetryCount", "#task-attempts")
    assert "Bearer" not in page.text("#task-attempts")
    page.click("#body summary")
    assert '"kind": "cloudtask"' in page.text("#body-text")


def test_bodies_are_made_readable(
    visit: Callable[..., Page], add: Callable[..., str], queue: str
) -> None:
    bodies = {
        "empty": (b"", "0 bytes", "This task has no body."),
        "json": (b'{"a":[1]}', "9 bytes of JSON", '{\n  "a": [\n    1\n  ]\n}'),
        "text": (b"a=1", "3 bytes of text", "a=1"),
        "binary": (b"\xffAB", "3 bytes of binary data", "ff 41 42"),
        "long": (b"x" * 100_000, "97.7 KiB of text, the beginning of it", "xxx"),
    }
    for task_id, (body, _, _) in bodies.items():
        add(task_id, body=body)
    page = visit()

    for task_id, (_, summary, text) in bodies.items():
        page.evaluate(f"location.hash = '#/{queue}/tasks/{task_id}'")
        page.wait_for_text(summary, "#body-summary")
        assert text in page.text("#body-text")


def test_app_engine_tasks_are_shown(
    visit: Callable[..., Page], queue: str, client: tasks_v2.CloudTasksClient
) -> None:
    client.pause_queue(name=queue)
    request = {"relative_uri": "/jobs?id=7", "body": b"hello"}
    task = {"name": f"{queue}/tasks/t", "app_engine_http_request": request}
    client.create_task(parent=queue, task=task)
    page = visit(f"#/{queue}/tasks/t")

    wait_for_row(page, "tasks", "POST /jobs?id=7 (App Engine)", "hello")
    page.wait_for_text("POST /jobs?id=7 (App Engine)", "#task-facts")
    page.wait_for_text("The queue is paused; this is as if it ran.", "#retries-end")


def test_long_lists_come_in_parts(
    visit: Callable[..., Page], add: Callable[..., str], queue: str
) -> None:
    for number in range(55):
        add(f"t{number}")
    page = visit(f"#/{queue}")
    page.wait_for_text("The first 50 of 55 tasks are shown.")

    page.click("#more-tasks button")

    page.wait_for("document.querySelectorAll('#tasks tbody tr').length === 55")
    page.wait_for("document.getElementById('more-tasks').hidden")


def test_focus_selection_and_scroll_stay_while_things_change(
    visit: Callable[..., Page], add: Callable[..., str], queue: str
) -> None:
    for number in range(30):
        add(f"t{number}")
    page = visit(f"#/{queue}/tasks/t7", height=400)
    wait_for_row(page, "tasks", "t29")
    page.evaluate(f"{row('tasks', 't20')}.querySelector('a').focus()")
    page.evaluate(
        f"getSelection().selectAllChildren({row('tasks', 't21')}.querySelector('a'))"
    )
    state = """[
      document.activeElement.innerText,
      getSelection().toString(),
      document.querySelector("#tasks tbody tr.selected a").innerText,
      document.querySelector("#tasks [aria-current]").innerText,
      Math.round(document.activeElement.getBoundingClientRect().top),
    ]"""
    before = page.evaluate(state)

    add("another")
    wait_for_row(page, "tasks", "another")

    assert before[:4] == ["t20", "t21", "t7", "t7"]
    assert page.evaluate(state) == before


def test_the_focus_goes_on_when_its_row_goes(
    visit: Callable[..., Page],
    add: Callable[..., str],
    queue: str,
    client: tasks_v2.CloudTasksClient,
) -> None:
    add("first")
    add("second")
    page = visit(f"#/{queue}")
    wait_for_row(page, "tasks", "second")
    page.evaluate(f"{row('tasks', 'first')}.querySelector('a').focus()")

    client.delete_task(name=f"{queue}/tasks/first")
    page.wait_for("document.activeElement.innerText === 'second'")
    client.delete_task(name=f"{queue}/tasks/second")
    page.wait_for(f"document.activeElement === {by_id('tasks-heading')}")


def test_the_page_asks_when_it_is_not_told(
    visit: Callable[..., Page], add: Callable[..., str], queue: str, emulator: Emulator
) -> None:
    page = visit(f"#/{queue}")
    page.block("**/emulator/events")
    # Seen and unseen, the page connects again.
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_text("Updated every 2 s", "#connection")

    add("first")
    wait_for_row(page, "tasks", "first")
    page.unblock()

    page.wait_for_text("Live", "#connection")
    page.problems.clear()


def test_the_page_survives_the_emulator(
    browser: Chromium, start: Callable[..., Emulator]
) -> None:
    first = start()
    page = browser.open(first.http_url)
    page.wait_for_text("Live", "#connection")

    first.stop()
    page.wait_for_text("No answer, trying again", "#connection")
    page.click("#drain")
    page.wait_for_text("The emulator does not answer.", "#outcome")
    start(["another"], http_port=urlsplit(first.http_url).port)

    page.wait_for_text("Live", "#connection")
    wait_for_row(page, "queues", "another")


# Doing something about it.


def test_queues_are_paused_and_resumed(
    visit: Callable[..., Page], queue: str, client: tasks_v2.CloudTasksClient
) -> None:
    page = visit(f"#/{queue}")
    wait_for_row(page, "queues", "emails", "Running")

    page.click("#queues button[aria-label='Pause emails']")
    wait_for_row(page, "queues", "emails", "Paused")
    page.wait_for_text("Queue emails is paused.", "#said")
    assert client.get_queue(name=queue).state == tasks_v2.Queue.State.PAUSED
    page.wait_for_text("Resume", "#toggle-queue")
    page.click("#toggle-queue")

    wait_for_row(page, "queues", "emails", "Running")
    page.wait_for_text("Queue emails runs again.", "#outcome")
    assert client.get_queue(name=queue).state == tasks_v2.Queue.State.RUNNING


def test_a_task_is_run(
    visit: Callable[..., Page], add: Callable[..., str], queue: str, target: Target
) -> None:
    add("first")
    page = visit()
    page.click("#queues a")
    page.click("#tasks a")
    page.wait_for_text("Task first", "#task-heading")

    page.click("#run-task")

    page.wait_for_text("This task is done: attempt 1 was answered with HTTP 200.")
    page.wait_for_text("HTTP 200", "#task-facts")
    assert len(target.received) == 1
    assert page.evaluate(f"{by_id('task-actions')}.checkVisibility()") is False
    page.click("#close-task")
    page.wait_for("document.getElementById('task').hidden")


def test_a_task_is_deleted_once_that_is_confirmed(
    visit: Callable[..., Page], add: Callable[..., str], queue: str, emulator: Emulator
) -> None:
    add("first")
    page = visit(f"#/{queue}/tasks/first")

    page.click("#delete-task")
    page.click("#confirm-no")
    page.wait_for("!document.getElementById('confirm').open")
    assert emulator.pending == 1
    page.click("#delete-task")
    page.wait_for_text("Task first is not sent again.", "#confirm")
    page.click("#confirm-yes")

    page.wait_for_text("Task first is deleted.", "#said")
    emulator.wait_for(lambda: emulator.idle)
    assert page.evaluate("location.hash") == f"#/{queue}"


def test_a_queue_is_purged_once_that_is_confirmed(
    visit: Callable[..., Page], add: Callable[..., str], queue: str, emulator: Emulator
) -> None:
    add("first")
    add("second")
    page = visit(f"#/{queue}")
    wait_for_row(page, "tasks", "second")

    page.click("#purge-queue")
    page.wait_for_text("All tasks of this queue are deleted (2 tasks now).", "#confirm")
    # Enter at once does no harm.
    assert page.evaluate("document.activeElement.id") == "confirm-no"
    page.press("Escape")
    page.wait_for(f"document.activeElement === {by_id('purge-queue')}")
    assert emulator.pending == 2
    page.click("#purge-queue")
    page.click("#confirm-yes")

    page.wait_for_text("Queue emails is purged.", "#said")
    page.wait_for_text("No task is waiting here.")
    assert emulator.pending == 0


def test_a_queue_is_created_and_deleted(
    visit: Callable[..., Page], emulator: Emulator, client: tasks_v2.CloudTasksClient
) -> None:
    page = visit()
    page.click("#create-queue")
    page.wait_for("document.activeElement.name === 'id'")
    page.type("invoices")
    page.fill("[name=maxDispatchesPerSecond]", "2.5")
    page.fill("[name=maxAttempts]", "3")
    page.fill("[name=minBackoff]", "0.5")
    page.press("Enter")

    page.wait_for_text("Queue invoices is created.", "#said")
    page.wait_for_text("2.5/s, bursts of 10, 1000 at once", "#queue-facts")
    page.wait_for_text("3 attempts, 500 ms to 1 h apart", "#queue-facts")
    created = client.get_queue(name=emulator.queue_path("invoices"))
    assert created.rate_limits.max_dispatches_per_second == 2.5
    page.click("#delete-queue")
    page.click("#confirm-yes")

    page.wait_for_text("Queue invoices is deleted.", "#said")
    page.wait_for(f"!({row('queues', 'invoices')})")


def test_what_is_refused_is_said_in_words(visit: Callable[..., Page]) -> None:
    page = visit()
    page.click("#create-queue")
    page.fill("[name=id]", "emails")
    page.press("Enter")

    page.wait_for_text("Queue already exists", "#outcome")
    # It is still there for a second try, and is told to those who do not see.
    assert page.evaluate("document.querySelector('[name=id]').value") == "emails"
    assert page.evaluate("document.querySelector('[role=alert]').textContent") == (
        "Queue already exists"
    )
    page.click("#dismiss")
    page.wait_for("document.getElementById('outcome').hidden")
    assert len(page.problems) == 1
    page.problems.clear()


def test_the_clock_moves_on(
    visit: Callable[..., Page], add: Callable[..., str], queue: str, target: Target
) -> None:
    add("first")
    target.answers = [500]
    page = visit(f"#/{queue}")
    page.wait_for_text("real time", "#clock-offset")

    page.click("#clock-steps [data-unit=hours]")
    page.wait_for_text("The clock moved on by 1 hour. Nothing was sent.", "#said")
    page.fill("#clock-form [name=amount]", "24")
    page.evaluate("document.querySelector('#clock-form select').value = 'hours'")
    page.click("#clock-form button")

    page.wait_for_text(
        "The clock moved on by 24 hours. 2 attempts: 1 done, 1 to be retried.", "#said"
    )
    page.wait_for_text("ahead", "#clock-offset")
    wait_for_row(page, "attempts", "first", "done")


def test_an_emulator_is_drained_and_reset(
    visit: Callable[..., Page],
    add: Callable[..., str],
    emulator: Emulator,
    queue: str,
) -> None:
    add("first")
    emulator.create_queue("another")
    page = visit(f"#/{queue}")
    wait_for_row(page, "queues", "another")

    page.click("#drain")
    page.wait_for_text("Nothing is due any more. Nothing was sent.", "#said")
    page.click("#reset")
    page.click("#confirm-yes")

    page.wait_for_text("Everything is as it was at the start.", "#said")
    page.wait_for(f"!({row('queues', 'another')})")
    assert emulator.idle


def test_faults_are_added_and_removed(
    visit: Callable[..., Page], emulator: Emulator
) -> None:
    page = visit()
    page.wait_for_text("None. Make something go wrong", "#no-faults")
    choose = (
        "(kind) => { const field = document.querySelector('#fault-form select');"
        " field.value = kind; field.dispatchEvent(new Event('change')); }"
    )

    page.evaluate(f"({choose})('delay')")
    page.fill("#fault-form [name=delay]", "90")
    page.fill("#fault-form [name=queue]", "emails")
    page.click("#fault-form button")
    page.wait_for_text("1 time, by 1 min 30 s, queue emails", "#faults")
    page.evaluate(f"({choose})('executed_then_unavailable')")
    page.fill("#fault-form [name=times]", "")
    page.fill("#fault-form [name=method]", "CreateTask")
    page.click("#fault-form button")

    page.wait_for_text("until removed, in CreateTask", "#faults")
    page.click("#faults button")
    page.wait_for("document.querySelectorAll('#faults li').length === 1")
    page.click("#clear-faults")
    page.wait_for_text("None. Make something go wrong", "#no-faults")


def test_faults_of_a_program_are_seen(
    visit: Callable[..., Page], emulator: Emulator
) -> None:
    emulator.inject("timeout", times=3, skip=1, probability=0.5, task="mail-*")
    page = visit()

    page.wait_for_text("Sent, then past its deadline", "#faults")
    page.wait_for_text(
        "3 times, after 1 that go well, 50 % of the time, tasks mail-*", "#faults"
    )


# Finding the way.


def test_empty_pages_teach(
    browser: Chromium, start: Callable[..., Emulator], target: Target
) -> None:
    emulator = start([])
    page = browser.open(emulator.http_url)
    page.wait_for_text("There is no queue yet.")
    assert "--queue" in page.text("#no-queues")

    emulator.create_queue("default")
    # The only one need not be chosen.
    page.wait_for_text("No task is waiting here.")
    page.wait_for_text("Nothing was sent from this queue yet.")
    page.click("#no-tasks .command button")
    selected = page.evaluate("getSelection().toString()")
    assert selected == page.text("#first-task")
    command = shlex.split(selected.replace("\\\n", ""))
    assert command[:3] == ["curl", "-X", "POST"]
    url, header, data = command[3], command[5], command[7]
    content = data.replace("http://127.0.0.1:8000/", target.url)
    name, value = header.split(": ")
    request = Request(url, content.encode(), {name: value})  # noqa: S310
    with urlopen(request) as answer:  # noqa: S310
        assert answer.status == 200

    wait_for_row(page, "attempts", "HTTP 200", "done")
    assert page.problems == []


def test_links_lead_to_queues_and_tasks(
    visit: Callable[..., Page], add: Callable[..., str], queue: str
) -> None:
    add("first")
    page = visit(f"#/{queue}/tasks/first")
    page.wait_for_text("Task first", "#task-heading")

    page.evaluate("location.hash = ''")
    page.wait_for_text("Choose a queue to see its tasks and attempts.")
    assert page.evaluate("document.getElementById('queue').hidden")
    page.evaluate("history.back()")
    page.wait_for_text("Task first", "#task-heading")


def test_links_that_lead_nowhere_say_so(visit: Callable[..., Page]) -> None:
    page = visit()
    location = "#/projects/demo/locations/local/queues"

    for fragment, text in {
        f"{location}/gone": "There is no such queue.",
        "#/projects/../locations/l/queues/q": "Choose a queue",
        f"{location}/emails/tasks/gone": "This task is not in its queue",
        "#/%E0%A4%A": "Choose a queue",
        f"{location}/gone/tasks/gone": "There is no such queue.",
        "#/nonsense": "Choose a queue",
    }.items():
        page.evaluate(f"location.hash = {json.dumps(fragment)}")
        page.wait_for_text(text)


# For everyone.


def test_everything_can_be_done_with_a_keyboard(
    visit: Callable[..., Page],
    add: Callable[..., str],
    emulator: Emulator,
    queue: str,
    target: Target,
) -> None:
    add("first")
    add("second")
    page = visit()
    wait_for_row(page, "queues", "emails", "2")

    tab_to(page, by_id("skip"))
    page.press("Enter")
    page.wait_for(f"document.activeElement === {by_id('queues-heading')}")
    tab_to(page, f"{row('queues', 'emails')}.querySelector('a')")
    page.press("Enter")
    page.wait_for(f"document.activeElement === {by_id('queue-heading')}")
    tab_to(page, by_id("toggle-queue"))
    page.press("Space")
    page.wait_for_text("Queue emails is paused.", "#said")
    tab_to(page, f"{row('tasks', 'first')}.querySelector('a')")
    page.press("Enter")
    page.wait_for(f"document.activeElement === {by_id('task-heading')}")
    tab_to(page, by_id("run-task"))
    page.press("Enter")
    page.wait_for_text("Task first is dispatched.", "#said")
    page.wait_for_text("This task is done")
    tab_to(page, by_id("close-task"))
    page.press("Enter")
    page.wait_for(f"document.activeElement === {by_id('queue-heading')}")
    tab_to(page, by_id("purge-queue"))
    page.press("Enter")
    page.wait_for(f"document.activeElement === {by_id('confirm-no')}")
    page.press("Tab")
    page.press("Enter")
    page.wait_for_text("Queue emails is purged.", "#said")

    assert len(target.received) == 1
    assert emulator.idle
    assert page.evaluate(f"document.activeElement === {by_id('purge-queue')}")


def test_everything_has_a_name_for_those_who_do_not_see(
    visit: Callable[..., Page],
    add: Callable[..., str],
    queue: str,
    target: Target,
    client: tasks_v2.CloudTasksClient,
    emulator: Emulator,
) -> None:
    target.answers = [500]
    add("first", headers={"X-Api-Key": "hunter2"})
    client.run_task(name=f"{queue}/tasks/first")
    emulator.inject("timeout", queue="reports")
    page = visit(f"#/{queue}/tasks/first")
    page.click("#create-queue")
    page.wait_for_text("HTTP 500", "#task-attempts")

    tree = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in page.accessibility_tree()
    ]
    roles = {role for role, _ in tree}

    named = (
        *("button", "link", "textbox", "spinbutton", "combobox", "table"),
        *("region", "form", "columnheader", "rowheader", "heading"),
    )
    assert roles >= {"banner", "main", "alert", "status", *named}
    assert [role for role, name in tree if role in named and not name] == []
    buttons = [name for role, name in tree if role == "button"]
    assert {"Pause emails", "Pause reports", "Advance by 1 hour"} <= set(buttons)
    assert "Show the value of X-Api-Key" in buttons
    outline = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3')]"
        ".filter((node) => node.checkVisibility()).map((node) => node.tagName)"
    )
    assert outline[0] == "H1"
    assert outline.count("H1") == 1
    assert all(
        int(later[1]) <= int(earlier[1]) + 1 for earlier, later in pairwise(outline)
    )
    assert page.evaluate("document.documentElement.lang") == "en"


def test_everything_can_be_read(
    visit: Callable[..., Page],
    add: Callable[..., str],
    emulator: Emulator,
    queue: str,
    target: Target,
    client: tasks_v2.CloudTasksClient,
) -> None:
    target.answers = [503]
    add("first", body=json.dumps(CALL).encode())
    client.run_task(name=f"{queue}/tasks/first")
    client.pause_queue(name=emulator.queue_path("reports"))
    target.wait_for(1)
    emulator.inject("timeout")
    add_job(emulator, "nightly", target.url)
    emulator.run_job("nightly")
    page = visit(f"#/{queue}/tasks/first")
    page.wait_for_text("HTTP 503", "#task-attempts")
    page.click("#create-queue")
    page.click("#drain")
    page.wait_for_text("Nothing is due", "#outcome")

    for scheme in ("light", "dark"):
        page.prefer(color_scheme=scheme, reduced_motion="reduce")
        contrasts = page.evaluate(CONTRASTS)

        texts = {text for _, text in contrasts}
        assert texts >= {"Running", "Paused", "retry", "Run now", "slowed from 500/s"}
        assert [(scheme, *each) for each in contrasts if each[0] < 4.5] == []


def test_the_page_fits_every_screen(
    visit: Callable[..., Page],
    add: Callable[..., str],
    emulator: Emulator,
    queue: str,
    target: Target,
    client: tasks_v2.CloudTasksClient,
) -> None:
    target.answers = [503]
    name = "a-task-with-a-name-" + "that-is-really-long-" * 10
    add(name, body=json.dumps(CALL).encode(), headers={"X-Trace": "x" * 300})
    client.run_task(name=f"{queue}/tasks/{name}")
    client.create_queue(
        parent=emulator.parent, queue={"name": emulator.queue_path("q" * 100)}
    )
    target.wait_for(1)
    add_job(emulator, "j" * 200, f"{target.url}/{'x' * 200}")
    emulator.run_job("j" * 200)
    page = visit(f"#/{queue}/tasks/{name}")
    page.wait_for_text("HTTP 503", "#task-attempts")
    page.click("#create-queue")
    page.click("#drain")
    page.wait_for_text("Nothing is due", "#outcome")

    for width in (320, 375, 768, 900, 1280, 1920):
        page.resize(width, 800)
        page.wait_for(f"innerWidth === {width}")
        assert (width, page.evaluate(OVERFLOWING)) == (width, [])
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert (width, page.evaluate(SMALL_BUTTONS)) == (width, [])


def test_nothing_moves_for_those_who_do_not_want_it(visit: Callable[..., Page]) -> None:
    page = visit()
    page.prefer(reduced_motion="reduce")
    page.click("#drain")
    page.wait_for_text("Nothing is due", "#outcome")

    assert page.evaluate(f"getComputedStyle({by_id('outcome')}).animationName") == (
        "none"
    )
    assert page.evaluate("document.getAnimations().length") == 0
