"""
What Google Cloud says of the place where this process runs.

Everything is looked up on first use and kept for the life of the process.
The environment is asked first. The metadata server is asked for what the
environment does not say; where there is none, that is found out once and
within a second.
"""

from __future__ import annotations

import os
import re
import threading
from contextlib import closing
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from http.client import HTTPConnection

#: Seconds for one answer.
_ANSWER_SECONDS = 1.0
#: Most bytes of an answer that are read.
_ANSWER_BYTES = 4096

#: Any of these is set on Cloud Run (service, job, worker pool) and App Engine.
_ON_GOOGLE = frozenset(
    {"K_SERVICE", "CLOUD_RUN_JOB", "CLOUD_RUN_WORKER_POOL", "GAE_APPLICATION"}
)

_lock = threading.Lock()
_answers: dict[str, str | None] = {}
_absent = False


def project() -> str | None:
    """The project's id (not its number)."""
    application = os.environ.get("GAE_APPLICATION", "")
    return (
        os.environ.get("GOOGLE_CLOUD_PROJECT")
        or application.partition("~")[2]
        or application
        or metadata("project/project-id")
    )


def location() -> str | None:
    """The region, as in `europe-west1`."""
    region = metadata("instance/region")
    if region:
        return region.rpartition("/")[2]
    zone = metadata("instance/zone")
    # Compute Engine only says its zone, `.../zones/europe-west1-b`.
    match = re.fullmatch(r"(?:.*/)?([a-z]+-[a-z]+\d+)-[a-z0-9]+", zone or "")
    return match[1] if match else None


def service_account() -> str | None:
    """E-mail address of the service account that this process runs as."""
    return metadata("instance/service-accounts/default/email")


def origin() -> str | None:
    """
    The deterministic URL of this Cloud Run service, without a path.

    None elsewhere: neither the hashed URL nor App Engine's can be derived.
    """
    service = os.environ.get("K_SERVICE")
    if not service:
        return None
    number = metadata("project/numeric-project-id")
    region = location()
    label = f"{service}-{number}"
    if not number or not region or len(label) > 63:
        return None
    return f"https://{label}.{region}.run.app"


def is_google() -> bool:
    """Whether the environment says Cloud Run or App Engine. Asks nobody."""
    return not _ON_GOOGLE.isdisjoint(os.environ)


def metadata(key: str) -> str | None:
    """The metadata server's answer for a key such as `instance/region`."""
    global _absent
    if _absent or os.environ.get("NO_GCE_CHECK", "").lower() == "true":
        return None
    with _lock:
        if key in _answers or _absent:
            return _answers.get(key)
        try:
            _answers[key] = _ask(key, monotonic() + _ANSWER_SECONDS)
        except _Busy:
            return None  # Asked for again next time.
        except OSError:
            # On Google Cloud a lost answer is asked for again next time.
            _absent = not is_google()
        return _answers.get(key)


def reset() -> None:
    """Forget every answer."""
    global _absent
    _absent = False
    _answers.clear()


class _Busy(Exception):
    """A metadata server that cannot answer yet, as while it starts."""


def _ask(key: str, deadline: float) -> str | None:
    import http.client

    try:
        connection = http.client.HTTPConnection(_host(), timeout=_ANSWER_SECONDS)
        with closing(connection):
            connection.connect()
            connection.sock.settimeout(max(0.01, deadline - monotonic()))
            return _answer(connection, key)
    except (http.client.HTTPException, ValueError) as error:
        raise OSError("no HTTP answer") from error


def _answer(connection: HTTPConnection, key: str) -> str | None:
    connection.request(
        "GET", f"/computeMetadata/v1/{key}", headers={"Metadata-Flavor": "Google"}
    )
    response = connection.getresponse()
    # Anything else on that address, a captive portal say, is no answer.
    if response.headers.get("Metadata-Flavor") != "Google":
        raise OSError("not a metadata server")
    if response.status >= 500 or response.status == 429:
        raise _Busy
    text = response.read(_ANSWER_BYTES).decode("ascii", "replace").strip()
    return text if response.status == 200 and text else None


def _host() -> str:
    # By address: where there is none, looking up the name can take long.
    return (
        os.environ.get("GCE_METADATA_HOST")
        or os.environ.get("GCE_METADATA_IP")
        or "169.254.169.254"
    )
