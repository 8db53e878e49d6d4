"""
A real browser for tests, driven through the DevTools protocol over a pipe.

    with Chromium(tmp_path) as browser:
        page = browser.open("http://127.0.0.1:8000/")
        page.click("#order")
        page.wait_for("document.querySelector('#orders li')")
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Self

import pytest

CHROMIUM = shutil.which("chromium")

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no `chromium` on the PATH"
)

#: Seconds after which a test gives the browser up.
PATIENCE = 30

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--remote-debugging-pipe"),
)
# Chromium reads commands from descriptor 3 and answers on 4.
_LAUNCH = """
import fcntl, os, sys
ours = [fcntl.fcntl(int(each), fcntl.F_DUPFD, 10) for each in sys.argv[1:3]]
os.dup2(ours[0], 3)
os.dup2(ours[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
_KEYS = {
    "Enter": {"code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"},
    "Escape": {"code": "Escape", "windowsVirtualKeyCode": 27},
    "Tab": {"code": "Tab", "windowsVirtualKeyCode": 9},
    " ": {"code": "Space", "windowsVirtualKeyCode": 32, "text": " "},
}
_SHIFT = 8

# Looks again and again, in the browser, so that nothing has to sleep here.
_WAIT = """
new Promise((resolve, reject) => {
  const end = Date.now() + %(milliseconds)d;
  const look = () => {
    let value;
    try {
      value = (%(expression)s);
    } catch (error) {
      value = null;
    }
    if (value) {
      resolve(value);
    } else if (Date.now() > end) {
      reject(new Error("never true: " + %(quoted)s));
    } else {
      setTimeout(look, 20);
    }
  };
  look();
})
"""


class Chromium:
    """A browser process, with a profile of its own."""

    def __init__(self, directory: Path) -> None:
        self._command = [str(CHROMIUM), *_FLAGS, f"--user-data-dir={directory}"]
        self._ids = count(1)
        self._answers: dict[int, Future[Any]] = {}
        self._pages: dict[str, Page] = {}

    def __enter__(self) -> Self:
        commands, ours_out = os.pipe()
        ours_in, answers = os.pipe()
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                _LAUNCH,
                str(commands),
                str(answers),
                *self._command,
            ],
            pass_fds=(commands, answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._out = os.fdopen(ours_out, "wb", buffering=0)
        self._reader = threading.Thread(target=self._read, args=(ours_in,))
        self._reader.start()
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            with suppress(EOFError):  # It may be gone before it has answered.
                self.send("Browser.close")
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
            self._out.close()
            self._reader.join()

    def open(self, url: str, *, width: int = 1280, height: int = 900) -> Page:
        """Open a page with cookies and storage of its own."""
        context = self.send("Target.createBrowserContext")["browserContextId"]
        target = self.send(
            "Target.createTarget", url="about:blank", browserContextId=context
        )["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)
        page = Page(self, session["sessionId"])
        self._pages[session["sessionId"]] = page
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            page.send(f"{domain}.enable")
        page.resize(width, height)
        page.go(url)
        return page

    def send(self, method: str, session: str | None = None, **params: Any) -> Any:
        """Run a command and return its result."""
        number = next(self._ids)
        answer = self._answers[number] = Future()
        message = {"id": number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        self._out.write(json.dumps(message).encode() + b"\0")
        return answer.result(PATIENCE + 5)

    def _read(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb", buffering=0) as pipe:
            rest = b""
            while data := pipe.read(1 << 16):
                *messages, rest = (rest + data).split(b"\0")
                for message in messages:
                    self._take(json.loads(message))
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(EOFError("Chromium has ended."))

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            answer = self._answers.pop(message["id"])
            if "error" in message:
                answer.set_exception(RuntimeError(message["error"]["message"]))
            else:
                answer.set_result(message["result"])
        elif page := self._pages.get(message.get("sessionId", "")):
            page.take(message["method"], message["params"])


class Page:
    """
    A page, and what it asked for and complained about.

    Attributes:
        requests: The URLs of all requests so far.
        problems: What went to the console as an error, and exceptions.
    """

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser = browser
        self._session = session
        self.requests: list[str] = []
        self.problems: list[str] = []

    def send(self, method: str, **params: Any) -> Any:
        return self._browser.send(method, self._session, **params)

    def take(self, event: str, params: dict[str, Any]) -> None:
        """Take note of what the browser tells."""
        if event == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.problems.append(json.dumps(params["args"]))
        elif event == "Log.entryAdded" and params["entry"]["level"] == "error":
            entry = params["entry"]
            self.problems.append(f"{entry['text']} {entry.get('url', '')}")

    def go(self, url: str) -> None:
        self.send("Page.navigate", url=url)
        self.wait_for(f"location.href.startsWith({json.dumps(url)})")
        self.wait_for("document.readyState === 'complete'")

    def resize(self, width: int, height: int) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def prefer(self, **features: str) -> None:
        """Set media features: `prefer(prefers_color_scheme="dark")`."""
        listed = [
            {"name": name.replace("_", "-"), "value": value}
            for name, value in features.items()
        ]
        self.send("Emulation.setEmulatedMedia", features=listed)

    def evaluate(self, expression: str) -> Any:
        """Return the JSON value of an expression or of its promise."""
        answer = self.send(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"]["exception"])
        return answer["result"].get("value")

    def wait_for(self, expression: str, seconds: float = PATIENCE) -> Any:
        """Return the value of an expression once it is true."""
        return self.evaluate(
            _WAIT
            % {
                "expression": expression,
                "quoted": json.dumps(expression),
                "milliseconds": seconds * 1000,
            }
        )

    def text(self, selector: str = "body") -> str:
        """Return the text of an element as it is seen."""
        return str(self.evaluate(f"{_element(selector)}.innerText"))

    def wait_for_text(self, text: str, selector: str = "body") -> None:
        """Wait until an element shows a text."""
        self.wait_for(f"{_element(selector)}.innerText.includes({json.dumps(text)})")

    def click(self, selector: str) -> None:
        """Click where an element is, once it is there and takes clicks."""
        x, y = self.wait_for(
            f"""(() => {{
              const node = {_element(selector)};
              node.scrollIntoView({{block: "center", behavior: "instant"}});
              const box = node.getBoundingClientRect();
              const at = [box.x + box.width / 2, box.y + box.height / 2];
              const isBusy = node.getAttribute("aria-disabled") === "true";
              return !isBusy && node.contains(document.elementFromPoint(...at)) && at;
            }})()"""
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send(
                "Input.dispatchMouseEvent",
                type=kind,
                x=x,
                y=y,
                button="left",
                clickCount=1,
            )

    def fill(self, selector: str, text: str) -> None:
        """Type a text in place of what a field holds."""
        self.evaluate(f"{_element(selector)}.focus()")
        self.evaluate(f"{_element(selector)}.select()")
        self.type(text)

    def type(self, text: str) -> None:
        """Type a text where the focus is."""
        self.send("Input.insertText", text=text)

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press Enter, Escape, Tab or the space bar."""
        keys = {"key": key, "modifiers": _SHIFT if shift else 0, **_KEYS[key]}
        self.send("Input.dispatchKeyEvent", type="keyDown", **keys)
        self.send("Input.dispatchKeyEvent", type="keyUp", **keys)

    def screenshot(self, path: Path) -> None:
        """Write what the whole page looks like to a PNG file."""
        answer = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def accessibility_tree(self) -> list[dict[str, Any]]:
        """Return what assistive technology gets to see."""
        nodes = self.send("Accessibility.getFullAXTree")["nodes"]
        return [node for node in nodes if not node["ignored"]]


def _element(selector: str) -> str:
    return f"document.querySelector({json.dumps(selector)})"
