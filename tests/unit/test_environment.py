from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest

from cloudtask.conf import environment
from cloudtask.exceptions import MetadataUnavailable
from tests.fresh import run_fresh
from tests.unit.metadata import Answer, MetadataServer

PROJECT = "project/project-id"
NUMBER = "project/numeric-project-id"
REGION = "instance/region"
ZONE = "instance/zone"
EMAIL = "instance/service-accounts/default/email"

#: As Cloud Run's metadata server answers.
CLOUD_RUN = {
    PROJECT: "shop",
    NUMBER: "123456789012",
    REGION: "projects/123456789012/regions/europe-west1",
    # No real zone, as captured.
    ZONE: "projects/123456789012/zones/europe-west1-1",
    EMAIL: "tasks@shop.iam.gserviceaccount.com",
}

#: Whatever the machine that runs the tests may have set.
PLACE_VARIABLES = (
    "CLOUD_RUN_JOB",
    "CLOUD_RUN_WORKER_POOL",
    "GAE_APPLICATION",
    "GCE_METADATA_HOST",
    "GCE_METADATA_IP",
    "GOOGLE_CLOUD_PROJECT",
    "K_REVISION",
    "K_SERVICE",
)

Serve = Callable[..., MetadataServer]


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may ask, and that no variable places."""
    monkeypatch.delenv("NO_GCE_CHECK")
    for name in PLACE_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start metadata servers. The last one is this process's."""
    servers = []

    def start(keys: dict[str, str] | None = None) -> MetadataServer:
        server = MetadataServer(keys)
        server.start()
        servers.append(server)
        monkeypatch.setenv("GCE_METADATA_HOST", server.address)
        return server

    yield start
    for server in servers:
        server.stop()


# What is asked


