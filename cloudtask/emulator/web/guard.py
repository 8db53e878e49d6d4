"""
Who may call the HTTP port.

The emulator asks nobody for credentials, so no web page but its own may reach
it: a foreign Host is DNS rebinding, a foreign Origin a script of another site.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from aiohttp import web

from cloudtask.emulator.web.answers import forbidden

if TYPE_CHECKING:
    from collections.abc import Collection

    from aiohttp.typedefs import Handler, Middleware

# Of Sec-Fetch-Site. "same-site" is not among them: on localhost that is any
# other port.
_OWN_SITES = frozenset({"same-origin", "none"})


def guard(allowed_hosts: Collection[str]) -> Middleware:
    """
    Return a middleware that refuses calls from foreign web pages.

    It raises ApiError.

    Args:
        allowed_hosts: Names under which the server may be called, besides
            loopback ones.
    """
    names = frozenset(name.lower() for name in allowed_hosts)

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        _check_host(request, names)
        _check_origin(request)
        _check_site(request)
        return await handler(request)

    return guard


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address means this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_host(request: web.Request, allowed_hosts: frozenset[str]) -> None:
    try:
        host = request.url.host or ""
    except ValueError:
        host = ""
    if not is_loopback(host) and host not in allowed_hosts:
        raise forbidden(
            f"This emulator is not called {request.host!r}. If the name is yours, "
            "start it with --allowed-host and that name."
        )


def _check_origin(request: web.Request) -> None:
    own = f"{request.scheme}://{request.host}"
    for origin in request.headers.getall("Origin", ()):
        if origin.lower() != own.lower():
            raise forbidden(
                f"Web pages of {origin!r} cannot call this emulator. From a browser "
                "only its own page can."
            )


def _check_site(request: web.Request) -> None:
    # Browsers say so even where they send no Origin, as for an image.
    site = request.headers.get("Sec-Fetch-Site", "none")
    if site not in _OWN_SITES and not _opens_page(request):
        raise forbidden(
            "Web pages of other sites or ports cannot call this emulator. From a "
            "browser only its own page can."
        )


def _opens_page(request: web.Request) -> bool:
    return (
        request.method == "GET"
        and request.path == "/"
        and request.headers.get("Sec-Fetch-Mode") == "navigate"
        and request.headers.get("Sec-Fetch-Dest") == "document"
    )
