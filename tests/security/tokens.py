"""Keys, and tokens in every state of disrepair."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

NOW = 1_800_000_000
EMAIL = "tasks@shop.iam.gserviceaccount.com"
AUDIENCE = "https://shop.example/_tasks/"
GOOGLE = "https://accounts.google.com"
SECRET = "the secret that is sent: 32 bytes"
#: What CLOUDTASK says where tokens are accepted, and nothing else is.
TOKENS_ONLY = {"SAE": EMAIL, "AUDIENCE": AUDIENCE}

#: In place of a value: leave the key out.
ABSENT: Any = object()

#: What is wrong with a token by its fields, and its header's and its claims'.
Changes = Mapping[str, Any]


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """A key by any name: made once, the same for the whole run."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def public_pem(key: PrivateKeyTypes) -> str:
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return public.decode()


def make_certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody vouches for, and its key."""
    key = ec_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "key server")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def to_json(members: Changes) -> bytes:
    kept = {key: value for key, value in members.items() if value is not ABSENT}
    return json.dumps(kept, separators=(",", ":")).encode()


def header(**changes: Any) -> dict[str, Any]:
    return {"alg": "RS256", "kid": "current", "typ": "JWT"} | changes


def claims(**changes: Any) -> dict[str, Any]:
    return {
        "iss": GOOGLE,
        "aud": AUDIENCE,
        "sub": "100000000000000000001",
        "email": EMAIL,
        "email_verified": True,
        "iat": NOW,
        "exp": NOW + 3600,
    } | changes


def rs256(signed: bytes, key: str = "current") -> bytes:
    return rsa_key(key).sign(signed, padding.PKCS1v15(), hashes.SHA256())


def rs512(signed: bytes) -> bytes:
    return rsa_key("current").sign(signed, padding.PKCS1v15(), hashes.SHA512())


def es256(signed: bytes) -> bytes:
    return ec_key().sign(signed, ec.ECDSA(hashes.SHA256()))


def hs256_with_the_public_key(signed: bytes) -> bytes:
    public = public_pem(rsa_key("current")).encode()
    return hmac.new(public, signed, hashlib.sha256).digest()


def forged(signed: bytes) -> bytes:
    return rs256(signed, "the attacker's")


def unsigned(signed: bytes) -> bytes:
    return b""


@dataclass(frozen=True)
class Token:
    """
    A token that holds, but for what is changed. It is signed over the change.

    A header or claims of `bytes` stand as they are.
    """

    header: Changes | bytes = field(default_factory=header)
    claims: Changes | bytes = field(default_factory=claims)
    sign: Any = rs256

    def __str__(self) -> str:
        parts = [
            encode(part if isinstance(part, bytes) else to_json(part))
            for part in (self.header, self.claims)
        ]
        signed = ".".join(parts)
        return f"{signed}.{encode(self.sign(signed.encode()))}"


def bearer(token: object) -> dict[str, str]:
    """The header that carries a token."""
    return {"Authorization": f"Bearer {token}"}
