"""Which OIDC tokens are let in: the listed ones, and no others."""

from typing import Any

import pytest

from cloudtask.emulator.identity.tokens import TokenIssuer
from cloudtask.emulator.values.instants import SECOND
from tests import tasks
from tests.security.keyserver import KeyServer
from tests.security.sending import FORBIDDEN, Send, Unreadable, payload, send_wsgi
from tests.security.tokens import (
    ABSENT,
    AUDIENCE,
    EMAIL,
    GOOGLE,
    NOW,
    TOKENS_ONLY,
    Token,
    bearer,
    claims,
    ec_key,
    encode,
    es256,
    forged,
    header,
    hs256_with_the_public_key,
    public_pem,
    rs256,
    rs512,
    to_json,
    unsigned,
)

LEEWAY = 10
HOUR = 3600


def _header(sign: Any = rs256, **changes: Any) -> Token:
    return Token(header=header(**changes), sign=sign)


def _claims(**changes: Any) -> Token:
    return Token(claims=claims(**changes))


ACCEPTED = {
    "as Google signs it": Token(),
    "without a type": _header(typ=ABSENT),
    # Where else to look for keys is for nobody to say.
    "with a key server of its own": _header(jku="https://evil.example/jwks"),
    "with a certificate's address of its own": _header(x5u="https://evil.example"),
    "with a key of its own": _header(jwk={"kty": "oct", "k": "AAAA"}),
    "with claims that say nothing here": _claims(azp="1", hd="shop.example"),
    "from Google's other name": _claims(iss="accounts.google.com"),
    # Clocks may differ by 10 seconds, in either direction.
    "as it expires": _claims(iat=NOW - HOUR, exp=NOW),
    "expired, within the leeway": _claims(iat=NOW - 99, exp=NOW - LEEWAY + 1),
    "expired, at the leeway": _claims(iat=NOW - 99, exp=NOW - LEEWAY),
    "issued now": _claims(iat=NOW),
    "issued ahead, within the leeway": _claims(iat=NOW + LEEWAY - 1),
    "issued ahead, at the leeway": _claims(iat=NOW + LEEWAY),
    "valid from now": _claims(nbf=NOW),
    "valid ahead, within the leeway": _claims(nbf=NOW + LEEWAY - 1),
    "valid ahead, at the leeway": _claims(nbf=NOW + LEEWAY),
    "living an hour and the leeway": _claims(iat=NOW, exp=NOW + HOUR + LEEWAY),
}

