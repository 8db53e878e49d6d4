"""
The connection to a service of Google's, which is replaced when it dies.

A connection can die without a word: packets vanish, and TCP goes on for a
quarter of an hour. Nothing but a call that is not answered tells.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from dataclasses import dataclass
from functools import cache, partial
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import grpc
from google.cloud.tasks_v2 import CloudTasksClient
from google.cloud.tasks_v2.services.cloud_tasks.transports import (
    CloudTasksGrpcTransport,
)

from cloudtask.dispatch.workers import GREEN_THREADS_STOP, green_threads
from cloudtask.transports.google.credentials import Plugin, make_client_error
from cloudtask.transports.google.messages import METHODS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cloudtask.conf import Settings

logger = logging.getLogger("cloudtask")

OPTIONS: tuple[tuple[str, int], ...] = (
    # A channel that replaces another one makes a connection of its own.
    ("grpc.use_local_subchannel_pool", 1),
    # As Google's library for Spanner. A server that minds says so, and gRPC
    # waits twice as long.
    ("grpc.keepalive_time_ms", 120_000),
    # Also how long Linux waits for what was sent to be confirmed.
    ("grpc.keepalive_timeout_ms", 10_000),
    # Idle connections are those that are dropped on the way.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Despite its name, the time for one attempt to connect.
    ("grpc.min_reconnect_backoff_ms", 5_000),
)
#: Whatever the environment says, an emulator is not behind a proxy.
EMULATOR_OPTIONS: tuple[tuple[str, int | str], ...] = (
    *OPTIONS,
    ("grpc.enable_http_proxy", 0),
    ("grpc.address_http_proxy_enabled_addresses", ""),
)

#: Codes of a call that was not answered.
_UNANSWERED = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
#: Seconds that a connection is given before it counts as dead.
_MIN_AGE = 1.0


@dataclass(frozen=True, slots=True)
class Api:
    """A service of Google's."""

    client: Any  # The class of its client, which knows where it is.
    transport: Any  # The class of that client's transport over gRPC.
    #: The service of each method that is called, its request and its answer.
    methods: Mapping[str, tuple[str, Any, Any]]


CLOUD_TASKS = Api(CloudTasksClient, CloudTasksGrpcTransport, METHODS)


class Connection:
    """
    A channel, in the process that made it.

    It is closed when nobody refers to it any more: the calls that are under
    way when it is replaced end as they would have.
    """

    def __init__(self, channel: grpc.Channel, api: Api) -> None:
        self.pid = os.getpid()
        self.made = monotonic()
        self.channel = channel
        self.methods = {
            method: channel.unary_unary(
                f"{service}/{method}",
                request_serializer=request.SerializeToString,
                response_deserializer=answer.FromString,
            )
            for method, (service, request, answer) in api.methods.items()
        }


class Link:
    """
    The one connection of a transport.

    It is made on first use, after a fork, and after a call that was not
    answered.

    Args:
        settings: CREDENTIALS and EMULATOR_HOST.
        api: What is called over it.
    """

    def __init__(self, settings: Settings, api: Api = CLOUD_TASKS) -> None:
        self._settings = settings
        self._api = api
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._plugin: Plugin | None = None
        #: Set while there is no connection to be had any more.
        self.closing = threading.Event()

    def connect(self) -> Connection:
        """
        Return the connection of this process.

        Raises:
            ConfigurationError: CREDENTIALS give none.
        """
        connection = self._connection
        if connection is not None and connection.pid == os.getpid():
            return connection
        with self._lock:
            if self._connection is None or self._connection.pid != os.getpid():
                self.closing.clear()
                self._connection = Connection(self._open(), self._api)
                atexit.register(self.close)
            return self._connection

    def explain(
        self, connection: Connection, error: grpc.RpcError
    ) -> tuple[grpc.StatusCode, str | None]:
        """
        Explain why a call failed, and replace a connection without answers.

        Args:
            connection: What it was made over.
            error: What came of it.
        """
        code, details = error.code(), error.details()
        if code not in _UNANSWERED:
            return code, details
        if self._plugin is not None and self._plugin.refusal is not None:
            # gRPC has but one code for all that goes wrong with credentials.
            return grpc.StatusCode.UNAUTHENTICATED, self._plugin.refusal
        with self._lock:
            # Of those who had this connection, the first one replaces it.
            is_old = monotonic() - connection.made >= _MIN_AGE
            if is_old and self._connection is connection:
                self._connection = None
        return code, details

    def close(self) -> None:
        """Close the connection, and cut short the waits of its calls."""
        self.closing.set()
        atexit.unregister(self.close)
        with self._lock:
            connection, self._connection = self._connection, None
        # What was made before a fork belongs to the parent.
        if connection is not None and connection.pid == os.getpid():
            connection.channel.close()

    def _open(self) -> grpc.Channel:
        _cooperate(os.getpid())
        emulator = self._settings.emulator()
        if emulator is not None:
            return grpc.insecure_channel(emulator, EMULATOR_OPTIONS)
        if self._plugin is None:
            self._plugin = Plugin(self._settings)
        try:
            return _make_googles_channel(self._api, self._plugin)
        except Exception as error:
            # These are parsed, and not quoted any more.
            problem = f"{type(error).__name__}: {error}".removesuffix(".")
        raise make_client_error(self._settings, problem)


def _make_googles_channel(api: Api, plugin: Plugin) -> grpc.Channel:
    """Make the channel that Google's client has for some credentials."""
    client = api.client(
        credentials=plugin.credentials,
        transport=partial(
            api.transport, channel=partial(_make_secure_channel, api, plugin)
        ),
    )
    return cast("grpc.Channel", client.transport.grpc_channel)


def _make_secure_channel(
    api: Api,
    plugin: Plugin,
    host: str,
    *,
    credentials: Any,
    ssl_credentials: grpc.ChannelCredentials | None,
    options: Sequence[tuple[str, Any]],
    **_: Any,
) -> grpc.Channel:
    # What the library would do itself, but for the options and the plugin.
    plugin.use(credentials, api.transport.DEFAULT_HOST)
    call = grpc.metadata_call_credentials(plugin)
    if ssl_credentials is None:
        make: Any = grpc.compute_engine_channel_credentials
        channel = make(call)
    else:
        channel = grpc.composite_channel_credentials(ssl_credentials, call)
    return grpc.secure_channel(host, channel, [*options, *OPTIONS])


@cache
def _cooperate(pid: int) -> None:
    """Have gRPC wait as a process does, before it makes its first channel."""
    kind = green_threads()
    if kind == "gevent":
        from grpc.experimental import gevent  # type: ignore[attr-defined]

        gevent.init_gevent()
    elif kind is not None:
        logger.warning(GREEN_THREADS_STOP, kind)
