import base64
import json

import pytest
from google.auth import jwt

from cloudtask.emulator.dispatches import Credential
from cloudtask.emulator.instants import SECOND
from cloudtask.emulator.tokens import DEFAULT_ISSUER, TokenIssuer, subject_of
from tests.emulator.samples import NOW, URL


@pytest.fixture(scope="module")
def issuer() -> TokenIssuer:
    return TokenIssuer()


def test_a_token_has_the_claims_of_a_service_account(issuer: TokenIssuer) -> None:
    token = issuer.id_token("tasks@demo.example", URL, NOW)

    header = jwt.decode_header(token)
    claims = jwt.decode(token, verify=False)

    assert header == {"alg": "RS256", "kid": issuer.key_id, "typ": "JWT"}
    assert claims == {
        "iss": DEFAULT_ISSUER,
        "aud": URL,
        "azp": subject_of("tasks@demo.example"),
        "sub": subject_of("tasks@demo.example"),
        "email": "tasks@demo.example",
        "email_verified": True,
        "iat": NOW // SECOND,
        "exp": NOW // SECOND + 3600,
    }


def test_a_subject_is_21_digits_and_stable() -> None:
    subject = subject_of("a@b.c")

    assert len(subject) == 21
    assert subject.isdigit()
    assert subject == subject_of("a@b.c") != subject_of("d@b.c")


def test_the_key_set_describes_the_key_of_the_certificates(issuer: TokenIssuer) -> None:
    [key] = issuer.key_set()["keys"]
    [(key_id, pem)] = issuer.certificates().items()

    assert key["kid"] == key_id == issuer.key_id
    assert (key["kty"], key["alg"], key["use"]) == ("RSA", "RS256", "sig")
    assert base64.urlsafe_b64decode(key["e"] + "==") == b"\x01\x00\x01"
    modulus = base64.urlsafe_b64decode(key["n"] + "==")
    assert len(modulus) == 256
    body = base64.b64decode("".join(pem.splitlines()[1:-1]))
    assert modulus in body


def test_every_issuer_has_a_key_of_its_own(issuer: TokenIssuer) -> None:
    assert TokenIssuer().key_id != issuer.key_id


def test_an_oauth_token_is_opaque(issuer: TokenIssuer) -> None:
    value = issuer.authorization(Credential("oauth", "a@b.c", ""), NOW)

    assert value.startswith("Bearer ya29.emulated-")
    assert value != issuer.authorization(Credential("oauth", "a@b.c", ""), NOW)


def test_the_issuer_can_be_chosen() -> None:
    token = TokenIssuer("https://tokens.example").id_token("a@b.c", URL, NOW)

    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert claims["iss"] == "https://tokens.example"