REFUSED = {
    # Algorithms: RS256, and nothing that calls itself otherwise.
    "alg none": _header(unsigned, alg="none"),
    "alg none in other words": _header(unsigned, alg="nOnE"),
    "alg none over a good signature": _header(alg="none"),
    "alg HS256 with the public key": _header(hs256_with_the_public_key, alg="HS256"),
    "alg RS256 over an HMAC": _header(hs256_with_the_public_key),
    "alg ES256": _header(es256, alg="ES256"),
    "alg RS256 over an ECDSA signature": _header(es256),
    "alg RS256 with a key for ECDSA": _header(es256, kid="elliptic"),
    "alg RS512": _header(rs512, alg="RS512"),
    "alg RS256 over a SHA-512 signature": _header(rs512),
    "alg in lower case": _header(alg="rs256"),
    "alg in a list": _header(alg=["RS256"]),
    "alg a number": _header(alg=256),
    "alg absent": _header(alg=ABSENT),
    "alg null": _header(alg=None),
    # Keys: by the id of a published one.
    "kid of another key": _header(forged),
    "kid unknown": _header(kid="unknown"),
    "kid unknown, of the attacker": _header(forged, kid="the attacker's"),
    "kid absent": _header(kid=ABSENT),
    "kid a dict": _header(kid={}),
    "kid a list": _header(kid=["current"]),
    "kid null": _header(kid=None),
    "kid empty": _header(kid=""),
    "kid a path": _header(kid="../../../../dev/null"),
    "crit": _header(crit=["exp"]),
    # Signatures.
    "signature empty": Token(sign=unsigned),
    "signature of another token": Token(sign=lambda _: rs256(b"another")),
    "signature cut": Token(sign=lambda signed: rs256(signed)[:-1]),
    "signature of zeros": Token(sign=lambda _: bytes(256)),
    # Issuers.
    "iss another": _claims(iss="https://accounts.evil.example"),
    "iss with a slash": _claims(iss=GOOGLE + "/"),
    "iss over http": _claims(iss="http://accounts.google.com"),
    "iss absent": _claims(iss=ABSENT),
    "iss in a list": _claims(iss=[GOOGLE]),
    "iss a dict": _claims(iss={GOOGLE: 1}),
    "iss the emulator": _claims(iss="https://cloudtask-emulator.invalid"),
    # Audiences.
    "aud another": _claims(aud="https://other.example/_tasks/"),
    "aud in a list": _claims(aud=[AUDIENCE]),
    "aud absent": _claims(aud=ABSENT),
    "aud null": _claims(aud=None),
    "aud empty": _claims(aud=""),
    "aud in upper case": _claims(aud=AUDIENCE.upper()),
    "aud without its slash": _claims(aud=AUDIENCE.rstrip("/")),
    "aud with a slash more": _claims(aud=AUDIENCE + "/"),
    "aud with a query": _claims(aud=AUDIENCE + "?"),
    # Identities.
    "email another": _claims(email="other@shop.iam.gserviceaccount.com"),
    "email of another project": _claims(email="tasks@evil.iam.gserviceaccount.com"),
    "email in upper case": _claims(email=EMAIL.upper()),
    "email in a list": _claims(email=[EMAIL]),
    "email absent": _claims(email=ABSENT),
    "email null": _claims(email=None),
    "email not verified": _claims(email_verified=False),
    "email verified in words": _claims(email_verified="true"),
    "email verified by a number": _claims(email_verified=1),
    "email verified absent": _claims(email_verified=ABSENT),
    # Times.
    "exp past the leeway": _claims(iat=NOW - 99, exp=NOW - LEEWAY - 1),
    "exp absent": _claims(exp=ABSENT),
    "exp null": _claims(exp=None),
    "exp a float": _claims(exp=NOW + 60.5),
    "exp a string": _claims(exp=str(NOW + 60)),
    "exp a bool": _claims(exp=True),
    "exp in a list": _claims(exp=[NOW + 60]),
    "exp in 100 years": _claims(exp=NOW + 100 * 365 * 24 * HOUR),
    "exp past an hour and the leeway": _claims(exp=NOW + HOUR + LEEWAY + 1),
    "exp of 2,000 digits": _claims(exp=10**2000),
    "iat ahead, past the leeway": _claims(iat=NOW + LEEWAY + 1),
    "iat ahead, past the leeway, valid before": _claims(iat=NOW + LEEWAY + 1, nbf=NOW),
    "iat absent": _claims(iat=ABSENT),
    "iat a float": _claims(iat=float(NOW)),
    "iat a string": _claims(iat=str(NOW)),
    "iat a bool": _claims(iat=True),
    "iat negative": _claims(iat=-1),
    "nbf ahead, past the leeway": _claims(nbf=NOW + LEEWAY + 1),
    "nbf a string": _claims(nbf=str(NOW)),
    "nbf a float": _claims(nbf=float(NOW)),
    "nbf a bool": _claims(nbf=False),
    "nbf null": _claims(nbf=None),
    # What is no JSON object, or is none in a way of its own.
    # The first two are short enough to be parsed.
    "header nested 2,500 deep": Token(header=b"[" * 2500),
    "claims nested 2,500 deep": Token(claims=b'{"a":' * 500),
    "claims nested 6,000 deep": Token(claims=b"[" * 6000 + b"]" * 6000),
    "header with a key twice": Token(
        header=b'{"alg":"none","alg":"RS256","kid":"current"}'
    ),
    "claims with a key twice": Token(claims=to_json(claims())[:-1] + b',"exp":1}'),
    "header in UTF-16": Token(header=to_json(header()).decode().encode("utf-16")),
    "claims in UTF-16": Token(claims=to_json(claims()).decode().encode("utf-16")),
    "claims not in UTF-8": Token(claims=to_json(claims(hd="x")).replace(b"x", b"\xe9")),
    "claims with a byte order mark": Token(claims=b"\xef\xbb\xbf" + to_json(claims())),
    "claims with a NaN": Token(claims=to_json(claims(x=float("nan")))),
    "claims a list": Token(claims=b"[]"),
    "claims a string": Token(claims=b'"exp"'),
    "claims empty": Token(claims=b""),
    "header null": Token(header=b"null"),
    "header of no JSON": Token(header=b"RS256"),
    "8 kB": _claims(hd="x" * 6000),
    # What is no token.
    "no parts": "token",
    "two parts": str(Token()).rpartition(".")[0],
    "two parts and a dot": str(Token()).rpartition(".")[0] + ".",
    "four parts": f"{Token()}.{encode(b'more')}",
    "five parts": f"{Token()}.{encode(b'more')}.{encode(b'yet more')}",
    "three dots": "...",
    "padded": f"{Token()}==",
    "of other characters": str(Token()).replace(".", "+.", 1),
    "of bad base64": "A" + str(Token())[str(Token()).index(".") :],
    "of bytes beyond ASCII": f"{Token()}\xe9",
    "followed by a line": f"{Token()}\n",
    "followed by another": f"{Token()},{Token()}",
    "joined with another header": f"{Token()}, Bearer {Token()}",
    "after two spaces": f" {Token()}",
    "after a tab": f"\t{Token()}",
    "quoted": f'"{Token()}"',
    "empty": "",
}


