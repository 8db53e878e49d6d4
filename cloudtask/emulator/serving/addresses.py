"""Addresses that a server listens on."""

from __future__ import annotations

import socket


def join_address(host: str, port: int) -> str:
    """Return a host and a port as one text."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_free(host: str, port: int) -> None:
    """
    Raise OSError with a readable message if an address cannot be listened on.

    The servers' own messages are less clear, and gRPC logs by itself.
    """
    kind = socket.SOCK_STREAM
    try:
        for family, _, _, _, address in socket.getaddrinfo(
            host or None, port, type=kind, flags=socket.AI_PASSIVE
        ):
            with socket.socket(family, kind) as probe:
                # As the servers do: the address of one that has ended is free.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OSError(
            f"cannot listen on {join_address(host, port)}: {reason}"
        ) from error
