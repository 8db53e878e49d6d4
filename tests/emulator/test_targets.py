"""The emulator sends to this machine and its network, and to no others."""

from __future__ import annotations

import asyncio
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest

from cloudtask.emulator.targets import hosts, rules
from tests.emulator.conftest import Target
from tests.emulator.test_delivery import send


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1", True),  # loopback
        ("127.9.9.9", True),  # all of its network
        ("0.0.0.0", True),  # noqa: S104 - this machine, too
        ("::1", True),  # loopback, IPv6
        ("::1%lo", True),  # with its zone
        ("10.1.2.3", True),  # private
        ("192.168.0.5", True),  # private
        ("172.17.0.2", True),  # a container's
        ("100.64.0.7", True),  # between networks
        ("169.254.1.2", True),  # the host of Podman's containers
        ("198.19.248.1", True),  # a machine of OrbStack
        ("fd00::5", True),  # private, IPv6
        ("::ffff:127.0.0.1", True),  # IPv4 in IPv6
        ("169.254.169.254", False),  # the metadata server
        ("::ffff:169.254.169.254", False),  # the same in IPv6
        ("169.254.1.3", False),  # link-local
        ("fe80::1", False),  # link-local, IPv6
        ("192.0.0.192", False),  # of no private network
        ("8.8.8.8", False),  # public
        ("2001:4860:4860::8888", False),  # public, IPv6
        ("2002:7f00:1::", False),  # loopback behind a relay
        ("64:ff9b::7f00:1", False),  # likewise
    ],
)
def test_loopback_and_private_addresses_are_local(address: str, local: bool) -> None:
    assert hosts.is_local_address(address) is local


METADATA = [
    "169.254.169.254",
    "[fd20:ce::254]",
    "[FD20:CE:0:0:0:0:0:254]",
    "[fd20:ce::254%25eth0]",
    "[fd00:ec2::254]",
    "[fd00:ec2::23]",
    "[fd00:42::42]",
    "192.0.0.192",
    "168.63.129.16",
    "100.100.100.200",
    "169.254.170.2",
    "169.254.170.23",
    "169.254.0.23",
    "169.254.42.42",
    "169.254.169.250",
    # In IPv6: mapped, compatible, translated, 6to4, NAT64, Teredo.
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[::169.254.169.254]",
    "[::ffff:0:169.254.169.254]",
    "[2002:a9fe:a9fe::1]",
    "[64:ff9b::169.254.169.254]",
    "[64:ff9b:1::a9fe:a9fe]",
    "[2001:0:4136:e378:8000:63bf:5601:5601]",
    # By name.
    "metadata.google.internal",
    "Metadata.Google.Internal",
    "metadata.google.internal.",
    "metadata.google.internal\u3002",
    "\uff4detadata.google.internal",
    "metadata.goog",
    "instance-data.ec2.internal",
    "metadata.azure.internal",
    "metadata.tencentyun.com",
]
NO_ADDRESSES = [
    "2852039166",
    "2130706433",
    "0xa9fea9fe",
    "0xA9FEA9FE",
    "0x7f.1",
    "025177524776",
    "0251.0376.0251.0376",
    "169.254.43518",
    "169.16689662",
    "127.1",
    "169.254.169.0xfe",
    "127.0.0.1.",
    "169.254.169.254..",
    "0127.0.0.1",
    "127.000.000.001",
    "\u2460\u2465\u2468.254.169.254",
    "\u0661\u0666\u0669.254.169.254",
    "\u1369\u136e\u1371",
    "169\u3002254\u3002169\u3002254",
    "169\uff0e254\uff0e169\uff0e254",
    "[::1.2]",
]


