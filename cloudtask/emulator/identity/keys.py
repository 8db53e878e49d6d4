"""The key that signs tokens, and what is published of it."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from google.auth.crypt import Signer

# The key is kept for good, so its certificate does not run out, either.
_COMMON_NAME = "cloudtask-emulator"
_VALID_FROM = datetime(2020, 1, 1, tzinfo=UTC)
_VALID_UNTIL = datetime(2049, 12, 31, tzinfo=UTC)

_RSA_BITS = 2048
_EXPONENT = 65537


class SigningKey:
    """
    An RSA key.

    Loading the library and making a key takes a moment that an emulator
    without tokens never has to wait for, so both happen on first use.

    Args:
        stored: What `private_pem` of an earlier one was; None makes a new key.
    """

    def __init__(self, stored: bytes | None = None) -> None:
        self._stored = stored

    @cached_property
    def private_pem(self) -> bytes:
        """The key as PKCS #8, for one that is to go on with it."""
        from cryptography.hazmat.primitives import serialization

        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @cached_property
    def id(self) -> str:
        """What tells this key from others, the `kid` of its tokens."""
        from cryptography.hazmat.primitives import serialization

        public_pem = self._key.public_key().public_bytes(
            serialization.Encoding.PEM,
            serialization.PublicFormat.SubjectPublicKeyInfo,
        )
        return hashlib.sha256(public_pem).hexdigest()[:40]

    @cached_property
    def signer(self) -> Signer:
        """What google.auth.jwt signs with."""
        from google.auth.crypt import RSASigner

        signer: Signer = RSASigner.from_string(self.private_pem, self.id)
        return signer

    @cached_property
    def certificate_pem(self) -> bytes:
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
            .serial_number(int(self.id, 16) >> 1)  # 159 bits at the most.
            .not_valid_before(_VALID_FROM)
            .not_valid_after(_VALID_UNTIL)
        )
        certificate = builder.sign(self._key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM)

    def to_jwk(self) -> dict[str, Any]:
        """Return the public key as a JSON Web Key."""
        numbers = self._key.public_key().public_numbers()
        return {
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": self.id,
            "n": _encode_number(numbers.n),
            "e": _encode_number(numbers.e),
        }

    @cached_property
    def _key(self) -> RSAPrivateKey:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        if self._stored is None:
            return rsa.generate_private_key(_EXPONENT, _RSA_BITS)
        key = serialization.load_pem_private_key(self._stored, password=None)
        return cast("RSAPrivateKey", key)


def _encode_number(number: int) -> str:
    data = number.to_bytes((number.bit_length() + 7) // 8)
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
