"""The client for Google itself: whose credentials, and over what channel."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google.auth
import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import compute_engine
from google.auth.credentials import AnonymousCredentials, Credentials

from cloudtask.conf import Settings
from cloudtask.exceptions import ConfigurationError
from cloudtask.transports.google import GoogleTransport
from cloudtask.transports.google import channel as google_channel
from cloudtask.transports.google import credentials as google_credentials
from cloudtask.transports.google.channel import OPTIONS, Link
from cloudtask.wire.outgoing import OutgoingTask
from tests.leaks import values_in

EMAIL = "enqueue@project.iam.gserviceaccount.com"


@pytest.fixture(scope="module")
def account() -> dict[str, str]:
    """A service account file, as `gcloud iam service-accounts keys` writes."""
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return {
        "type": "service_account",
        "project_id": "project",
        "private_key_id": "1",
        "private_key": key.decode(),
        "client_email": EMAIL,
        "token_uri": "https://oauth2.googleapis.com/token",
    }


@pytest.fixture
def account_file(account: dict[str, str], tmp_path: Path) -> Path:
    path = tmp_path / "account.json"
    path.write_text(json.dumps(account))
    return path


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which nobody is logged in."""
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Kind, target and options of the channels that were opened."""
    channels: list[Any] = []

    def recording(kind: str) -> Callable[..., grpc.Channel]:
        open_channel = getattr(grpc, f"{kind}_channel")

        def open_and_record(target: str, *args: Any) -> grpc.Channel:
            channels.append((kind, target, args[-1]))
            channel: grpc.Channel = open_channel(target, *args)
            return channel

        return open_and_record

    for kind in ("secure", "insecure"):
        monkeypatch.setattr(grpc, f"{kind}_channel", recording(kind))
    return channels


def credentials_of(settings: Settings) -> Any:
    """Whose credentials a client of these settings uses."""
    return google_credentials.load(settings)


def test_a_path_names_a_service_account_file(account_file: Path) -> None:
    for path in (account_file, str(account_file)):
        credentials = credentials_of(Settings(credentials=path))
        assert credentials.service_account_email == EMAIL
        assert credentials.scopes == ("https://www.googleapis.com/auth/cloud-platform",)


def test_a_dictionary_is_the_content_of_such_a_file(account: dict[str, str]) -> None:
    credentials = credentials_of(Settings(credentials=account))

    assert credentials.service_account_email == EMAIL
    assert credentials.scopes == ("https://www.googleapis.com/auth/cloud-platform",)


def test_credentials_are_used_as_they_are() -> None:
    given = AnonymousCredentials()

    assert credentials_of(Settings(credentials=given)) is given


def test_without_any_the_environments_are_used(
    monkeypatch: pytest.MonkeyPatch, account_file: Path
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account_file))

    assert credentials_of(Settings()).service_account_email == EMAIL


HINT = (
    ". Set it to the path of a service account's key file, to the content of such a "
    "file as a dictionary, or to credentials of google-auth; or leave it out, and "
    "run `gcloud auth application-default login`."
)
HOLDS_NONE = "they do not hold credentials of Google ("
NO_FILE = "it is not the path of a file that can be read ("


@pytest.mark.parametrize(
    ("credentials", "problem"),
    [
        # Nothing set, and nobody logged in.
        (None, "it is not set, and this place has no credentials"),
        # No such file; what looks like a path may be a part of a key.
        ("/nonexistent/canary.json", f"{NO_FILE}No such file or directory)"),
        (Path("/nonexistent/canary.json"), f"{NO_FILE}No such file or directory)"),
        ("/", f"{NO_FILE}Is a directory)"),
        # A dictionary that holds no credentials.
        ({}, HOLDS_NONE),
        ({"type": "service_account", "private_key": "canary"}, HOLDS_NONE),
        ({"type": "canary"}, HOLDS_NONE),
        # What is no path: the content of a file, or of its key.
        ('{"type": "service_account", "private_key": "canary"}', NO_FILE),
        ("-----BEGIN PRIVATE KEY-----\ncanary\n", NO_FILE),
        ("Y2FuYXJ5 canary" * 400, NO_FILE),
        ("canary\0", f"{NO_FILE}ValueError)"),
        # Anything else.
        (b"canary", "a bytes is neither a path nor credentials"),
        (["canary"], "a list is neither a path nor credentials"),
    ],
)
def test_what_gives_no_credentials_is_a_wrong_setting(
    credentials: Any, problem: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        google_credentials.load(Settings(credentials=credentials))
    text = str(caught.value)
    start = f"CLOUDTASK['CREDENTIALS']: no client can be made: {problem}"
    assert text.startswith(start)
    assert text.endswith(HINT)
    assert "canary" not in "".join(values_in(caught.value))


def test_a_variable_that_names_no_file_is_told_and_not_quoted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", '{"private_key": "canary"}')

    with pytest.raises(ConfigurationError) as caught:
        google_credentials.load(Settings())
    assert "GOOGLE_APPLICATION_CREDENTIALS does not name a" in str(caught.value)
    assert "canary" not in "".join(values_in(caught.value))


def test_on_google_cloud_credentials_that_are_not_found_now_are_found_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("K_SERVICE", "shop")

    found = google_credentials.load(Settings())
    assert isinstance(found, compute_engine.Credentials)


@pytest.mark.parametrize("content", ["", "canary", "[]", '{"type": "canary"}'])
def test_a_file_without_credentials_is_a_wrong_setting(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "account.json"
    path.write_text(content)

    with pytest.raises(ConfigurationError) as caught:
        google_credentials.load(Settings(credentials=path))
    assert str(caught.value).startswith("CLOUDTASK['CREDENTIALS']: ")
    assert "canary" not in "".join(values_in(caught.value))


def test_what_is_wrong_with_them_for_googles_client_is_told(
    account: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "")

    with pytest.raises(ConfigurationError) as caught:
        link(credentials=account).connect()
    assert "EmptyUniverseError: Universe Domain cannot be an empty string. Set" in str(
        caught.value
    )


def link(**settings: Any) -> Link:
    return Link(Settings(**settings))


def test_google_is_called_over_a_secure_channel(
    opened: list[Any], account: dict[str, str]
) -> None:
    google = link(credentials=account)
    google.connect()
    google.close()

    [(kind, target, options)] = opened
    assert (kind, target) == ("secure", "cloudtasks.googleapis.com:443")
    assert set(OPTIONS) < set(options)
    # Google may be behind a proxy.
    assert "grpc.enable_http_proxy" not in dict(options)


def test_credentials_are_read_once_for_all_connections(
    opened: list[Any], account_file: Path
) -> None:
    google = link(credentials=account_file)
    google.connect()
    account_file.unlink()
    google.close()
    google.connect()
    google.close()
    assert len(opened) == 2


def test_certificates_of_clients_are_used(
    opened: list[Any], account: dict[str, str]
) -> None:
    plugin = google_credentials.Plugin(Settings(credentials=account))
    google_channel._make_secure_channel(
        google_channel.CLOUD_TASKS,
        plugin,
        "cloudtasks.mtls.googleapis.com:443",
        credentials=plugin.credentials,
        ssl_credentials=grpc.ssl_channel_credentials(),
        options=[],
    ).close()

    [(kind, target, options)] = opened
    assert (kind, target) == ("secure", "cloudtasks.mtls.googleapis.com:443")
    assert set(options) == set(OPTIONS)


def test_only_the_emulator_is_called_over_an_insecure_one(
    opened: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> Credentials:
        raise AssertionError("An emulator needs no credentials.")

    monkeypatch.setattr(google.auth, "default", refuse)
    emulator = link(emulator_host="127.0.0.1:1")
    emulator.connect()
    emulator.close()

    [(kind, target, options)] = opened
    assert (kind, target) == ("insecure", "127.0.0.1:1")
    assert set(OPTIONS) < set(options)
    assert dict(options)["grpc.enable_http_proxy"] == 0


def test_the_emulator_of_the_environment_is_refused_in_production(
    opened: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUD_TASKS_EMULATOR_HOST", "127.0.0.1:1")

    with pytest.raises(ConfigurationError, match=r"^CLOUDTASK\['EMULATOR_HOST'\]: "):
        link().connect()
    assert opened == []


def test_credentials_are_read_on_first_use(
    outgoing: Callable[..., OutgoingTask],
) -> None:
    transport = GoogleTransport(Settings(credentials="/nonexistent/account.json"))

    with pytest.raises(ConfigurationError, match=r"^CLOUDTASK\['CREDENTIALS'\]: "):
        transport.send(outgoing())
    transport.close()
