"""The gRPC server, with the health service that container platforms ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from cloudtask.emulator.serving.addresses import check_free, join_address

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AsyncExitStack

_CHANNEL_OPTIONS = (
    # Two emulators on one port would share the calls between them.
    ("grpc.so_reuseport", 0),
    # A batch of 100 tasks of 1 MiB; more than any client sends.
    ("grpc.max_receive_message_length", 110 * 1024 * 1024),
    # Clients may ping as often as they like.
    ("grpc.http2.max_ping_strikes", 0),
)


async def start_grpc(
    handlers: Mapping[str, grpc.GenericRpcHandler[Any, Any]],
    host: str,
    port: int,
    *,
    grace_seconds: float,
    stack: AsyncExitStack,
) -> int:
    """
    Serve until the stack is closed, and return the port.

    Args:
        handlers: What is served, by the names of the services.
        host: The address to listen on.
        port: The port; 0 takes a free one.
        grace_seconds: How long calls get to finish in the end.
        stack: Stops the server.

    Raises:
        OSError: The address cannot be listened on.
    """
    check_free(host, port)
    server = grpc.aio.server(options=_CHANNEL_OPTIONS)
    server.add_generic_rpc_handlers(tuple(handlers.values()))
    servicer = cast("Any", health).aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    taken = _listen(server, join_address(host, port))
    stack.push_async_callback(server.stop, grace_seconds)
    await server.start()
    for service in ("", *handlers):
        await servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
    stack.push_async_callback(servicer.enter_graceful_shutdown)
    return taken


def _listen(server: grpc.aio.Server, address: str) -> int:
    try:
        return server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: {error}") from error
