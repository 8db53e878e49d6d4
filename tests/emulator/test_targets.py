"""The emulator sends to this machine and its network, and to no others."""

from __future__ import annotations

import asyncio

import pytest

from cloudtask.emulator.sending.delivery import HttpDelivery
from cloudtask.emulator.sending.targets import (
    LocalResolver,
    PublicTarget,
    check_literal,
    is_local,
)


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1", True),  # loopback
        ("127.9.9.9", True),  # all of its network
        ("::1", True),  # loopback, IPv6
        ("10.1.2.3", True),  # private
        ("192.168.0.5", True),  # private
        ("172.17.0.2", True),  # a container's
        ("fd00::5", True),  # private, IPv6
        ("::ffff:127.0.0.1", True),  # IPv4 in IPv6
        ("169.254.169.254", False),  # the metadata server
        ("::ffff:169.254.169.254", False),  # the same in IPv6
        ("fe80::1", False),  # link-local
        ("8.8.8.8", False),  # public
        ("2001:4860:4860::8888", False),  # public, IPv6
    ],
)
def test_loopback_and_private_addresses_are_local(address: str, local: bool) -> None:
    assert is_local(address) is local


def test_a_name_is_left_to_the_resolver() -> None:
    check_literal("shop.example")
    check_literal(None)


def test_a_public_address_is_refused_before_any_connection() -> None:
    with pytest.raises(PublicTarget, match=r"^8\.8\.8\.8 is not on this machine"):
        check_literal("8.8.8.8")


def test_localhost_resolves() -> None:
    async def resolve() -> list[str]:
        resolver = LocalResolver()
        results = await resolver.resolve("localhost", 80)
        await resolver.close()
        return [result["host"] for result in results]

    assert "127.0.0.1" in asyncio.run(resolve())


def test_a_name_that_resolves_to_a_public_address_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "socket.getaddrinfo", lambda *args, **kwargs: [(2, 1, 6, "", ("8.8.8.8", 80))]
    )

    async def resolve() -> None:
        await LocalResolver().resolve("shop.example", 80)

    with pytest.raises(PublicTarget, match=r"^shop\.example is not"):
        asyncio.run(resolve())


def test_only_a_guarded_delivery_looks_at_its_targets() -> None:
    async def guards() -> list[bool]:
        found = []
        for allowed in (False, True):
            delivery = HttpDelivery(lambda: 0, allow_public_targets=allowed)
            async with delivery:
                connector = delivery._session.connector
                resolver = getattr(connector, "_resolver", None)
                found.append(isinstance(resolver, LocalResolver))
        return found

    assert asyncio.run(guards()) == [True, False]
