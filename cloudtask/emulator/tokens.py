"""The emulator as an identity provider: its key and the tokens it signs."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cloudtask.emulator.instants import SECOND

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from cloudtask.emulator.dispatches import Credential

#: An issuer that no production settings accept: `.invalid` is never a domain.
DEFAULT_ISSUER = "https://cloudtask-emulator.invalid"
#: How long a token is valid, in seconds.
TOKEN_LIFETIME_SECONDS = 3600

_RSA_BITS = 2048
_EXPONENT = 65537


class TokenIssuer:
    """
    Signs OIDC tokens with an RSA key of its own.

    The key is made on first use and lives in memory only: a restarted
    emulator has another one.
    """

    def __init__(self, issuer: str = DEFAULT_ISSUER) -> None:
        self.issuer = issuer

    def authorization(self, credential: Credential, now: int) -> str:
        """Return the value of the Authorization header for a dispatch."""
        if credential.kind == "oauth":
            return f"Bearer ya29.emulated-{secrets.token_urlsafe(32)}"
        return f"Bearer {self.id_token(credential.email, credential.audience, now)}"

    def id_token(self, email: str, audience: str, now: int) -> str:
        """Return a signed token as a service account would carry it."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        subject = subject_of(email)
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
        header = {"alg": "RS256", "kid": self.key_id, "typ": "JWT"}
        signed = f"{_encode(header)}.{_encode(claims)}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_base64(signature)}"

    def certificates(self) -> dict[str, str]:
        """Return the public keys as PEM by key id, google-auth's form."""
        return {self.key_id: self._public_pem.decode()}

    def key_set(self) -> dict[str, Any]:
        """Return the public keys as a JSON Web Key Set."""
        modulus = self._key.public_key().public_numbers().n
        key = {
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": self.key_id,
            "n": _base64(modulus.to_bytes(_RSA_BITS // 8)),
            "e": _base64(_EXPONENT.to_bytes(3)),
        }
        return {"keys": [key]}

    @cached_property
    def key_id(self) -> str:
        return hashlib.sha256(self._public_pem).hexdigest()[:40]

    @cached_property
    def _key(self) -> RSAPrivateKey:
        # Loading the library and making a key takes a moment that an emulator
        # without tokens never has to wait for.
        from cryptography.hazmat.primitives.asymmetric import rsa

        return rsa.generate_private_key(_EXPONENT, _RSA_BITS)

    @cached_property
    def _public_pem(self) -> bytes:
        from cryptography.hazmat.primitives import serialization

        return self._key.public_key().public_bytes(
            serialization.Encoding.PEM,
            serialization.PublicFormat.SubjectPublicKeyInfo,
        )


def subject_of(email: str) -> str:
    """Return the 21-digit id that stands for a service account."""
    digest = hashlib.sha256(email.encode()).digest()
    return "1" + f"{int.from_bytes(digest) % 10**20:020d}"


def _encode(part: dict[str, Any]) -> str:
    return _base64(json.dumps(part, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
