"""
Hosts of URLs: which ones belong to this machine or its network, and which ones
serve a cloud's credentials.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata

# Addresses under which clouds give credentials and settings to machines.
_METADATA = frozenset(
    int(ipaddress.ip_address(address))
    for address in (
        "169.254.169.254",  # Google, Amazon, Azure, Oracle, OpenStack and others.
        "fd20:ce::254",  # Google.
        "fd00:ec2::254",  # Amazon.
        "169.254.170.2",  # Amazon's containers.
        "169.254.170.23",  # Amazon's pods.
        "fd00:ec2::23",  # Amazon's pods.
        "168.63.129.16",  # Azure.
        "100.100.100.200",  # Alibaba.
        "192.0.0.192",  # Oracle.
        "169.254.0.23",  # Tencent.
        "169.254.42.42",  # Scaleway.
        "fd00:42::42",  # Scaleway.
        "169.254.169.250",  # Rancher.
    )
)
_METADATA_NAMES = frozenset(
    {
        "instance-data.ec2.internal",
        "metadata.azure.internal",
        "metadata.goog",
        "metadata.google.internal",
        "metadata.tencentyun.com",
        "rancher-metadata",
    }
)
_LOCAL_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",  # This machine, and OrbStack's host.
        "10.0.0.0/8",
        "100.64.0.0/10",  # Between networks, such as Tailscale's.
        "127.0.0.0/8",
        "169.254.1.2/32",  # Podman's host.
        "172.16.0.0/12",
        "192.168.0.0/16",
        "198.18.0.0/15",  # OrbStack's machines.
        "::/127",
        "fc00::/7",
    )
)
# Last labels of names that the internet does not have.
_LOCAL_ENDINGS = (".home.arpa", ".internal", ".lan", ".local", ".localhost", ".test")
_HEX_NUMBER = re.compile("0x[0-9a-f]*")
_LAST_32_BITS = 0xFFFF_FFFF
# Networks whose addresses end in one of IPv4: compatible, translated, NAT64.
_EMBEDDING_NETWORKS = tuple(
    ipaddress.IPv6Network(network)
    for network in ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")
)

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_local_address(address: str) -> bool:
    """
    Tell whether an address is of this machine or a private network.

    Link-local addresses are not, except for Podman's host.

    Raises:
        ValueError: It is not an address in its full form.
    """
    ip = _parse(address)
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return any(ip in network for network in _LOCAL_NETWORKS)


def is_metadata_address(address: str) -> bool:
    """
    Tell whether an address is of a cloud's metadata server, in any wrapping.

    Raises:
        ValueError: It is not an address in its full form.
    """
    return any(int(ip) in _METADATA for ip in _list_meanings(_parse(address)))


def is_metadata_name(host: str) -> bool:
    """Tell whether a name is known to be that of a metadata server."""
    return _normalize(host) in _METADATA_NAMES


def is_address(host: str) -> bool:
    """
    Tell whether a host is an address, in any spelling that a resolver reads.

    So is `2852039166`, and `0x7f.1`; ipaddress reads neither.
    """
    last = _normalize(host).rpartition(".")[2]
    return ":" in host or last.isdigit() or bool(_HEX_NUMBER.fullmatch(last))


def is_local(host: str) -> bool:
    """
    Tell whether a host seems to be of this machine or network.

    The name is not resolved: names of one label, as machines and containers
    have, and those that the internet does not have count as local.
    """
    if is_metadata_name(host):
        return False
    if is_address(host):
        try:
            return is_local_address(host) and not is_metadata_address(host)
        except ValueError:
            return False
    name = _normalize(host)
    return bool(name) and ("." not in name or name.endswith(_LOCAL_ENDINGS))


def _parse(address: str) -> _Address:
    return ipaddress.ip_address(address.partition("%")[0])  # Without its zone.


def _normalize(host: str) -> str:
    """Return a host as resolvers understand it."""
    return (
        unicodedata.normalize("NFKC", host).lower().replace("\u3002", ".").rstrip(".")
    )


def _list_meanings(ip: _Address) -> list[_Address]:
    """Return an address and those that it wraps."""
    if isinstance(ip, ipaddress.IPv4Address):
        return [ip]
    teredo = ip.teredo or (None, None)
    wrapped = [ip.ipv4_mapped, ip.sixtofour, teredo[1]]
    if any(ip in network for network in _EMBEDDING_NETWORKS):
        wrapped.append(ipaddress.IPv4Address(int(ip) & _LAST_32_BITS))
    return [ip, *(each for each in wrapped if each is not None)]
