"""
Which targets may be sent to: by default those of this machine or network.

A queue on a developer's machine is filled by code under test, with URLs that
may be those of production. Servers of credentials are never sent to.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver

from cloudtask.emulator.targets import hosts

if TYPE_CHECKING:
    from aiohttp.abc import ResolveResult


class ForbiddenTarget(OSError):
    """A target that must not be sent to; the message says why."""


@dataclass(frozen=True, slots=True)
class TargetRules:
    """
    Which targets may be sent to.

    Args:
        allow_public: Whether those on the internet are, too.
    """

    allow_public: bool = False

    def check_host(self, host: str) -> None:
        """
        Check the host in a URL, before a resolver is asked.

        What looks like an address is checked as one: no resolver may be asked
        for it.

        Raises:
            ForbiddenTarget: It must not be sent to.
        """
        if hosts.is_metadata_name(host):
            raise _metadata(host)
        if hosts.is_address(host):
            self.check_address(host, host)

    def check_address(self, address: str, host: str) -> None:
        """
        Check an address that a host has.

        Raises:
            ForbiddenTarget: It must not be sent to.
        """
        try:
            is_metadata = hosts.is_metadata_address(address)
            is_allowed = self.allow_public or hosts.is_local_address(address)
        except ValueError:
            raise ForbiddenTarget(
                f"{host} is not an address in its full form, such as 127.0.0.1."
            ) from None
        if is_metadata:
            raise _metadata(host)
        if not is_allowed:
            raise ForbiddenTarget(
                f"{host} is not on this machine or network. Allow such targets with "
                "--allow-public-targets."
            )


class GuardedResolver(AbstractResolver):
    """Resolves names only if all their addresses may be sent to."""

    def __init__(self, rules: TargetRules) -> None:
        self._rules = rules
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Resolve a name, or raise ForbiddenTarget."""
        results = await self._resolver.resolve(host, port, family)
        # Checked here and not before: these very addresses are connected to.
        for result in results:
            self._rules.check_address(result["host"], host)
        return results

    async def close(self) -> None:
        """Close the resolver that does the work."""
        await self._resolver.close()


def _metadata(host: str) -> ForbiddenTarget:
    return ForbiddenTarget(
        f"{host} is where a cloud gives credentials to its machines. No task is sent "
        "there."
    )
