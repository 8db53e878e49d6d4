"""
What Google Cloud says of the place where this process runs.

Everything is looked up on first use and kept for the life of the process.
The environment is asked first. The metadata server is asked for what the
environment does not say.

No answer is not "no": a server that may be there is asked again later. That
there is none is found out once and within a second, and only where nothing
else says that this is Google Cloud.
"""

from __future__ import annotations

import os
import re
import threading
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from cloudtask.exceptions import MetadataUnavailable

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

#: Seconds that an answer is waited for.
_ANSWER_SECONDS = 1.0
#: Seconds after which a late answer is not listened for any more.
_LATE_SECONDS = 5.0
#: Seconds before a server that did not answer is asked again.
_PAUSE_SECONDS = 2.0
#: Most bytes of an answer that are read.
_ANSWER_BYTES = 4096

#: Any of these is set on Cloud Run (service, job, worker pool) and App Engine.
_ON_GOOGLE = frozenset(
    {"K_SERVICE", "CLOUD_RUN_JOB", "CLOUD_RUN_WORKER_POOL", "GAE_APPLICATION"}
)

#: Where the metadata server is, by address: where there is none, looking up
#: its name can take long.
_ADDRESS = "169.254.169.254"
#: Says "Google Compute Engine" on its machines, and in GKE's containers.
_PRODUCT_NAME = Path("/sys/class/dmi/id/product_name")
#: Set in every container of Kubernetes.
_IN_KUBERNETES = "KUBERNETES_SERVICE_HOST"


def find_project() -> str | None:
    """The project's id (not its number)."""
    application = os.environ.get("GAE_APPLICATION", "")
    return (
        os.environ.get("GOOGLE_CLOUD_PROJECT")
        or application.partition("~")[2]
        or application
        or ask_metadata("project/project-id")
    )


def find_location() -> str | None:
    """The region, as in `europe-west1`."""
    region = ask_metadata("instance/region")
    if region:
        return region.rpartition("/")[2]
    zone = ask_metadata("instance/zone")
    # Compute Engine only says its zone, `.../zones/europe-west1-b`.
    match = re.fullmatch(r"(?:.*/)?([a-z]+-[a-z]+\d+)-[a-z0-9]+", zone or "")
    return match[1] if match else None


def find_service_account() -> str | None:
    """E-mail address of the service account that this process runs as."""
    return ask_metadata("instance/service-accounts/default/email")


def find_origin() -> str | None:
    """
    The deterministic URL of this Cloud Run service, without a path.

    None elsewhere: neither the hashed URL nor App Engine's can be derived.
    """
    service = os.environ.get("K_SERVICE")
    if not service:
        return None
    number = ask_metadata("project/numeric-project-id")
    region = find_location()
    label = f"{service}-{number}"
    if not number or not region or len(label) > 63:
        return None
    return f"https://{label}.{region}.run.app"


def is_google() -> bool:
    """Whether the environment says Cloud Run or App Engine. Asks nobody."""
    return not _ON_GOOGLE.isdisjoint(os.environ)


def ask_metadata(key: str) -> str | None:
    """
    The metadata server's answer for a key such as `instance/region`.

    Threads that ask at once share one question, and wait a second at most.

    Returns:
        None if it says that there is no such thing, or if there is no server.

    Raises:
        MetadataUnavailable: It does not answer now.
    """
    if os.environ.get("NO_GCE_CHECK", "").lower() == "true":
        return None
    return _server.ask(key)


def reset() -> None:
    """Forget every answer."""
    global _server
    _server = _Server()


