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
from google.auth.credentials import AnonymousCredentials, Credentials

from cloudtask.conf import Settings
from cloudtask.exceptions import ConfigurationError
from cloudtask.transports import google as google_transport
from cloudtask.transports.base import OutgoingTask
from cloudtask.transports.google import GoogleTransport

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
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which kinds of channels were opened."""
    kinds: list[str] = []

    def counting(kind: str) -> Callable[..., grpc.Channel]:
        open_channel = getattr(grpc, f"{kind}_channel")

        def open_and_count(*args: Any, **kwargs: Any) -> grpc.Channel:
            kinds.append(kind)
            channel: grpc.Channel = open_channel(*args, **kwargs)
            return channel

        return open_and_count

    for kind in ("secure", "insecure"):
        monkeypatch.setattr(grpc, f"{kind}_channel", counting(kind))
    return kinds


def credentials_of(settings: Settings) -> Any:
    """Whose credentials a client of these settings uses."""
    client = google_transport._make_client(settings)
    try:
        return client.transport._credentials
    finally:
        client.transport.close()


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
    "Set it to a service account file, or run `gcloud auth application-default login`."
)


@pytest.mark.parametrize(
    "credentials",
    [
        # Nothing set, and nobody logged in.
        None,
        # No such file.
        "/nonexistent/account.json",
        # A file or a dictionary that holds no credentials.
        {},
        {"type": "service_account"},
        {"type": "unheard_of"},
        # Anything else; it may be a secret, and is not shown.
        b"a canary",
    ],
)
def test_what_gives_no_credentials_is_a_wrong_setting(credentials: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        google_transport._make_client(Settings(credentials=credentials))
    text = str(caught.value)
    assert text.startswith("CLOUDTASK['CREDENTIALS']: no client can be made: ")
    assert text.endswith(HINT)
    assert "canary" not in text
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("content", ["", "no JSON", "[]", '{"type": 5}'])
def test_a_file_without_credentials_is_a_wrong_setting(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "account.json"
    path.write_text(content)

    with pytest.raises(ConfigurationError, match=r"^CLOUDTASK\['CREDENTIALS'\]: "):
        google_transport._make_client(Settings(credentials=path))


def test_a_wrong_setting_never_shows_a_private_key(account: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        google_transport._make_client(
            Settings(credentials={**account, "private_key": "a canary"})
        )
    assert "canary" not in str(caught.value)


def test_google_is_called_over_a_secure_channel(
    opened: list[str], account: dict[str, str]
) -> None:
    client = google_transport._make_client(Settings(credentials=account))
    client.transport.close()

    assert opened == ["secure"]
    assert client.api_endpoint == "cloudtasks.googleapis.com"


def test_only_the_emulator_is_called_over_an_insecure_one(
    opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> Credentials:
        raise AssertionError("An emulator needs no credentials.")

    monkeypatch.setattr(google.auth, "default", refuse)
    client = google_transport._make_client(Settings(emulator_host="127.0.0.1:1"))
    client.transport.close()

    assert opened == ["insecure"]


def test_the_emulator_of_the_environment_is_refused_in_production(
    opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUD_TASKS_EMULATOR_HOST", "127.0.0.1:1")

    with pytest.raises(ConfigurationError, match=r"^CLOUDTASK\['EMULATOR_HOST'\]: "):
        google_transport._make_client(Settings())
    assert opened == []


def test_credentials_are_read_on_first_use(
    outgoing: Callable[..., OutgoingTask],
) -> None:
    transport = GoogleTransport(Settings(credentials="/nonexistent/account.json"))

    with pytest.raises(ConfigurationError, match=r"^CLOUDTASK\['CREDENTIALS'\]: "):
        transport.send(outgoing())
    transport.close()
