"""The bookshop, run as its README says: other processes, real sockets."""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from pathlib import Path
from time import monotonic
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

from tests.chromium import Chromium, needs_chromium

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "bookshop"

#: Seconds after which a test gives a process up.
PATIENCE = 50


class Bookshop:
    """A copy of the example, to run and to break."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        shutil.copytree(
            EXAMPLE, directory, ignore=shutil.ignore_patterns("var", "__pycache__")
        )

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.directory / path
        text = file.read_text()
        assert old in text, f"{old!r} is no longer in {path}"
        file.write_text(text.replace(old, new))

    def hurry(self) -> None:
        """Schedule nothing for later than the rest takes."""
        self.edit("demonstration/steps.py", "timedelta(seconds=2)", "timedelta(0, 1)")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*command),
            env=environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def command(self, script: str, *arguments: str) -> list[str]:
        return [sys.executable, str(self.directory / script), *arguments]


class Demo:
    """A running demo, and the lines that it has written."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._written: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first line, from the start, in which the pattern is found."""
        for line in self._written:
            if match := re.search(pattern, line):
                return match
        deadline = monotonic() + PATIENCE
        while (left := deadline - monotonic()) > 0:
            line = self._lines.get(timeout=left)
            self._written.append(line)
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"no {pattern!r} in {self._written}")

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.stop(signal.SIGTERM)
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)


def environment() -> dict[str, str]:
    # The settings are the example's own, not those of these tests.
    kept = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def bookshop(tmp_path: Path) -> Bookshop:
    return Bookshop(tmp_path / "bookshop")


@pytest.fixture
def start(bookshop: Bookshop) -> Iterator[Callable[..., Demo]]:
    started = []

    def start_demo(*arguments: str) -> Demo:
        demo = Demo(bookshop.command("demo.py", *arguments))
        started.append(demo)
        return demo

    yield start_demo
    for demo in started:
        demo.close()


def test_the_demo_shows_the_main_job(bookshop: Bookshop) -> None:
    run = bookshop.run("demo.py")

    assert run.stderr == ""
    assert run.returncode == 0, run.stdout
    rows = [re.split(r"  +", line)[:3] for line in run.stdout.splitlines()]
    summary = rows[rows.index(["what", "task", "HTTP"]) + 2 :]
    assert summary[:14] == [
        ["on commit", "all five", "-"],
        ["delay", "confirm_order", "200"],
        ["push", "take_stock", "200"],
        ["schedule", "ask_for_review", "200"],
        ["async def", "pack_order", "200"],
        ["retry", "charge_order", "500 200 200"],
        ["named", "stock_report", "200"],
        ["duplicate", "stock_report", "-"],
        ["execute", "stock_report", "-"],
        ["reject", "confirm_order", "200"],
        ["closed door", "confirm_order", "403 403"],
        ["credentials", "all", "-"],
        ["schedule", "nightly_report", "200 200 200 200 200 200 200 200"],
        ["schedule", "clean_up", summary[13][2]],
    ]
    assert summary[13][2] in ("200", "200 200")
    assert re.search(r"^All 14 were seen, in \d+\.\d s\.$", run.stdout, re.MULTILINE)
    assert len(run.stdout.splitlines()) < 75
    # Two to the customer, two reports, and one for each night.
    mails = [path.read_text() for path in (bookshop.directory / "var/mail").iterdir()]
    assert sum(text.count("Subject: ") for text in mails) == 12
    # Not written to a terminal, so there is no progress line.
    assert run.stdout.replace("\n", "").isprintable()


def test_the_demo_says_what_it_did_not_see(bookshop: Bookshop) -> None:
    bookshop.hurry()
    # The e-mail is forgotten.
    bookshop.edit("shop/tasks.py", '_mail(order, f"Order {order.pk}", text)', "pass")
    # The order's tasks do not wait for its commit.
    bookshop.edit("shop/orders.py", "push()", "push(on_commit=False)")
    # Reports have no name.
    bookshop.edit("shop/tasks.py", ", named=_report_name", "")
    # One of the credentials is enough.
    bookshop.edit("bookshop/settings.py", '"AUTH": "all"', '"AUTH": "any"')

    run = bookshop.run("demo.py")

    assert run.returncode == 1
    missing = [line for line in run.stdout.splitlines() if line.startswith("MISSING")]
    assert set(missing) >= {
        "MISSING  delay (confirm_order): one confirmation e-mail",
        "MISSING  on commit (all five): tasks held until the commit",
        "MISSING  duplicate (stock_report): TaskAlreadyExists for the second one",
        "MISSING  closed door (confirm_order): HTTP 403, twice",
        "MISSING  closed door (confirm_order): no task that runs",
    }
    assert re.search(r"^retry .* yes$", run.stdout, re.MULTILINE)
    assert "were seen" not in run.stdout


def test_the_demo_has_a_deadline(bookshop: Bookshop) -> None:
    bookshop.edit("demonstration/steps.py", "timedelta(seconds=2)", "timedelta(1)")

    run = bookshop.run("demo.py", "--timeout", "2")

    assert run.returncode == 1
    # How far the others come in that time depends on the machine.
    assert re.fullmatch(
        r"MISSING  still waiting for (\w+, )*ask_for_review after 2 s; "
        r"the rest did not run",
        run.stdout.splitlines()[-1],
    )


def test_the_demo_says_why_the_server_does_not_start(bookshop: Bookshop) -> None:
    bookshop.edit("bookshop/urls.py", "shop.urls", "shop.pages")

    run = bookshop.run("demo.py")

    assert run.returncode == 1
    assert "Nothing was seen: the server ended with exit status 1.\n" in run.stdout
    assert run.stdout.rstrip().endswith("No module named 'shop.pages'")


