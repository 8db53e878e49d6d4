"""Credentials that will never work are told apart from those that wait."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import grpc
import pytest
from django.conf import settings as django_settings
from django.test import override_settings
from google.auth import exceptions
from google.auth.credentials import Credentials
from google.oauth2.credentials import Credentials as UserCredentials

from cloudtask.conf import GOOGLE_TRANSPORT, get_settings
from cloudtask.exceptions import EnqueueError, PermissionDenied, ServiceUnavailable
from cloudtask.transports import get_transport
from cloudtask.transports.base import QueueTransport
from cloudtask.transports.google import credentials as google_credentials
from cloudtask.wire.outgoing import OutgoingTask
from tests.unit.transports.service import Batches, Service

Outgoing = Callable[..., OutgoingTask]


class Endpoint:
    """A server of tokens, and what it answers."""

    def __init__(self) -> None:
        self.status, self.body = 200, ""
        self.asked = 0
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                endpoint.asked += 1
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(endpoint.status)
                self.end_headers()
                self.wfile.write(endpoint.body.encode())

            def log_message(self, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/token"

    def answers(self, status: int, body: Any) -> None:
        self.status = status
        self.body = body if isinstance(body, str) else json.dumps(body)

    @property
    def user(self) -> UserCredentials:
        """Somebody who has logged in, and whose tokens it gives."""
        return UserCredentials(
            None,
            refresh_token="canary",
            token_uri=self.url,
            client_id="id",
            client_secret="canary",
        )


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    thread = Thread(target=endpoint.server.serve_forever, args=(0.01,))
    thread.start()
    yield endpoint
    endpoint.server.shutdown()
    endpoint.server.server_close()
    thread.join()


@pytest.fixture
def batches() -> Batches:
    return Batches()


@pytest.fixture
def google(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Credentials], QueueTransport]]:
    """Return a function that has tasks sent to Google, which is here."""
    open_channel = grpc.secure_channel

    def redirected(target: str, *args: Any) -> grpc.Channel:
        assert target == "cloudtasks.googleapis.com:443"
        return open_channel(service.address, *args)

    def with_local(call: grpc.CallCredentials) -> grpc.ChannelCredentials:
        local = grpc.local_channel_credentials()
        return grpc.composite_channel_credentials(local, call)

    monkeypatch.setattr(grpc, "secure_channel", redirected)
    monkeypatch.setattr(grpc, "compute_engine_channel_credentials", with_local)
    with ExitStack() as stack:
        stack.callback(lambda: get_transport(get_settings()))

        def google(credentials: Credentials) -> QueueTransport:
            raw = {
                **django_settings.CLOUDTASK,
                "TRANSPORT": GOOGLE_TRANSPORT,
                "CREDENTIALS": credentials,
            }
            stack.enter_context(override_settings(CLOUDTASK=raw))
            return get_transport(get_settings())

        yield google


def error_of(call: Callable[[], Any]) -> EnqueueError:
    with pytest.raises(EnqueueError) as caught:
        call()
    return caught.value


INVALID = {"error": "invalid_grant", "error_description": "Account has been deleted"}


def test_an_account_that_was_deleted(
    google: Callable[[Credentials], QueueTransport],
    endpoint: Endpoint,
    outgoing: Outgoing,
) -> None:
    endpoint.answers(400, INVALID)
    transport = google(endpoint.user)

    for error in (
        error_of(lambda: transport.send(outgoing())),
        error_of(lambda: transport.send(outgoing(task_id="named"))),
        error_of(lambda: asyncio.run(transport.asend(outgoing()))),
        error_of(lambda: transport.has("projects/p/locations/l/queues/q/tasks/t")),
        *transport.send_many([outgoing(), outgoing()]),
    ):
        assert isinstance(error, PermissionDenied)
        assert not error.retryable
        assert str(error).endswith(
            "CLOUDTASK['CREDENTIALS']: these credentials do not work: RefreshError: "
            "invalid_grant: Account has been deleted. Trying again does not help."
        )
        assert "canary" not in str(error)
    # One for all calls of a batch.
    assert endpoint.asked == 5
    endpoint.answers(200, {"access_token": "t", "expires_in": 3600})
    assert transport.send(outgoing())


def test_a_server_of_tokens_that_is_away(
    google: Callable[[Credentials], QueueTransport],
    endpoint: Endpoint,
    outgoing: Outgoing,
) -> None:
    transport = google(endpoint.user)
    endpoint.answers(400, INVALID)
    assert not error_of(lambda: transport.send(outgoing())).retryable

    # What was refused before is forgotten. The library repeats what is 503.
    endpoint.answers(502, "<html>")
    error = error_of(lambda: transport.send(outgoing()))
    assert isinstance(error, ServiceUnavailable)
    assert "UNAVAILABLE: Getting metadata from plugin failed" in str(error)
    assert str(error).endswith("RefreshError: <html>")


class Own(Credentials):
    """Credentials of a project's own."""

    def refresh(self, request: object) -> None:
        raise KeyError("canary")


def test_credentials_of_a_projects_own_may_raise_anything(
    google: Callable[[Credentials], QueueTransport], outgoing: Outgoing
) -> None:
    transport = google(Own())
    error = error_of(lambda: transport.send(outgoing()))

    assert error.retryable
    assert str(error).endswith("failed with error: KeyError")


def refresh_error(*args: Any, cause: Exception | None = None, **kwargs: Any) -> Any:
    error = exceptions.RefreshError(*args, **kwargs)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "status", "is_refusal"),
    [
        # What servers of OAuth, of the IAM API and of STS say.
        (refresh_error("invalid_grant: gone", {"error": "invalid_grant"}), 400, True),
        (refresh_error("denied", '{"error": {"code": 403}}'), 403, True),
        (exceptions.OAuthError("no", '{"error": "invalid_client"}'), 401, True),
        (refresh_error("wait", {}, retryable=True), 400, False),
        (refresh_error("wait", '{"error": {"code": 503}}'), 503, False),
        (refresh_error("<html>"), 429, False),
        (refresh_error("not this token", {}), 200, False),
        (refresh_error("not this server"), 404, False),
        # Nobody was asked.
        (refresh_error("no refresh_token"), None, True),
        (exceptions.MalformedError("no key"), None, True),
        (ValueError("no key"), None, True),
        # Nobody answered: the endpoint, or the metadata server.
        (exceptions.TransportError("refused"), None, False),
        (exceptions.TimeoutError("late"), None, False),
        (refresh_error("x", cause=exceptions.TransportError("gone")), None, False),
        # Credentials of a project's own may raise anything.
        (KeyError("token"), None, False),
        (OSError("gone"), 403, False),
    ],
)
def test_only_what_is_known_to_stay_is_a_refusal(
    error: Exception, status: int | None, is_refusal: bool
) -> None:
    assert google_credentials.is_refusal(error, status) is is_refusal
