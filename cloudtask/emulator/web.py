"""The HTTP face of the emulator: keys and discovery for token verifiers."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Collection

    from aiohttp.typedefs import Handler

    from cloudtask.emulator.tokens import TokenIssuer

_CACHE = {"Cache-Control": "public, max-age=3600"}


def application(issuer: TokenIssuer, allowed_hosts: Collection[str]) -> web.Application:
    """
    Return the web application.

    Args:
        issuer: Whose keys are published.
        allowed_hosts: Names under which the server may be called, besides
            loopback ones.
    """
    keys = KeyPages(issuer)
    app = web.Application(middlewares=[_guard(frozenset(allowed_hosts))])
    app.router.add_get("/.well-known/openid-configuration", keys.configuration)
    app.router.add_get("/jwks", keys.key_set)
    app.router.add_get("/certs", keys.certificates)
    return app


class KeyPages:
    """What Google publishes for its own tokens, for the emulator's."""

    def __init__(self, issuer: TokenIssuer) -> None:
        self._issuer = issuer

    async def configuration(self, request: web.Request) -> web.Response:
        return _json(
            {
                "issuer": self._issuer.issuer,
                "jwks_uri": f"{request.scheme}://{request.host}/jwks",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "claims_supported": [
                    *("aud", "azp", "email", "email_verified"),
                    *("exp", "iat", "iss", "sub"),
                ],
            }
        )

    async def key_set(self, request: web.Request) -> web.Response:
        return _json(self._issuer.key_set())

    async def certificates(self, request: web.Request) -> web.Response:
        return _json(self._issuer.certificates())


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address means this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _guard(allowed_hosts: frozenset[str]) -> Any:
    # The emulator asks nobody for credentials, so no web page may reach it: a
    # foreign Host is DNS rebinding, an Origin is a script in a browser.
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.url.host or ""
        if not is_loopback(host) and host not in allowed_hosts:
            raise web.HTTPForbidden(text=f"This emulator is not called {host!r}.\n")
        if "Origin" in request.headers:
            raise web.HTTPForbidden(text="No requests from web pages.\n")
        return await handler(request)

    return guard


def _json(content: dict[str, Any]) -> web.Response:
    return web.json_response(content, headers=_CACHE)
