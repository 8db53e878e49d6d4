"""The tokens that the emulator makes, and for how long it hands them out."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Any

from cloudtask.emulator.identity.keys import SigningKey
from cloudtask.emulator.values.instants import SECOND

if TYPE_CHECKING:
    from cloudtask.emulator.identity.credentials import Credential

#: An issuer that no production settings accept: `.invalid` is never a domain.
DEFAULT_ISSUER = "https://cloudtask-emulator.invalid"
#: How long a token is valid, in seconds.
TOKEN_LIFETIME_SECONDS = 3600
#: How long a token is handed out again, in microseconds. What is left of its
#: life is as long as the longest attempt at an HTTP target.
REUSE = TOKEN_LIFETIME_SECONDS * SECOND // 2
#: How many tokens are remembered; the oldest are dropped first.
MAX_REMEMBERED = 1000


class TokenIssuer:
    """
    Makes the tokens of dispatches; OIDC tokens are signed with an RSA key.

    Args:
        issuer: The `iss` of the tokens.
        key: What `private_key_pem` of an earlier issuer was. Without it a key
            is made on first use.
    """

    def __init__(self, issuer: str = DEFAULT_ISSUER, key: bytes | None = None) -> None:
        self.issuer = issuer
        self._key = SigningKey(key)
        # When each was made, and the token itself.
        self._tokens: dict[Credential, tuple[int, str]] = {}

    def authorization(self, credential: Credential, now: int) -> str:
        """Return the value of the Authorization header for a dispatch."""
        made, token = self._tokens.get(credential, (0, ""))
        # A clock that was put back makes a token one of the future.
        if not (token and made <= now < made + REUSE):
            token = self._token(credential, now)
            self._remember(credential, now, token)
        return f"Bearer {token}"

    def id_token(self, email: str, audience: str, now: int) -> str:
        """Return a signed token as a service account would carry it."""
        from google.auth import jwt

        subject = derive_subject(email)
        issued = now // SECOND
        claims = {
            "iss": self.issuer,
            "aud": audience,
            "azp": subject,
            "sub": subject,
            "email": email,
            "email_verified": True,
            "iat": issued,
            "exp": issued + TOKEN_LIFETIME_SECONDS,
        }
        token: bytes = jwt.encode(self._key.signer, claims)
        return token.decode()

    def certificates(self) -> dict[str, str]:
        """Return X.509 certificates of the public keys, as PEM by key id."""
        return {self._key.id: self._key.certificate_pem.decode()}

    def key_set(self) -> dict[str, Any]:
        """Return the public keys as a JSON Web Key Set."""
        return {"keys": [self._key.to_jwk()]}

    @property
    def key_id(self) -> str:
        """What tells the key from others."""
        return self._key.id

    @property
    def private_key_pem(self) -> bytes:
        """The key as PKCS #8, for an issuer that is to go on with it."""
        return self._key.private_pem

    def _token(self, credential: Credential, now: int) -> str:
        if credential.kind == "oauth":
            return f"ya29.emulated-{secrets.token_urlsafe(32)}"
        return self.id_token(credential.email, credential.audience, now)

    def _remember(self, credential: Credential, now: int, token: str) -> None:
        self._tokens.pop(credential, None)
        if len(self._tokens) >= MAX_REMEMBERED:
            del self._tokens[next(iter(self._tokens))]
        self._tokens[credential] = now, token


def derive_subject(email: str) -> str:
    """Return the 21-digit id that stands for a service account."""
    digest = hashlib.sha256(email.encode()).digest()
    return "1" + f"{int.from_bytes(digest) % 10**20:020d}"
