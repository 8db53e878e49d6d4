"""The client over the life of a process: imports, forks and the end."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.unit.transports.service import Meet, Service

ROOT = Path(__file__).parents[3]

PREPARE = """
import os, sys
from django.conf import settings
settings.configure(SECRET_KEY="of this test", CLOUDTASK={
    "PROJECT": "project",
    "LOCATION": "europe-west1",
    "URL": "https://shop.example/_tasks/",
    "QUEUE": "default",
    "SECRET": "a secret for tests of 32 bytes..",
    "EMULATOR_HOST": sys.argv[1],
})
from cloudtask import task

@task
def add(request, who): ...
"""

DEFINES = """
bound = add("nobody")
bound.execute()
loaded = {"grpc", "google.cloud", "google.api_core", "google.auth"} & set(sys.modules)
print(sorted(loaded))
"""

COUNTS = """
import grpc

channels = []
open_channel = grpc.insecure_channel

def open_and_count(*args, **kwargs):
    channels.append(open_channel(*args, **kwargs))
    return channels[-1]

grpc.insecure_channel = open_and_count
"""

FORKS = """
add("parent before").delay()
child = os.fork()
if child == 0:
    add("child").delay()
    add("child again").delay()
    print("opened by the child:", len(channels) - 1)
    sys.exit(0)
_, status = os.waitpid(child, 0)
idle = os.fork()
if idle == 0:
    sys.exit(0)
_, idle_status = os.waitpid(idle, 0)
add("parent after").delay()
print("opened by the parent:", len(channels))
sys.exit(os.waitstatus_to_exitcode(status or idle_status))
"""

FORKS_FIRST = """
children = []
for number in range(2):
    child = os.fork()
    if child == 0:
        add(f"child {number}").delay()
        sys.exit(0)
    children.append(child)
statuses = [os.waitpid(child, 0)[1] for child in children]
add("parent").delay()
sys.exit(max(map(os.waitstatus_to_exitcode, statuses)))
"""

ENDS = """
import atexit

@atexit.register
def look():
    # Registered before the client was made, so it runs after its own.
    [channel] = channels
    try:
        channel.unary_unary("/none/None")(b"", timeout=5)
    except ValueError as error:
        print(error)

add("parent").delay()
"""

#: Green threads in place of threads, before anything else is loaded.
GREEN = """
from gevent import monkey
monkey.patch_all()
"""

WAITS_TOGETHER = """
import gevent

def wait_together():
    both = [gevent.spawn(add(f"child {n}").delay) for n in range(2)]
    gevent.joinall(both, raise_error=True)

wait_together()
child = os.fork()
if child == 0:
    wait_together()
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

FAILS = """
from cloudtask.exceptions import ServiceUnavailable

try:
    add("nobody").delay()
except ServiceUnavailable as error:
    print(type(error).__name__)
"""


@pytest.fixture
def script(service: Service):
    """Return a function that runs a script and gives what it printed."""

    def script(text: str, address: str = "", first: str = "") -> str:
        text = first + PREPARE + text
        done = subprocess.run(
            [sys.executable, "-c", text, address or service.address],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return script


def senders(service: Service) -> list[str]:
    """The argument of each task that arrived."""
    known = ("parent before", "parent after", "parent", "child again", "child 0")
    return [
        next(
            who
            for who in (*known, "child 1", "child")
            if f'"{who}"' in task.http_request.body.decode()
        )
        for task in service.stored
    ]


def test_defining_and_running_tasks_loads_nothing_of_google(script) -> None:
    assert script(DEFINES) == "[]"


def test_a_forked_child_makes_a_client_of_its_own(script, service: Service) -> None:
    assert script(COUNTS + FORKS).splitlines() == [
        "opened by the child: 1",
        "opened by the parent: 1",
    ]
    assert senders(service) == [
        "parent before",
        "child",
        "child again",
        "parent after",
    ]
    before, child, again, after = (call.peer for call in service.calls)
    assert before == after
    assert child == again != before


def test_children_forked_before_any_client_have_one_each(
    script, service: Service
) -> None:
    script(FORKS_FIRST)

    assert sorted(senders(service)) == ["child 0", "child 1", "parent"]
    assert len({call.peer for call in service.calls}) == 3


def test_the_client_is_closed_when_the_process_ends(script, service: Service) -> None:
    assert script(COUNTS + ENDS) == "Cannot invoke RPC on closed channel!"
    assert len(service.stored) == 1


def test_a_process_that_never_reached_google_ends_all_the_same(script) -> None:
    assert script(FAILS, address="127.0.0.1:1") == "ServiceUnavailable"


def test_a_green_thread_of_gevent_stops_no_other_one(script, service: Service) -> None:
    # Nobody is answered until two calls are under way.
    service.answers(*[Meet(threading.Barrier(2))] * 4)

    script(WAITS_TOGETHER, first=GREEN)
    assert sorted(senders(service)) == ["child 0"] * 2 + ["child 1"] * 2
