import http.client
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from cloudtask.emulator import Emulator
from cloudtask.emulator.tokens import DEFAULT_ISSUER
from cloudtask.emulator.web import is_loopback


def get(emulator: Emulator, path: str, **headers: str) -> tuple[int, Any, Any]:
    connection = http.client.HTTPConnection(urlsplit(emulator.http_url).netloc)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def test_discovery_leads_to_the_keys(emulator: Emulator) -> None:
    status, headers, body = get(emulator, "/.well-known/openid-configuration")

    configuration = json.loads(body)
    assert status == 200
    assert headers["Cache-Control"] == "public, max-age=3600"
    assert configuration["issuer"] == DEFAULT_ISSUER
    assert configuration["jwks_uri"] == f"{emulator.http_url}/jwks"
    assert configuration["id_token_signing_alg_values_supported"] == ["RS256"]


@pytest.mark.parametrize("path", ["/jwks", "/certs"])
def test_keys_are_published_and_may_be_cached(emulator: Emulator, path: str) -> None:
    status, headers, body = get(emulator, path)

    assert status == 200
    assert headers["Content-Type"].startswith("application/json")
    assert headers["Cache-Control"] == "public, max-age=3600"
    assert json.loads(body)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:9"}, 200),
        ({"Host": "emulator.localhost"}, 200),
        ({"Host": "[::1]:9"}, 200),
        ({"Host": "tasks"}, 200),  # Allowed by name.
        ({"Host": "evil.example"}, 403),  # DNS rebinding.
        ({"Host": "10.0.0.1"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "http://localhost:8000"}, 403),  # A web page.
        ({"Origin": "null"}, 403),
    ],
)
def test_foreign_requests_are_refused(
    start: Callable[..., Emulator], headers: dict[str, str], status: int
) -> None:
    emulator = start(allowed_hosts=("tasks",))

    assert get(emulator, "/.well-known/openid-configuration", **headers)[0] == status
    assert get(emulator, "/nothing", **headers)[0] == (404 if status == 200 else 403)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104
        ("example.com", False),
    ],
)
def test_loopback_is_a_name_or_an_address(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