class _Server:
    """What is known of the metadata server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[str, str | None] = {}
        self._questions: dict[str, _Question] = {}
        self._is_absent = False
        # Until when nobody is asked, and why.
        self._pause = (0.0, "")

    def ask(self, key: str) -> str | None:
        """See ask_metadata()."""
        with self._lock:
            if key in self._answers or self._is_absent:
                return self._answers.get(key)
            until, reason = self._pause
            if monotonic() < until:
                raise MetadataUnavailable(reason)
            question = self._questions.get(key)
            if question is None:
                question = self._questions[key] = _Question(key, self._answers)
        try:
            return question.wait()
        except OSError as error:
            self._note_silence(error)
            return None
        finally:
            with self._lock:
                self._questions.pop(key, None)

    def _note_silence(self, error: OSError) -> None:
        """
        Note that there is no server, if that much is known.

        Raises:
            MetadataUnavailable: There may be one.
        """
        with self._lock:
            if not (isinstance(error, _Busy) or self._answers or _may_be_google()):
                self._is_absent = True
                return
            reason = f"the metadata server at {_find_host()} is of no help: {error}."
            self._pause = (monotonic() + _PAUSE_SECONDS, reason)
        raise MetadataUnavailable(reason)


class _Question:
    """
    One request to the server.

    It is made on a thread of its own, which is left behind after a second: a
    socket's timeout starts again with every byte, and looking up a name has
    none. What it hears later is noted all the same.
    """

    def __init__(self, key: str, answers: dict[str, str | None]) -> None:
        self._key = key
        self._answers = answers
        self._answer: Future[str | None] = Future()
        self._deadline = monotonic() + _ANSWER_SECONDS
        threading.Thread(
            target=self._ask, name="cloudtask-metadata", daemon=True
        ).start()

    def wait(self) -> str | None:
        """
        Wait for the answer, until the deadline that all who wait have.

        Raises:
            OSError: There is none.
        """
        try:
            return self._answer.result(max(0.0, self._deadline - monotonic()))
        except TimeoutError:
            raise OSError(f"it took longer than {_ANSWER_SECONDS:g} s") from None

    def _ask(self) -> None:
        try:
            answer = _fetch(self._key)
        except Exception as error:
            # What others say may quote an answer of any length.
            is_short = isinstance(error, OSError)
            name = type(error).__name__
            self._answer.set_exception(error if is_short else OSError(name))
        else:
            self._answers[self._key] = answer
            self._answer.set_result(answer)


class _Busy(OSError):
    """A metadata server that cannot answer yet, as while it starts."""


_server = _Server()


def _fetch(key: str) -> str | None:
    import http.client

    connection = http.client.HTTPConnection(_find_host(), timeout=_LATE_SECONDS)
    with closing(connection):
        return _read_answer(connection, key)


def _read_answer(connection: HTTPConnection, key: str) -> str | None:
    connection.request(
        "GET", f"/computeMetadata/v1/{key}", headers={"Metadata-Flavor": "Google"}
    )
    with connection.getresponse() as response:
        # Anything else on that address, a captive portal say, is no answer.
        if response.headers.get("Metadata-Flavor") != "Google":
            raise OSError("what answers is another server")
        return None if response.status == 404 else _read_text(response)


def _read_text(response: HTTPResponse) -> str:
    if response.status != 200:
        raise _Busy(f"it answers with status {response.status}")
    body = response.read(_ANSWER_BYTES)
    if response.length and len(body) < _ANSWER_BYTES:
        raise _Busy("its answer is cut off")
    text = body.decode("ascii", "replace").strip()
    if not text:
        raise _Busy("its answer is empty")
    return text


def _find_host() -> str:
    return _find_named_host() or _ADDRESS


def _find_named_host() -> str | None:
    return os.environ.get("GCE_METADATA_HOST") or os.environ.get("GCE_METADATA_IP")


def _may_be_google() -> bool:
    """Whether a server that says nothing may be there all the same."""
    if is_google() or _find_named_host():
        return True
    try:
        return _PRODUCT_NAME.read_text().startswith("Google")
    except (OSError, ValueError):
        # Not told: a sandbox of GKE hides it, and most desks have none.
        return _IN_KUBERNETES in os.environ
