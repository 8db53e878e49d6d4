"""The emulator as an identity provider: its key and the tokens it signs."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from cloudtask.emulator.values.instants import SECOND

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

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

# The key is kept for good, so its certificate does not run out, either.
_COMMON_NAME = "cloudtask-emulator"
_VALID_FROM = datetime(2020, 1, 1, tzinfo=UTC)
_VALID_UNTIL = datetime(2049, 12, 31, tzinfo=UTC)

_RSA_BITS = 2048
_EXPONENT = 65537


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
        self._stored_key = key
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
        """Return X.509 certificates of the public keys, as PEM by key id."""
        return {self.key_id: self._certificate_pem.decode()}

    def key_set(self) -> dict[str, Any]:
        """Return the public keys as a JSON Web Key Set."""
        numbers = self._key.public_key().public_numbers()
        key = {
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": self.key_id,
            "n": _encode_number(numbers.n),
            "e": _encode_number(numbers.e),
        }
        return {"keys": [key]}

    @property
    def private_key_pem(self) -> bytes:
        """The key as PKCS #8, for an issuer that is to go on with it."""
        from cryptography.hazmat.primitives import serialization

        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @cached_property
    def key_id(self) -> str:
        return hashlib.sha256(self._public_pem).hexdigest()[:40]

    @cached_property
    def _key(self) -> RSAPrivateKey:
        # Loading the library and making a key takes a moment that an emulator
        # without tokens never has to wait for.
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        if self._stored_key is None:
            return rsa.generate_private_key(_EXPONENT, _RSA_BITS)
        key = serialization.load_pem_private_key(self._stored_key, password=None)
        return cast("RSAPrivateKey", key)

    @cached_property
    def _public_pem(self) -> bytes:
        from cryptography.hazmat.primitives import serialization

        return self._key.public_key().public_bytes(
            serialization.Encoding.PEM,
            serialization.PublicFormat.SubjectPublicKeyInfo,
        )

    @cached_property
    def _certificate_pem(self) -> bytes:
        """The certificate of the key, signed by itself; one key has one."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization

        common_name = x509.NameAttribute(x509.NameOID.COMMON_NAME, _COMMON_NAME)
        name = x509.Name([common_name])
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(int(self.key_id, 16) >> 1)  # 159 bits at the most.
            .not_valid_before(_VALID_FROM)
            .not_valid_after(_VALID_UNTIL)
        )
        certificate = builder.sign(self._key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM)

    def _token(self, credential: Credential, now: int) -> str:
        if credential.kind == "oauth":
            return f"ya29.emulated-{secrets.token_urlsafe(32)}"
        return self.id_token(credential.email, credential.audience, now)

    def _remember(self, credential: Credential, now: int, token: str) -> None:
        self._tokens.pop(credential, None)
        if len(self._tokens) >= MAX_REMEMBERED:
            del self._tokens[next(iter(self._tokens))]
        self._tokens[credential] = now, token


def subject_of(email: str) -> str:
    """Return the 21-digit id that stands for a service account."""
    digest = hashlib.sha256(email.encode()).digest()
    return "1" + f"{int.from_bytes(digest) % 10**20:020d}"


def _encode(part: dict[str, Any]) -> str:
    return _base64(json.dumps(part, separators=(",", ":")).encode())


def _encode_number(number: int) -> str:
    return _base64(number.to_bytes((number.bit_length() + 7) // 8))


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