@pytest.mark.parametrize("token", ACCEPTED.values(), ids=ACCEPTED)
def test_a_token_that_holds_is_let_in(
    google: KeyServer, send: Send, token: Token
) -> None:
    answer = send(bearer(token))

    assert (answer.status, answer.word) == (200, "done")
    assert tasks.ran == [("add", 5, 4)]
    assert google.fetched == ["/certs"]


@pytest.mark.parametrize("token", REFUSED.values(), ids=REFUSED)
def test_a_token_with_a_fault_is_one_and_the_same_403_before_anything_is_read(
    google: KeyServer, send: Send, queries: list[str], token: Token | str
) -> None:
    # P2, P3, P5, P7, P8 and P9: all alike, whatever is wrong with them.
    google.keys["elliptic"] = public_pem(ec_key())

    assert send(bearer(token), Unreadable()) == FORBIDDEN

    assert queries == []
    assert tasks.ran == []
    assert len(google.fetched) <= 1


@pytest.mark.parametrize("faults", [{}, {"aud": "another"}, {"exp": NOW - 60}])
@pytest.mark.parametrize("mode", ["any", "all"])
def test_who_removed_the_signature_of_a_token_is_told(
    google: KeyServer,
    settings: Any,
    send: Send,
    caplog: pytest.LogCaptureFixture,
    mode: str,
    faults: dict[str, Any],
) -> None:
    settings.CLOUDTASK = {**TOKENS_ONLY, "AUTH": mode, "SIGN": False}
    whole = str(Token(claims=claims(**faults)))
    stripped = f"{whole.rpartition('.')[0]}.SIGNATURE_REMOVED_BY_GOOGLE"

    assert send(bearer(stripped), Unreadable()) == FORBIDDEN

    assert google.fetched == []
    [line] = caplog.messages
    assert "Cloud Run's own check removed the token's signature" in line
    assert "X-Serverless-Authorization" in line
    assert "Send a service account's token in Authorization" in line
    assert whole.split(".")[1] not in line


def test_a_refusal_takes_no_query(
    google: KeyServer,
    db: None,
    django_assert_num_queries: Any,
) -> None:
    with django_assert_num_queries(0):
        for token in REFUSED.values():
            send_wsgi(bearer(token), Unreadable())


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ("Bearer {}", 200),
        ("bearer {}", 200),  # The scheme's case is nobody's business.
        ("BEARER {}", 200),
        ("Bearer", 403),  # No token at all.
        ("Bearer ", 403),
        ("Bearer  {}", 403),  # Two spaces.
        ("Bearer\t{}", 403),
        (" Bearer {}", 403),
        ("Bearer: {}", 403),
        ("Bearer={}", 403),
        ("Bearers {}", 403),
        ("Basic {}", 403),  # Another scheme.
        ("Token {}", 403),
        ("{}", 403),  # No scheme.
        ("Bearer {},Bearer {}", 403),  # Two headers, as they arrive joined.
        ("Bearer {}, Bearer {}", 403),
        ("Basic x, Bearer {}", 403),
        ("Bearer {};", 403),
        ("", 403),
        (",", 403),
    ],
)
def test_a_token_comes_alone_in_a_bearer_header(
    google: KeyServer, send: Send, form: str, status: int
) -> None:
    answer = send({"Authorization": form.format(Token(), Token())}, payload())

    assert answer.status == status
    assert status == 200 or answer == FORBIDDEN