def test_cloud_run_tells_everything(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(CLOUD_RUN)
    monkeypatch.setenv("K_SERVICE", "web")
    monkeypatch.setenv("K_REVISION", "web-00042-abc")  # Changes with each.

    assert environment.find_project() == "shop"
    assert environment.find_location() == "europe-west1"
    assert environment.find_service_account() == "tasks@shop.iam.gserviceaccount.com"
    assert environment.find_origin() == "https://web-123456789012.europe-west1.run.app"
    assert environment.is_google()


def test_compute_engine_tells_its_zone(serve: Serve) -> None:
    server = serve(
        {PROJECT: "shop", ZONE: "projects/123/zones/us-central1-b", EMAIL: "a@b.c"}
    )

    assert environment.find_project() == "shop"
    assert environment.find_location() == "us-central1"
    assert environment.find_service_account() == "a@b.c"
    assert environment.find_origin() is None
    assert server.asked == [PROJECT, REGION, ZONE, EMAIL]


@pytest.mark.parametrize(
    ("zone", "region"),
    [
        ("projects/1/zones/europe-west1-1", "europe-west1"),  # Cloud Run's.
        ("projects/1/zones/northamerica-northeast2-c", "northamerica-northeast2"),
        ("projects/1/zones/us-central1-ai1a", "us-central1"),
        ("us-central1-a", "us-central1"),
        ("projects/1/zones/us16", None),  # App Engine's, which is no zone.
        ("projects/1/zones/europe-west1", None),
    ],
)
def test_a_zone_lies_in_a_region(serve: Serve, zone: str, region: str | None) -> None:
    serve({ZONE: zone})

    assert environment.find_location() == region


def test_the_region_goes_before_the_zone(serve: Serve) -> None:
    server = serve({REGION: "projects/1/regions/asia-east1", ZONE: "x/us-central1-a"})

    assert environment.find_location() == "asia-east1"
    assert server.asked == [REGION]


@pytest.mark.parametrize(
    ("variables", "project"),
    [
        ({"GOOGLE_CLOUD_PROJECT": "shop"}, "shop"),
        ({"GAE_APPLICATION": "e~shop"}, "shop"),
        ({"GAE_APPLICATION": "s~example.com:shop"}, "example.com:shop"),
        ({"GAE_APPLICATION": "shop"}, "shop"),
        ({"GOOGLE_CLOUD_PROJECT": "shop", "GAE_APPLICATION": "e~other"}, "shop"),
    ],
)
def test_the_environment_tells_the_project_first(
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    project: str,
) -> None:
    server = serve({PROJECT: "another"})
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert environment.find_project() == project
    assert server.asked == []


@pytest.mark.parametrize(
    ("variable", "is_google"),
    [
        ("K_SERVICE", True),
        ("CLOUD_RUN_JOB", True),
        ("CLOUD_RUN_WORKER_POOL", True),
        ("GAE_APPLICATION", True),
        ("GOOGLE_CLOUD_PROJECT", False),  # Set on many desks.
        (None, False),
    ],
)
def test_the_environment_alone_tells_the_place(
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    variable: str | None,
    is_google: bool,
) -> None:
    server = serve(CLOUD_RUN)
    if variable:
        monkeypatch.setenv(variable, "x")

    assert environment.is_google() is is_google
    assert server.asked == []


# The URL of a service


@pytest.mark.parametrize(
    ("service", "origin"),
    [
        ("s" * 50, f"https://{'s' * 50}-123456789012.europe-west1.run.app"),
        ("s" * 51, None),  # 64 characters make no label of a host name.
    ],
)
def test_only_a_short_name_makes_an_origin(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, service: str, origin: str | None
) -> None:
    serve(CLOUD_RUN)
    monkeypatch.setenv("K_SERVICE", service)

    assert environment.find_origin() == origin


@pytest.mark.parametrize("missing", [{NUMBER}, {REGION, ZONE}])
def test_an_origin_needs_the_projects_number_and_the_region(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, missing: set[str]
) -> None:
    serve({key: text for key, text in CLOUD_RUN.items() if key not in missing})
    monkeypatch.setenv("K_SERVICE", "web")

    assert environment.find_origin() is None


@pytest.mark.parametrize("variable", ["CLOUD_RUN_JOB", "GAE_APPLICATION", "K_REVISION"])
def test_only_a_service_has_an_origin(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    server = serve(CLOUD_RUN)
    monkeypatch.setenv(variable, "web")

    assert environment.find_origin() is None
    assert server.asked == []


# How often, and how long


def test_each_key_is_asked_for_once(serve: Serve) -> None:
    server = serve({PROJECT: "shop"})

    assert [environment.find_project() for _ in range(3)] == ["shop"] * 3
    assert [environment.find_service_account() for _ in range(3)] == [None] * 3
    assert server.asked == [PROJECT, EMAIL]


def test_threads_that_ask_at_once_share_an_answer(serve: Serve) -> None:
    server = serve({PROJECT: "shop"})
    barrier = threading.Barrier(8)
    answers: list[str | None] = []

    def ask() -> None:
        barrier.wait(10)
        answers.append(environment.find_project())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == ["shop"] * 8
    assert server.asked == [PROJECT]


def test_answers_are_forgotten_on_demand(serve: Serve) -> None:
    serve({PROJECT: "shop"})
    assert environment.find_project() == "shop"
    environment.reset()
    serve({PROJECT: "news"})

    assert environment.find_project() == "news"


# Where there is none

#: What is no metadata server's.
STRANGE = [
    Answer("shop", headers={}),  # A captive portal's.
    Answer("shop", headers={"Metadata-Flavor": "Other"}),
    Answer("no token", status=401, headers={}),  # Another cloud's.
    Answer(raw=b"220 mail.example ESMTP\r\n"),
    Answer(raw=b""),  # Closes at once.
    Answer(raw=b"HTTP/1.1 2"),
    Answer(raw=b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"),
    Answer(raw=b"\x00\xff" * 40_000),
]
#: What a metadata server says while it cannot tell.
BUSY = [
    Answer("try again", status=429),
    Answer("try again", status=500),
    Answer("try again", status=503),
    Answer("forbidden", status=403),
    Answer("elsewhere", status=302),  # Is not followed.
    Answer(""),
    Answer(" \n"),
    Answer(
        "tasks@sh", headers={"Metadata-Flavor": "Google", "Content-Length": "30"}
    ),  # The connection is lost meanwhile.
]


@pytest.fixture
def place(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., MetadataServer]:
    """A machine with a server at the metadata server's own address."""

    def make(product: str | None = "ThinkPad") -> MetadataServer:
        server = serve(CLOUD_RUN)
        # The one address that no test can listen on.
        monkeypatch.setattr(environment, "_ADDRESS", server.address)
        monkeypatch.delenv("GCE_METADATA_HOST")
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        name = tmp_path / "product_name"
        if product is not None:
            name.write_text(f"{product}\n")
        monkeypatch.setattr(environment, "_PRODUCT_NAME", name)
        return server

    return make


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Have seconds pass."""
    ahead = [0.0]
    monkeypatch.setattr(environment, "monotonic", lambda: monotonic() + ahead[0])

    def wait(seconds: float) -> None:
        ahead[0] += seconds

    return wait


@pytest.mark.parametrize("product", ["ThinkPad", "HVM domU", "", None])
@pytest.mark.parametrize("answer", STRANGE)
def test_what_is_no_metadata_server_is_asked_only_once(
    place: Callable[..., MetadataServer], answer: Answer, product: str | None
) -> None:
    server = place(product)
    server.answer = lambda key: answer

    assert environment.find_project() is None
    assert environment.find_service_account() is None
    assert environment.find_location() is None
    assert server.asked == [PROJECT]


def test_where_nothing_listens_is_found_out_once(
    place: Callable[..., MetadataServer],
) -> None:
    server = place()
    server.stop()

    assert environment.find_project() is None
    assert environment.find_service_account() is None


def test_a_hanging_server_costs_a_desk_a_second_in_all(
    place: Callable[..., MetadataServer],
) -> None:
    server = place()
    server.answer = lambda key: Answer(hang=True)
    started = monotonic()

    assert environment.find_project() is None
    assert environment.find_location() is None
    assert environment.find_service_account() is None

    # A busy machine may take longer; three answers of a second each would be
    # over three.
    assert 0.9 <= monotonic() - started < 2.9
    assert server.asked == [PROJECT]


# Where there may be one


@pytest.mark.parametrize(
    ("product", "variable"),
    [
        ("Google Compute Engine", None),  # Compute Engine and GKE.
        ("Google", None),
        ("ThinkPad", "K_SERVICE"),
        ("ThinkPad", "CLOUD_RUN_JOB"),
        ("ThinkPad", "GAE_APPLICATION"),
        (None, "CLOUD_RUN_WORKER_POOL"),
        (None, "KUBERNETES_SERVICE_HOST"),  # A sandbox of GKE.
    ],
)
@pytest.mark.parametrize("answer", [*STRANGE[:1], *STRANGE[4:5], Answer(hang=True)])
def test_an_answer_that_is_lost_on_google_cloud_is_asked_for_again(
    place: Callable[..., MetadataServer],
    later: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
    product: str | None,
    variable: str | None,
    answer: Answer,
) -> None:
    server = place(product)
    server.answer = lambda key: answer
    monkeypatch.setattr(environment, "_ANSWER_SECONDS", 0.05 if answer.hang else 5.0)
    if variable:
        monkeypatch.setenv(variable, "x")

    with pytest.raises(MetadataUnavailable):
        environment.find_service_account()
    server.answer = lambda key: Answer("a@b.c")
    monkeypatch.setattr(environment, "_ANSWER_SECONDS", 5.0)
    later(3)

    assert environment.find_service_account() == "a@b.c"
    assert environment.find_service_account() == "a@b.c"
    assert server.asked == [EMAIL, EMAIL]


def test_in_kubernetes_a_machine_of_others_is_known_by_its_name(
    place: Callable[..., MetadataServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = place("PowerEdge R740")
    server.stop()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")

    assert environment.find_service_account() is None


def test_a_server_that_has_answered_is_there(
    place: Callable[..., MetadataServer],
) -> None:
    server = place()
    assert environment.find_project() == "shop"
    server.stop()

    with pytest.raises(MetadataUnavailable):
        environment.find_service_account()
    assert environment.find_project() == "shop"


@pytest.mark.parametrize("answer", BUSY)
def test_a_server_that_cannot_tell_is_asked_again_anywhere(
    place: Callable[..., MetadataServer],
    later: Callable[[float], None],
    answer: Answer,
) -> None:
    # Remembered, it would leave the process without a service account for
    # life.
    server = place()
    server.answer = lambda key: answer

    with pytest.raises(MetadataUnavailable):
        environment.find_service_account()
    server.answer = lambda key: Answer("a@b.c")
    later(3)

    assert environment.find_service_account() == "a@b.c"
    assert server.asked == [EMAIL, EMAIL]


@pytest.mark.parametrize("answer", [*STRANGE, *BUSY])
def test_whoever_is_named_is_never_absent(serve: Serve, answer: Answer) -> None:
    server = serve()
    server.answer = lambda key: answer

    with pytest.raises(MetadataUnavailable) as caught:
        environment.find_project()

    message = str(caught.value)
    assert message.startswith(f"the metadata server at {server.address} is of no help:")
    assert len(message) < 200


def test_a_server_that_knows_no_such_thing_is_asked_for_the_next(serve: Serve) -> None:
    server = serve({EMAIL: "a@b.c"})

    assert environment.find_project() is None
    assert environment.find_project() is None
    assert environment.find_service_account() == "a@b.c"
    assert server.asked == [PROJECT, EMAIL]


# Many at once


def ask_together(count: int) -> list[object]:
    """What so many threads are told that ask at the same moment."""
    barrier = threading.Barrier(count)
    told: list[object] = []

    def ask() -> None:
        barrier.wait(10)
        try:
            told.append(environment.find_project())
        except MetadataUnavailable as error:
            told.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told


def test_threads_wait_for_one_answer_together(serve: Serve) -> None:
    server = serve()
    server.answer = lambda key: Answer(hang=True)
    started = monotonic()
    told = ask_together(16)

    assert monotonic() - started < 2.9
    assert len(told) == 16
    assert len(set(told)) == 1
    assert str(told[0]).endswith("is of no help: it took longer than 1 s.")
    # One that came late may have asked once more, had there been no pause.
    assert server.asked == [PROJECT]


def test_after_a_failure_there_is_a_pause(
    serve: Serve, later: Callable[[float], None]
) -> None:
    server = serve()
    server.answer = lambda key: Answer("try again", status=503)
    for _ in range(50):
        for ask in (environment.find_project, environment.find_service_account):
            with pytest.raises(MetadataUnavailable, match="status 503"):
                ask()
    assert server.asked == [PROJECT]

    later(1)
    with pytest.raises(MetadataUnavailable):
        environment.find_project()
    assert server.asked == [PROJECT]

    later(2)
    with pytest.raises(MetadataUnavailable):
        environment.find_project()
    assert server.asked == [PROJECT, PROJECT]


def test_what_is_known_is_told_in_a_pause(serve: Serve) -> None:
    server = serve({PROJECT: "shop"})
    assert environment.find_project() == "shop"
    server.answer = lambda key: Answer("try again", status=503)

    with pytest.raises(MetadataUnavailable):
        environment.find_service_account()
    assert environment.find_project() == "shop"


def test_an_answer_that_comes_late_is_not_lost(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "_ANSWER_SECONDS", 0.05)
    gate = threading.Event()
    server = serve()

    def answer(key: str) -> Answer:
        gate.wait(10)
        return Answer("shop")

    server.answer = answer
    with pytest.raises(MetadataUnavailable):
        environment.find_project()
    gate.set()
    for thread in threading.enumerate():
        if thread.name == "cloudtask-metadata":
            thread.join(10)

    assert environment.find_project() == "shop"
    assert server.asked == [PROJECT]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("shop\n", "shop"),
        ("x" * 5000, "x" * 4096),  # No more than that is read.
        (b"sh\xffop", "sh\ufffdop"),
    ],
)
def test_an_answer_is_text_of_bounded_length(
    serve: Serve, text: str | bytes, read: str
) -> None:
    server = serve()
    server.answer = lambda key: Answer(text)

    assert environment.find_project() == read


@pytest.mark.parametrize("value", ["true", "TRUE", "True"])
def test_nobody_is_asked_when_the_environment_says_so(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    server = serve(CLOUD_RUN)
    monkeypatch.setenv("NO_GCE_CHECK", value)

    assert environment.find_project() is None
    assert server.asked == []


def test_an_address_may_be_given_as_googles_libraries_take_it(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve({PROJECT: "shop"})
    monkeypatch.delenv("GCE_METADATA_HOST")
    monkeypatch.setenv("GCE_METADATA_IP", server.address)

    assert environment.find_project() == "shop"


@pytest.mark.parametrize("host", ["127.0.0.1:port", "a..b", "[::1"])
def test_an_address_that_is_none_is_told(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", host)

    with pytest.raises(MetadataUnavailable, match="is of no help"):
        environment.find_project()


def test_without_a_variable_the_link_local_address_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def refuse(address: tuple[str, int], *args: object, **kwargs: object) -> None:
        asked.append(address)
        raise ConnectionRefusedError

    # The one address that no test can listen on.
    monkeypatch.setattr(environment, "_may_be_google", lambda: False)
    monkeypatch.setattr(socket, "create_connection", refuse)

    assert environment.find_project() is None
    assert asked == [("169.254.169.254", 80)]


START = """
import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["cloudtask"], ROOT_URLCONF="tests.urls", CLOUDTASK={}
)
django.setup()

import tests.tasks
from cloudtask import conf, transports, urls, views
from django.core import checks

checks.run_checks(include_deployment_checks=True)
print(tests.tasks.add(1, 2).execute())
"""


def test_nothing_is_asked_at_import_or_start(serve: Serve) -> None:
    server = serve(CLOUD_RUN)

    assert run_fresh(START) == 3
    assert server.asked == []
