"""The admin of schedules in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cloudtask.schedules.models import ScheduledTask, Slot
from cloudtask.transports.memory import MemoryTransport
from tests.chromium import Chromium, needs_chromium
from tests.results_admin.test_browser import origin
from tests.schedules.samples import runs, ticks
from tests.schedules_admin.conftest import make_person
from tests.schedules_admin.samples import URL, count, key

if TYPE_CHECKING:
    from tests.chromium import Page

__all__ = ["origin"]

pytestmark = [pytest.mark.external, needs_chromium]

NEXT = ".cloudtask-next tbody tr"


def choose(page: Page, selector: str, value: str) -> None:
    page.wait_for(f"document.querySelector('{selector}')")
    page.evaluate(f"document.querySelector('{selector}').value = '{value}'")


def test_a_schedule_is_added_seen_paused_and_run(
    origin: str, queue: MemoryTransport
) -> None:
    make_person("view", "add", "change", "pause", "run")

    with Chromium() as browser:
        page = browser.open(f"{origin}/admin/login/?next={URL}add/")
        page.fill("#id_username", "ada")
        page.fill("#id_password", "a password")
        page.press("Enter")
        choose(page, "#id_task", key(count))
        page.click("input[value=Continue]")
        page.wait_for_text(count.path, ".cloudtask-task")

        page.fill("#id_name", "stock")
        page.fill("#id_argument_shop", "bern")
        page.fill("#id_cron", "0 25 * * *")
        page.fill("#id_time_zone", "Europe/Zurich")
        page.click("input[name=_continue]")
        page.wait_for_text("hour", ".field-cron .errorlist")
        mark = "document.querySelector('.cloudtask-mark').innerText.split('\\n')"
        assert page.evaluate(mark) == ["0 25 * * *", "  ^"]

        page.fill("#id_cron", "0 3 * * *")
        page.click("input[name=_continue]")
        page.wait_for(f"document.querySelectorAll('{NEXT}').length === 5")
        assert "03:00 +0" in page.text(NEXT)

        page.click(".cloudtask-button button")
        page.wait_for_text("paused.", ".messagelist")
        page.wait_for("""document.querySelector('form[action$="/resume/"]')""")
        assert ticks(queue) == []

        page.click('.object-tools a[href$="/run/"]')
        page.wait_for_text("Run now, beside the slots", "#content")
        assert not Slot.objects.exists()
        page.click('#content input[type="submit"]')
        page.wait_for_text("run by hand", ".cloudtask-slots")
        assert page.problems == []

    row = ScheduledTask.objects.get()
    assert (row.cron, row.time_zone) == ("0 3 * * *", "Europe/Zurich")
    assert row.is_paused
    [sent] = runs(queue)
    assert sent.payload.kwargs == {"shop": "bern"}
