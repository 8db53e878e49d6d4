"""
A real browser for tests: Debian's Chromium, driven by Playwright.

    with Chromium() as browser:
        page = browser.open("http://127.0.0.1:8000/")
        page.click("#order")
        page.wait_for("document.querySelector('#orders li')")
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Self, TypeVar

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage
    from playwright.sync_api import Page as PlaywrightPage

CHROMIUM = shutil.which("chromium")

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or find_spec("playwright") is None,
    reason="there is no `chromium` on the PATH, or no playwright",
)

#: Milliseconds after which a test gives the browser up.
PATIENCE = 30_000

_FLAGS = (
    *("--disable-quic", "--no-sandbox", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update"),
)

T = TypeVar("T")


class Chromium:
    """
    A browser process, with a profile of its own.

    Playwright keeps an event loop running in its thread, where neither Django
    nor asyncio.run() would work. So it has a thread to itself.
    """

    def __enter__(self) -> Self:
        self._thread = ThreadPoolExecutor(1, "chromium")
        self.run(self._start)
        return self

    def __exit__(self, *exc: object) -> None:
        self.run(self._stop)
        self._thread.shutdown()

    def open(self, url: str, *, width: int = 1280, height: int = 900) -> Page:
        """Open a page with cookies and storage of its own."""
        page = self.run(lambda: self._open(width, height))
        page.go(url)
        return page

    def run(self, function: Callable[[], T]) -> T:
        """Return what a function that uses Playwright returns."""
        return self._thread.submit(function).result()

    def _start(self) -> None:
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(
            executable_path=CHROMIUM, args=_FLAGS
        )

    def _stop(self) -> None:
        self._browser.close()
        self._playwright.stop()

    def _open(self, width: int, height: int) -> Page:
        size: Any = {"width": width, "height": height}
        context = self._browser.new_context(viewport=size)
        context.set_default_timeout(PATIENCE)
        return Page(self, context.new_page())


class Page:
    """A page, and what it asked for and complained about."""

    def __init__(self, browser: Chromium, page: PlaywrightPage) -> None:
        self._browser = browser
        self._page = page
        self._requests: list[str] = []
        self._problems: list[str] = []
        page.on("request", lambda request: self._requests.append(request.url))
        page.on("pageerror", lambda error: self._problems.append(str(error)))
        page.on("console", self._take)

    @property
    def requests(self) -> list[str]:
        """The URLs of all requests so far."""
        self._catch_up()
        return self._requests

    @property
    def problems(self) -> list[str]:
        """What went to the console as an error, and exceptions."""
        self._catch_up()
        return self._problems

    def go(self, url: str) -> None:
        self._run(lambda: self._page.goto(url))

    def resize(self, width: int, height: int) -> None:
        self._run(
            lambda: self._page.set_viewport_size({"width": width, "height": height})
        )

    def prefer(self, **features: Any) -> None:
        """Set media features: `prefer(color_scheme="dark")`."""
        self._run(lambda: self._page.emulate_media(**features))

    def block(self, pattern: str) -> None:
        """Let requests for such URLs fail, until unblock() is called."""
        self._run(lambda: self._page.route(pattern, lambda route: route.abort()))

    def unblock(self) -> None:
        self._run(self._page.unroute_all)

    def evaluate(self, expression: str) -> Any:
        """Return the JSON value of an expression or of its promise."""
        return self._run(lambda: self._page.evaluate(expression))

    def wait_for(self, expression: str) -> Any:
        """Return the value of an expression once it is true."""
        # Until then it may be about something that is not there.
        attempt = f"() => {{ try {{ return {expression} }} catch {{ return null }} }}"
        return self._run(lambda: self._page.wait_for_function(attempt).json_value())

    def text(self, selector: str = "body") -> str:
        """Return the text of an element as it is seen."""
        return self._run(lambda: self._page.locator(selector).first.inner_text())

    def wait_for_text(self, text: str, selector: str = "body") -> None:
        """Wait until an element shows a text."""
        self._run(
            lambda: self._page.wait_for_function(
                "([selector, text]) =>"
                " document.querySelector(selector)?.innerText.includes(text)",
                arg=[selector, text],
            )
        )

    def click(self, selector: str) -> None:
        """Click the first such element, once it is there and takes clicks."""
        self._run(lambda: self._page.locator(selector).first.click())

    def fill(self, selector: str, text: str) -> None:
        """Put a text in place of what a field holds."""
        self._run(lambda: self._page.locator(selector).first.fill(text))

    def type(self, text: str) -> None:
        """Type a text where the focus is."""
        self._run(lambda: self._page.keyboard.insert_text(text))

    def press(self, key: str) -> None:
        """Press a key, such as Enter, Escape, Tab or Space."""
        self._run(lambda: self._page.keyboard.press(key))

    def accessibility_tree(self) -> list[dict[str, Any]]:
        """Return what assistive technology gets to see."""
        nodes = self._run(self._read_accessibility_tree)
        return [node for node in nodes if not node["ignored"]]

    def _run(self, function: Callable[[], T]) -> T:
        return self._browser.run(function)

    def _catch_up(self) -> None:
        # Playwright tells of events while it waits for an answer.
        self._run(lambda: self._page.evaluate("0"))

    def _take(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._problems.append(f"{message.text} {message.location['url']}")

    def _read_accessibility_tree(self) -> list[dict[str, Any]]:
        session = self._page.context.new_cdp_session(self._page)
        nodes: list[dict[str, Any]] = session.send("Accessibility.getFullAXTree")[
            "nodes"
        ]
        return nodes