@pytest.mark.parametrize(
    "token",
    [
        _claims(iss="https://accounts.evil.example"),
        _claims(aud="https://other.example/"),
        _claims(email="other@shop.iam.gserviceaccount.com"),
        _claims(email_verified=False),
        _claims(exp=NOW - LEEWAY - 1, iat=NOW - 99),
        _claims(iat=NOW + LEEWAY + 1),
        _claims(exp=NOW + HOUR + LEEWAY + 1),
        _header(unsigned, alg="none"),
        _header(kid={}),
        _header(kid=""),
        _header(kid=None),
        _header(kid=["current"]),
        _header(crit=["exp"]),
        "no.to.ken",
        "",
    ],
)
def test_no_key_is_fetched_for_a_token_that_could_not_hold(
    google: KeyServer, send: Send, token: Token | str
) -> None:
    assert send(bearer(token)) == FORBIDDEN

    assert google.fetched == []


def test_keys_come_from_the_one_place_whatever_a_token_says(
    google: KeyServer, send: Send
) -> None:
    token = _header(
        forged,
        jku=f"http://{google.address}/attacker",
        x5u=f"http://{google.address}/attacker",
        jwk={"kty": "RSA", "kid": "current"},
    )

    assert send(bearer(token)) == FORBIDDEN

    assert google.fetched == ["/certs"]


# Audiences


def test_the_audience_is_the_url_where_none_is_set(
    google: KeyServer, settings: Any, send: Send
) -> None:
    settings.CLOUDTASK = {"SAE": EMAIL, "URL": AUDIENCE}

    assert send(bearer(Token())).status == 200
    assert send(bearer(_claims(aud="https://shop.example/"))) == FORBIDDEN


def test_each_of_several_audiences_is_accepted_and_no_other(
    google: KeyServer, settings: Any, send: Send
) -> None:
    first, second = "https://first.example/", "https://second.example/"
    settings.CLOUDTASK = {"SAE": EMAIL, "URL": AUDIENCE, "AUDIENCE": [first, second]}

    assert send(bearer(_claims(aud=first))).status == 200
    assert send(bearer(_claims(aud=second))).status == 200
    assert send(bearer(_claims(aud=first + second))) == FORBIDDEN
    assert send(bearer(_claims(aud=AUDIENCE))) == FORBIDDEN


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {},
            "CLOUDTASK['URL']: is not set, and this place does not tell it. Set it "
            "to the dispatch view's URL, as in 'https://shop.example/_tasks/', in "
            "your Django settings.",
        ),
        (
            {"AUDIENCE": ""},
            "CLOUDTASK['AUDIENCE']: must be a non-empty string, not ''.",
        ),
        (
            {"AUDIENCE": []},
            "CLOUDTASK['AUDIENCE']: must name at least one audience.",
        ),
        (
            {"AUDIENCE": [""]},
            "CLOUDTASK['AUDIENCE']: must be a non-empty string, not ''.",
        ),
    ],
)
def test_without_an_audience_every_token_is_refused_and_the_log_says_why(
    google: KeyServer,
    settings: Any,
    send: Send,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, Any],
    message: str,
) -> None:
    settings.CLOUDTASK = {"SAE": EMAIL, **changes}

    for aud in (AUDIENCE, "", None, ABSENT):
        assert send(bearer(_claims(aud=aud))) == FORBIDDEN

    assert {record.levelname for record in caplog.records} == {"ERROR"}
    assert set(caplog.messages) == {f"refused a dispatch: {message!r}"}
    assert google.fetched == []


