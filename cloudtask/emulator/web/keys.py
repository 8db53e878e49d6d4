"""Keys and discovery, for whoever verifies the emulator's tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from cloudtask.emulator.identity.tokens import TokenIssuer

_CACHE = {"Cache-Control": "public, max-age=3600"}


def add_routes(app: web.Application, issuer: TokenIssuer) -> None:
    """Publish an issuer's keys where Google publishes its own."""
    keys = _KeyPages(issuer)
    app.router.add_get("/.well-known/openid-configuration", keys.configuration)
    app.router.add_get("/jwks", keys.key_set)
    app.router.add_get("/certs", keys.certificates)


class _KeyPages:
    """Answers for the keys of an issuer."""

    def __init__(self, issuer: TokenIssuer) -> None:
        self._issuer = issuer

    async def configuration(self, request: web.Request) -> web.Response:
        """The issuer as OpenID Connect describes one."""
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
        """The public keys as a JSON Web Key Set."""
        return _json(self._issuer.key_set())

    async def certificates(self, request: web.Request) -> web.Response:
        """The public keys as certificates, by their ids."""
        return _json(self._issuer.certificates())


def _json(content: dict[str, Any]) -> web.Response:
    return web.json_response(content, headers=_CACHE)