@pytest.mark.parametrize("allow_public", [False, True])
@pytest.mark.parametrize(
    ("host", "why"),
    [
        *((host, "gives credentials to its machines") for host in METADATA),
        *((host, "is not an address in its full form") for host in NO_ADDRESSES),
    ],
)
def test_no_spelling_leads_to_a_metadata_server(
    monkeypatch: pytest.MonkeyPatch, host: str, why: str, allow_public: bool
) -> None:
    def connect(*args: Any, **kwargs: Any) -> None:
        pytest.fail("a connection was tried")

    monkeypatch.setattr("aiohttp.connector.aiohappyeyeballs.start_connection", connect)

    answer = send(f"http://{host}/latest", allow_public_targets=allow_public)

    assert answer.status is None
    assert why in str(answer.error)


@pytest.mark.parametrize(
    ("address", "allow_public", "why"),
    [
        ("8.8.8.8", False, "shop.example is not on this machine or network."),
        ("fe80::1%2", False, "shop.example is not on this machine or network."),
        ("169.254.169.254", False, "shop.example is where a cloud gives credentials"),
        ("169.254.169.254", True, "shop.example is where a cloud gives credentials"),
        ("fd20:ce::254", False, "shop.example is where a cloud gives credentials"),
        ("100.100.100.200", False, "shop.example is where a cloud gives credentials"),
    ],
)
def test_a_name_is_refused_for_its_address(
    monkeypatch: pytest.MonkeyPatch, address: str, allow_public: bool, why: str
) -> None:
    resolve_to(monkeypatch, "127.0.0.1", address)

    answer = send("http://shop.example/", allow_public_targets=allow_public)

    assert answer.status is None
    assert why in str(answer.error)


def test_a_name_of_this_machine_is_sent_to(
    monkeypatch: pytest.MonkeyPatch, target: Target
) -> None:
    resolve_to(monkeypatch, "127.0.0.1")
    port = urlsplit(target.url).port

    assert send(f"http://shop.example:{port}/").status == 200
    assert send(f"http://shop.example:{port}/", allow_public_targets=True).status == 200


def test_a_resolver_can_be_closed() -> None:
    async def resolve() -> list[str]:
        resolver = rules.GuardedResolver(rules.TargetRules())
        results = await resolver.resolve("localhost", 80)
        await resolver.close()
        return [result["host"] for result in results]

    assert "127.0.0.1" in asyncio.run(resolve())


def test_what_was_connected_to_is_looked_at_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, target: Target
) -> None:
    # As if somebody else had resolved the name.
    monkeypatch.setattr(rules.GuardedResolver, "resolve", resolve_here)
    monkeypatch.setattr(hosts, "is_local_address", lambda address: False)
    port = urlsplit(target.url).port

    answer = send(f"http://shop.example:{port}/")

    assert answer.status is None
    assert "shop.example is not on this machine or network." in str(answer.error)
    assert target.received == []


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let every name have these addresses."""
    monkeypatch.setattr(
        "socket.getaddrinfo",
        lambda host, port, *args, **kwargs: [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                *(socket.SOCK_STREAM, socket.IPPROTO_TCP, ""),
                (address, port, 0, 0) if ":" in address else (address, port),
            )
            for address in addresses
        ],
    )


async def resolve_here(
    self: Any, host: str, port: int = 0, family: int = 0
) -> list[dict[str, Any]]:
    return [
        {
            "hostname": host,
            "host": "127.0.0.1",
            "port": port,
            "family": socket.AF_INET,
            "proto": 0,
            "flags": 0,
        }
    ]


# What a URL alone tells, for tasks that are only accepted.


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("shop.localhost", True),
        ("localhost.", True),
        ("web", True),  # a container
        ("host.docker.internal", True),
        ("printer.local", True),
        ("shop.test", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("10.0.0.5", True),
        ("shop.example", False),
        ("shop.example.com", False),
        ("8.8.8.8", False),
        ("metadata.google.internal", False),
        ("rancher-metadata", False),
        ("100.100.100.200", False),
        ("127.1", False),
        ("", False),
    ],
)
def test_a_host_tells_whether_it_is_local(host: str, local: bool) -> None:
    assert hosts.is_local(host) is local
