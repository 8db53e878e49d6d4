import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt

from cloudtask.emulator.identity.credentials import Credential
from cloudtask.emulator.identity.tokens import (
    DEFAULT_ISSUER,
    MAX_REMEMBERED,
    REUSE,
    TokenIssuer,
    derive_subject,
)
from cloudtask.emulator.values.instants import SECOND
from tests.emulator.samples import NOW, URL

OIDC = Credential("oidc", "a@b.c", audience=URL)
OAUTH = Credential("oauth", "a@b.c", scope="s")


@pytest.fixture(scope="module")
def key() -> bytes:
    return TokenIssuer().private_key_pem


@pytest.fixture
def issuer(key: bytes) -> TokenIssuer:
    return TokenIssuer(key=key)


def test_a_token_has_the_claims_of_a_service_account(issuer: TokenIssuer) -> None:
    token = issuer.id_token("tasks@demo.example", URL, NOW)

    header = jwt.decode_header(token)
    claims = jwt.decode(token, verify=False)

    assert header == {"alg": "RS256", "kid": issuer.key_id, "typ": "JWT"}
    assert claims == {
        "iss": DEFAULT_ISSUER,
        "aud": URL,
        "azp": derive_subject("tasks@demo.example"),
        "sub": derive_subject("tasks@demo.example"),
        "email": "tasks@demo.example",
        "email_verified": True,
        "iat": NOW // SECOND,
        "exp": NOW // SECOND + 3600,
    }


def test_a_subject_is_21_digits_and_stable() -> None:
    subject = derive_subject("a@b.c")

    assert len(subject) == 21
    assert subject.isdigit()
    assert subject == derive_subject("a@b.c") != derive_subject("d@b.c")


def test_the_key_set_describes_the_key_of_the_certificates(issuer: TokenIssuer) -> None:
    [key] = issuer.key_set()["keys"]
    [(key_id, pem)] = issuer.certificates().items()

    assert key["kid"] == key_id == issuer.key_id
    assert (key["kty"], key["alg"], key["use"]) == ("RSA", "RS256", "sig")
    assert base64.urlsafe_b64decode(key["e"] + "==") == b"\x01\x00\x01"
    modulus = base64.urlsafe_b64decode(key["n"] + "==")
    assert len(modulus) == 256
    certificate = x509.load_pem_x509_certificate(pem.encode())
    certificate.verify_directly_issued_by(certificate)
    published = certificate.public_key()
    assert isinstance(published, rsa.RSAPublicKey)
    assert published.public_numbers().n == int.from_bytes(modulus)
    assert certificate.not_valid_before_utc < datetime.now(UTC)
    assert certificate.not_valid_after_utc > datetime.now(UTC) + timedelta(days=365)


def test_a_token_is_verified_by_the_certificates(issuer: TokenIssuer) -> None:
    now = int(datetime.now(UTC).timestamp()) * SECOND
    token = issuer.id_token("a@b.c", URL, now)
    [pem] = issuer.certificates().values()

    assert pem.startswith("-----BEGIN CERTIFICATE-----\n")
    claims = jwt.decode(
        token, issuer.certificates(), audience=URL, clock_skew_in_seconds=60
    )
    assert claims["email"] == "a@b.c"


def test_every_issuer_has_a_key_of_its_own(issuer: TokenIssuer) -> None:
    assert TokenIssuer().key_id != issuer.key_id


def test_a_key_can_be_kept_for_another_issuer(issuer: TokenIssuer, key: bytes) -> None:
    assert key.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    later = TokenIssuer(key=key)

    assert later.key_id == issuer.key_id
    assert later.key_set() == issuer.key_set()
    assert later.certificates() == issuer.certificates()
    assert later.private_key_pem == key
    # Verified by the former's certificates.
    token = later.id_token("a@b.c", URL, NOW)
    signed, _, signature = token.rpartition(".")
    assert issuer.id_token("a@b.c", URL, NOW) == f"{signed}.{signature}"


def test_a_key_that_was_not_kept_whole_is_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match="PEM"):
        _ = TokenIssuer(key=key[:100]).key_id


def test_an_oauth_token_is_opaque(issuer: TokenIssuer) -> None:
    value = issuer.authorization(OAUTH, NOW)

    assert value.startswith("Bearer ya29.emulated-")
    # One for every scope, nothing that anyone could guess.
    other = Credential("oauth", "a@b.c", scope="t")
    assert value != issuer.authorization(other, NOW)
    assert value != TokenIssuer().authorization(OAUTH, NOW)


@pytest.mark.parametrize("credential", [OIDC, OAUTH], ids=["oidc", "oauth"])
@pytest.mark.parametrize(
    ("later", "is_reused"),
    [
        (NOW, True),
        (NOW + REUSE - 1, True),
        (NOW + REUSE, False),
        (NOW - SECOND, False),  # The clock was put back: a token of the future.
    ],
)
def test_a_token_is_handed_out_again_while_it_has_half_its_life_left(
    issuer: TokenIssuer, credential: Credential, later: int, is_reused: bool
) -> None:
    first = issuer.authorization(credential, NOW)

    second = issuer.authorization(credential, later)

    assert (second == first) is is_reused
    # And so is the latter.
    assert issuer.authorization(credential, later) == second


def test_only_the_same_account_and_audience_share_a_token(issuer: TokenIssuer) -> None:
    credentials = [
        OIDC,
        Credential("oidc", "d@b.c", audience=URL),
        Credential("oidc", "a@b.c", audience="shop"),
        OAUTH,
    ]

    assert len({issuer.authorization(each, NOW) for each in credentials}) == 4
    payload = issuer.authorization(OIDC, NOW).split(".")[1]
    assert json.loads(base64.urlsafe_b64decode(payload + "=="))["aud"] == URL


def test_only_so_many_tokens_are_remembered(issuer: TokenIssuer) -> None:
    first = issuer.authorization(OAUTH, NOW)
    for number in range(MAX_REMEMBERED - 1):
        latest = Credential("oauth", "a@b.c", scope=str(number))
        remembered = issuer.authorization(latest, NOW)
    assert issuer.authorization(latest, NOW + REUSE) != remembered
    # One that was renewed takes the place of nothing but itself.
    assert issuer.authorization(OAUTH, NOW) == first

    issuer.authorization(Credential("oauth", "a@b.c", scope="one more"), NOW)

    assert issuer.authorization(OAUTH, NOW) != first


def test_the_issuer_can_be_chosen() -> None:
    token = TokenIssuer("https://tokens.example").id_token("a@b.c", URL, NOW)

    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert claims["iss"] == "https://tokens.example"
