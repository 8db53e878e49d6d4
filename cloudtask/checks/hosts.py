"""Where a host is, as far as its name tells."""

from __future__ import annotations

from ipaddress import ip_address


def is_local(host: str) -> bool:
    """
    Whether a host is this machine, or is in a private network.

    No name is looked up: one without a dot is taken for a container's.
    """
    try:
        return not ip_address(host).is_global
    except ValueError:
        name = host.lower().rstrip(".")
        return "." not in name or name.endswith((".localhost", ".local", ".internal"))