def test_the_demo_says_how_to_install_the_emulator(bookshop: Bookshop) -> None:
    missing = bookshop.directory / "aiohttp.py"
    missing.write_text("raise ImportError('No aiohttp')")

    run = bookshop.run("demo.py")

    assert run.returncode == 1
    assert run.stdout == (
        "Nothing was seen: No aiohttp. Install the emulator: "
        "pip install '.[emulator]'.\n"
    )


def test_two_demos_do_not_share_a_database(start: Callable[..., Demo]) -> None:
    first = start()
    first.wait_for("^The bookshop on cloudtask")

    second = start()

    second.wait_for("^Nothing was seen: another demo is running in this directory")
    assert second.process.wait(PATIENCE) == 1
    assert first.process.poll() is None


def test_the_demo_serves_a_page_until_it_is_interrupted(
    bookshop: Bookshop, start: Callable[..., Demo]
) -> None:
    bookshop.hurry()
    demo = start("--serve")
    url = demo.wait_for(r"^Open (http://127\.0\.0\.1:\d+/) and order a book")[1]
    visitor = Visitor(url)

    answer = visitor.post("orders/", book=2, quantity=3, email="bob@example.com")
    demo.wait_for(r"charge_order +attempt 3  HTTP 200  22\.50 paid")
    demo.wait_for("confirm_order +attempt 1  HTTP 200  e-mail to bob@example.com")
    state = json.loads(visitor.get("state.json"))

    assert "Order 2: 5 tasks enqueued." in answer
    order = state["orders"][0]
    assert order[:3] == [2, "3 x Emma", "bob@example.com"]
    assert order[3].startswith("confirmed, stock taken, paid")
    assert ["Emma", "7.50", 27] in state["books"]
    assert "Today&#x27;s stock report is enqueued." in visitor.post("reports/")
    assert "Refused: shop.tasks.stock_report" in visitor.post("reports/")
    assert "A task for order 0 is enqueued." in visitor.post("ghosts/")
    demo.wait_for("attempt 1  HTTP 200  rejected: there is no order 0")
    assert demo.stop(signal.SIGINT) == 0
    with pytest.raises(URLError):
        visitor.get("")


@needs_chromium
@pytest.mark.external
def test_the_page_follows_the_tasks_in_a_browser(
    start: Callable[..., Demo],
) -> None:
    demo = start("--serve")
    url = demo.wait_for(r"server +(http://127\.0\.0\.1:\d+/)")[1]
    demo.wait_for("e-mail to ada@example.com")

    with Chromium() as browser:
        page = browser.open(url)
        page.wait_for_text("Updated every second.", "#live[role=status]")
        page.wait_for_text("e-mail to ada@example.com", "#events")
        assert page.problems == []

    demo.stop(signal.SIGTERM)


def test_the_page_refuses_forms_of_other_sites(start: Callable[..., Demo]) -> None:
    demo = start("--serve")
    url = demo.wait_for(r"server +(http://127\.0\.0\.1:\d+/)")[1]

    with pytest.raises(HTTPError) as refused:
        Visitor(url).post("orders/", csrfmiddlewaretoken="another")

    with refused.value as answer:
        assert answer.code == 403
    # In the middle of the main job.
    assert demo.stop(signal.SIGTERM) == 130
    demo.wait_for("^Stopped.$")


def test_the_page_is_made_for_everyone(start: Callable[..., Demo]) -> None:
    demo = start("--serve")
    url = demo.wait_for(r"server +(http://127\.0\.0\.1:\d+/)")[1]

    page = Page(Visitor(url).get(""))

    assert page.attributes("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in (
        page.attributes("meta")
    )
    labelled = {label["for"] for label in page.attributes("label")}
    fields = page.attributes("select") + page.attributes("input")
    visible = {field["id"] for field in fields if field.get("type") != "hidden"}
    assert visible == labelled == {"id_book", "id_quantity", "id_email"}
    assert len(page.attributes("caption")) == len(page.attributes("table")) == 3
    # Nothing comes from elsewhere.
    sources = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "action")
    ]
    assert sources == ["data:,", "/orders/", "/reports/", "/ghosts/"]


@pytest.mark.parametrize(
    "command",
    [
        ("check", "--fail-level", "WARNING"),
        ("makemigrations", "--check", "--dry-run"),
    ],
)
def test_the_project_is_in_order(bookshop: Bookshop, command: tuple[str, ...]) -> None:
    run = bookshop.run("manage.py", *command)

    assert (run.returncode, run.stderr) == (0, "")


def test_the_demo_explains_its_options(bookshop: Bookshop) -> None:
    run = bookshop.run("demo.py", "--help")

    assert run.returncode == 0
    assert "--serve" in run.stdout
    assert "--timeout SECONDS" in run.stdout
    assert not (bookshop.directory / "var").exists()


class Visitor:
    """A browser with cookies and no script."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._opener = build_opener(HTTPCookieProcessor(CookieJar()))

    def get(self, path: str) -> str:
        return self._open(path)

    def post(self, path: str, **fields: object) -> str:
        token = Page(self.get("")).attributes("input")[0]["value"]
        data = urlencode({"csrfmiddlewaretoken": token, **fields})
        return self._open(path, data.encode())

    def _open(self, path: str, data: bytes | None = None) -> str:
        with self._opener.open(self._url + path, data, PATIENCE) as answer:
            return str(answer.read().decode())


class Page(HTMLParser):
    """The tags of an HTML page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def attributes(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]
