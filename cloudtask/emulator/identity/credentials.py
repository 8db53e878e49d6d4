"""Whose token a request has to carry, and of which kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Credential:
    """The token that a request has to carry."""

    kind: Literal["oidc", "oauth"]
    email: str
    audience: str = ""  # Of an OIDC token.
    scope: str = ""  # Of an OAuth token.
