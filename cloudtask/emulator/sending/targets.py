"""
Which targets are dispatched to: by default those of this machine or network.

A queue of a developer's machine is filled by code under test, with URLs that
may be production's.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver

if TYPE_CHECKING:
    from aiohttp.abc import ResolveResult


class PublicTarget(OSError):
    """The target is on the internet, and nobody allowed that."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"{host} is not on this machine or network. Allow such targets with "
            "--allow-public-targets."
        )


class LocalResolver(AbstractResolver):
    """Resolves names of this machine and its network, and no others."""

    def __init__(self) -> None:
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        results = await self._resolver.resolve(host, port, family)
        # Checked here and not before: these very addresses are connected to.
        if not all(is_local(result["host"]) for result in results):
            raise PublicTarget(host)
        return results

    async def close(self) -> None:
        await self._resolver.close()


def check_literal(host: str | None) -> None:
    """
    Check a target that is an address, which nobody resolves.

    Raises:
        PublicTarget: It is a public one.
    """
    try:
        local = is_local(host or "")
    except ValueError:
        return  # A name.
    if not local:
        raise PublicTarget(str(host))


def is_local(address: str) -> bool:
    """
    Whether an address is loopback or private.

    Link-local ones are not: clouds serve credentials there.

    Raises:
        ValueError: It is no address.
    """
    ip = ipaddress.ip_address(address)
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return ip.is_loopback or (ip.is_private and not ip.is_link_local)
