"""Whose token a request has to carry, and of which kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

#: The scope of an OAuth token that names none.
DEFAULT_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


@dataclass(frozen=True, slots=True)
class Credential:
    """The token that a request has to carry."""

    kind: Literal["oidc", "oauth"]
    email: str
    audience: str = ""  # Of an OIDC token.
    scope: str = ""  # Of an OAuth token.


def read_credential(message: Any, url: str) -> Credential | None:
    """
    Read which token a message asks for.

    Args:
        message: One with the tokens of HTTP targets, `oidc_token` or
            `oauth_token`.
        url: The audience of an OIDC token that names none.
    """
    match message.WhichOneof("authorization_header"):
        case "oidc_token":
            token = message.oidc_token
            email, audience = token.service_account_email, token.audience
            return Credential("oidc", email, audience=audience or url)
        case "oauth_token":
            token = message.oauth_token
            email, scope = token.service_account_email, token.scope
            return Credential("oauth", email, scope=scope or DEFAULT_SCOPE)
        case _:
            return None
