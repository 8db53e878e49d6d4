"""The admin in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection, connections
from django.utils import timezone

from cloudtask.results.models import TaskRecord
from cloudtask.transports.memory import MemoryTransport
from tests.chromium import Chromium, Page, needs_chromium
from tests.live import serve
from tests.results_admin.rows import Status, make_error, make_person, make_row
from tests.results_admin.test_list import URL

pytestmark = [pytest.mark.external, needs_chromium]


@pytest.fixture
def origin(transactional_db: None) -> Iterator[str]:
    """Where the site is, served from this process."""
    site = StaticFilesHandler(WSGIHandler())
    with ExitStack() as stack:
        shared = None
        if connection.vendor == "sqlite":
            # In memory, it is one connection's alone.
            connection.inc_thread_sharing()
            stack.callback(connection.dec_thread_sharing)
            shared = connections["default"]
        yield stack.enter_context(serve(site, shared=shared))


def do(page: Page, action: str, row: str) -> None:
    """Select a task of the list, and an action for it."""
    page.click(f'input[name="_selected_action"][value="{row}"]')
    page.evaluate(f'document.querySelector("select[name=action]").value = "{action}"')
    page.click(".actions button")


def choose(page: Page, filter: str, value: str) -> None:  # noqa: A002
    """Click a filter at the side."""
    page.click(f'#changelist-filter a[href*="{filter}={value}"]')


def test_tasks_are_found_read_cancelled_retried_and_redriven(
    origin: str, queue: MemoryTransport
) -> None:
    make_person("view", "cancel", "retry", "redrive")
    waiting = make_row(path="tests.tasks.add")
    running = make_row(
        Status.RUNNING, path="tests.tasks.load", progress_done=3, progress_total=10
    )
    failed = make_row(
        Status.FAILED, path="tests.tasks.fail", queue="emails", kwargs={"order": 42}
    )
    make_error(failed, message="No stock.")

    with Chromium() as browser:
        page = browser.open(f"{origin}/admin/login/?next={URL}")
        page.fill("#id_username", "ada")
        page.fill("#id_password", "a password")
        page.press("Enter")
        page.wait_for_text("tests.tasks.add", "#result_list")
        page.wait_for_text("failed 1", ".cloudtask-counts")
        page.wait_for_text("3 of 10", "#result_list .field-progress:has(progress)")
        bar = "document.querySelector('#result_list progress')"
        assert page.evaluate(f"{bar}.position") == 0.3
        assert page.evaluate(f"{bar}.getBoundingClientRect().width") > 50

        page.click('.cloudtask-counts a[href$="FAILED"]')
        page.wait_for_text("1 task", ".paginator")
        page.wait_for_text("tests.tasks.fail", "#result_list")
        assert "tests.tasks.add" not in page.text("#result_list")

        page.click("#result_list .field-path a")
        page.wait_for_text('"order": 42', ".field-arguments")
        page.wait_for_text("No stock.", ".field-failures details[open]")

        page.go(f"{origin}{URL}")
        choose(page, "queue", "default")
        page.wait_for_text("2 tasks", ".paginator")
        choose(page, "path", "tests.tasks.load")
        page.wait_for_text("1 task", ".paginator")
        assert running.path in page.text("#result_list")

        page.go(f"{origin}{URL}")
        do(page, "cancel", waiting.pk)
        page.wait_for_text("1 of 1 selected tasks cancelled.", ".messagelist")
        page.wait_for_text("failed 2", ".cloudtask-counts")

        do(page, "redrive", failed.pk)
        page.wait_for_text("1 of 1 selected tasks redriven.", ".messagelist")
        page.wait_for_text("ready 1", ".cloudtask-counts")

        [sent] = queue.tasks
        sent.due += timedelta(hours=1)
        TaskRecord.objects.filter(pk=failed.pk).update(attempt=1)
        do(page, "retry", failed.pk)
        page.wait_for_text("1 of 1 selected tasks retried.", ".messagelist")
        assert page.problems == []

    waiting.refresh_from_db()
    assert waiting.cancelled_at is not None
    assert (sent.payload.id, queue.tasks) == (failed.pk, [sent])
    assert sent.due <= timezone.now()