@pytest.mark.parametrize("host", ["evil.example", "shop.example", "127.0.0.1:8000"])
def test_the_host_that_a_request_names_changes_nothing(
    google: KeyServer, send: Send, host: str
) -> None:
    named = {"Host": host, "X-Forwarded-Host": host, "X-Forwarded-Proto": "https"}
    its_own = _claims(aud=f"https://{host}/_tasks")

    assert send({**bearer(Token()), **named}).status == 200
    assert send({**bearer(its_own), **named}) == FORBIDDEN


# The emulator's tokens


def _emulated(issuer: TokenIssuer) -> dict[str, str]:
    return bearer(issuer.id_token(EMAIL, AUDIENCE, NOW * SECOND))


@pytest.fixture(scope="module")
def emulator_key() -> TokenIssuer:
    return TokenIssuer()


@pytest.fixture
def impostor(emulator_key: TokenIssuer) -> TokenIssuer:
    """An emulator that was told to call itself Google."""
    impostor = TokenIssuer(GOOGLE)
    impostor.__dict__["_key"] = emulator_key._key
    return impostor


@pytest.fixture
def emulator(
    key_server: KeyServer, settings: Any, emulator_key: TokenIssuer
) -> KeyServer:
    """The emulator's keys, where the settings name an emulator."""
    key_server.keys = emulator_key.certificates()
    settings.CLOUDTASK = {
        **TOKENS_ONLY,
        "EMULATOR_HOST": "127.0.0.1:1",
        "EMULATOR_HTTP_HOST": key_server.address,
    }
    return key_server


def test_emulator_tokens_are_worthless_in_production(
    google: KeyServer, send: Send, emulator_key: TokenIssuer, impostor: TokenIssuer
) -> None:
    assert send(_emulated(emulator_key), Unreadable()) == FORBIDDEN
    assert google.fetched == []  # The issuer is enough.

    assert send(_emulated(impostor), Unreadable()) == FORBIDDEN
    assert google.fetched == ["/certs"]


def test_the_emulators_issuer_is_refused_in_production_even_with_googles_key(
    google: KeyServer, send: Send
) -> None:
    token = _claims(iss="https://cloudtask-emulator.invalid")

    assert send(bearer(token), Unreadable()) == FORBIDDEN


def test_an_emulator_that_is_set_signs_tokens_under_either_name(
    emulator: KeyServer, send: Send, emulator_key: TokenIssuer, impostor: TokenIssuer
) -> None:
    assert send(_emulated(emulator_key)).status == 200
    assert send(_emulated(impostor)).status == 200

    assert emulator.fetched == ["/certs"]


def test_tokens_of_google_are_refused_where_an_emulator_is_set(
    emulator: KeyServer, send: Send
) -> None:
    assert send(bearer(Token())) == FORBIDDEN


def test_the_emulators_keys_are_one_port_above_where_no_address_is_set(
    emulator: KeyServer,
    settings: Any,
    send: Send,
    emulator_key: TokenIssuer,
) -> None:
    host, _, port = emulator.address.partition(":")
    settings.CLOUDTASK = {**TOKENS_ONLY, "EMULATOR_HOST": f"{host}:{int(port) - 1}"}

    assert send(_emulated(emulator_key)).status == 200


@pytest.mark.parametrize("debug", [True, False])
def test_an_emulator_of_the_environment_is_trusted_while_debug_is_on(
    emulator: KeyServer,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    send: Send,
    emulator_key: TokenIssuer,
    debug: bool,
) -> None:
    host, _, port = emulator.address.partition(":")
    address = f"{host}:{int(port) - 1}"
    monkeypatch.setenv("CLOUD_TASKS_EMULATOR_HOST", address)
    settings.CLOUDTASK = {**TOKENS_ONLY}
    settings.DEBUG = debug

    answer = send(_emulated(emulator_key))

    if debug:
        assert answer.status == 200
        return
    assert answer == FORBIDDEN
    assert emulator.fetched == []
    [record] = [r for r in caplog.records if r.levelname == "ERROR"]
    assert "while DEBUG is off" in record.getMessage()
