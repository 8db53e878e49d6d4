"""A proxy in the environment, and an emulator that is not behind it."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.test import override_settings

from tests.live import live
from tests.tasks import add, ran

#: Nothing listens there.
PROXY = "http://127.0.0.1:1"
NAMES = ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy")


@pytest.fixture(params=[*NAMES, "grpc's own"])
def _proxy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    if request.param in NAMES:
        monkeypatch.setenv(request.param, PROXY)
        monkeypatch.setenv(request.param.upper(), PROXY)
        return
    monkeypatch.setenv("GRPC_ADDRESS_HTTP_PROXY", "127.0.0.1:1")
    monkeypatch.setenv("GRPC_ADDRESS_HTTP_PROXY_ENABLED_ADDRESSES", "127.0.0.0/8")


@pytest.mark.usefixtures("_proxy")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_tasks_go_to_the_emulator_and_back(host: str) -> None:
    with live() as project:
        address = project.emulator.host.replace("127.0.0.1", host)
        changed = {**settings.CLOUDTASK, "EMULATOR_HOST": address}
        with override_settings(CLOUDTASK=changed):
            add(1, 2).delay()
            project.finish()
    assert ran == [("add", 1, 2)]
