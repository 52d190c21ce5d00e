"""Tokens of an identity provider: whom they log in, and which are refused."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from cluster.apiserver.authn import CertificateAndTokenAuthenticator
from cluster.apiserver.http import Identity
from cluster.apiserver.jwt import encoded, jwk_of, key_of_jwk, parse_token, signed_token
from cluster.apiserver.oidc import Oidc, OidcSettings
from cluster.machinery.errors import Unauthorized
from tests.apiservers import running
from tests.clocks import SteppedClock

ISSUER = "https://id.example.com"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
NOW_S = 1_767_225_600.0


def number(value: int) -> str:
    return encoded(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def rsa_jwk() -> dict[str, Any]:
    numbers = RSA.public_key().public_numbers()
    return {"kty": "RSA", "kid": "r", "use": "sig", "alg": "RS256", "n": number(numbers.n), "e": number(numbers.e)}


class Provider:
    def __init__(self) -> None:
        self.documents: dict[str, Any] = {
            f"{ISSUER}/.well-known/openid-configuration": {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"},
            f"{ISSUER}/keys": {"keys": [rsa_jwk(), jwk_of(EC.public_key(), "e"), {"kty": "oct", "k": "AAAA"}, 7]},
        }

    async def fetch(self, url: str) -> bytes:
        return orjson.dumps(self.documents[url])


def claims(**other: Any) -> dict[str, Any]:
    return {"iss": ISSUER, "aud": "kubectl", "exp": int(NOW_S) + 300, "sub": "ada", "groups": ["dev"], **other}


def rs256(body: dict[str, Any], header: dict[str, Any] | None = None) -> str:
    head = {"alg": "RS256", "kid": "r", **(header or {})}
    signed = f"{encoded(orjson.dumps(head))}.{encoded(orjson.dumps(body))}"
    return f"{signed}.{encoded(RSA.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


async def verifier(provider: Provider | None = None, **settings: Any) -> Oidc:
    clock = SteppedClock()
    clock.time = NOW_S
    chosen = {"groups_claim": "groups", "username_prefix": "-", **settings}
    oidc = Oidc(OidcSettings(ISSUER, "kubectl", **chosen), fetch=(provider or Provider()).fetch, clock=clock)
    await oidc.refresh()
    return oidc


async def test_either_kind_of_signature_logs_in() -> None:
    oidc = await verifier()
    for token in (rs256(claims()), signed_token(EC, "e", claims()), signed_token(EC, "", claims())):
        assert oidc.verify(parse_token(token)) == Identity("ada", ("dev",))


@pytest.mark.parametrize(
    ("settings", "given", "name", "groups"),
    [
        ({"username_prefix": ""}, {}, f"{ISSUER}#ada", ("dev",)),
        ({"username_prefix": "oidc:", "groups_prefix": "oidc:"}, {}, "oidc:ada", ("oidc:dev",)),
        ({"username_claim": "email", "username_prefix": ""}, {"email": "a@x"}, "a@x", ("dev",)),
        ({"groups_claim": ""}, {}, "ada", ()),
        ({}, {"groups": "one"}, "ada", ("one",)),
        ({}, {"groups": ["system:masters", "dev"]}, "ada", ("dev",)),
        ({}, {"aud": ["x", "kubectl"]}, "ada", ("dev",)),
        ({}, {"exp": int(NOW_S) - 20}, "ada", ("dev",)),
    ],
)  # fmt: skip
async def test_whom_a_token_names(
    settings: dict[str, Any], given: dict[str, Any], name: str, groups: tuple[str, ...]
) -> None:
    oidc = await verifier(**settings)
    assert oidc.verify(parse_token(rs256(claims(**given)))) == Identity(name, groups)


@pytest.mark.parametrize(
    "token",
    [
        rs256(claims(aud="other")),
        rs256(claims(iss="https://evil.example.com")),
        rs256(claims(exp=int(NOW_S) - 60)),
        rs256(claims(exp="tomorrow")),
        rs256({k: v for k, v in claims().items() if k != "exp"}),
        rs256(claims(nbf=int(NOW_S) + 60)),
        rs256(claims(sub="")),
        rs256(claims(sub="system:admin")),
        rs256(claims(sub=["ada"])),
        rs256(claims(groups={"a": 1})),
        rs256(claims(groups=["x"] * 513)),
        rs256(claims(), {"alg": "none"}),
        rs256(claims(), {"alg": "HS256"}),
        rs256(claims(), {"alg": "ES256", "kid": "e"}),
        rs256(claims(), {"crit": ["x"]}),
        rs256(claims(), {"kid": "unknown"}),
        signed_token(OTHER, "e", claims()),
        rs256(claims())[:-8] + "AAAAAAAA",
        "a.b.c", "..", "x" * 20_000, ".".join([base64.b64encode(b"[]").decode()] * 3),
    ],
)  # fmt: skip
async def test_a_hostile_token_is_refused(token: str) -> None:
    oidc = await verifier()
    with pytest.raises(Unauthorized):
        oidc.verify(parse_token(token))


async def test_an_unverified_address_is_nobodys() -> None:
    oidc = await verifier(username_claim="email")
    with pytest.raises(Unauthorized, match="not verified"):
        oidc.verify(parse_token(rs256(claims(email="a@x", email_verified=False))))


@pytest.mark.parametrize(
    "jwk",
    [{**rsa_jwk(), "n": number(1 << 1023)}, {**rsa_jwk(), "use": "enc"}, {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
     {"kty": "EC", "crv": "P-384"}, {**rsa_jwk(), "e": 3}, "text"],
)  # fmt: skip
def test_a_weak_or_foreign_key_is_none(jwk: Any) -> None:
    assert key_of_jwk(jwk) is None


async def test_a_provider_that_lies_or_is_away_leaves_the_keys_in_force() -> None:
    provider = Provider()
    oidc = await verifier(provider)
    for broken in ({"issuer": "https://evil"}, {"issuer": ISSUER, "jwks_uri": "http://id"}, []):
        provider.documents[f"{ISSUER}/.well-known/openid-configuration"] = broken
        with pytest.raises(ValueError, match=r"."):
            await oidc.refresh()
    assert oidc.verify(parse_token(rs256(claims()))).name == "ada"


async def test_the_server_tells_its_own_tokens_from_the_providers() -> None:
    async with running() as server:
        tokens = server._backend.tokens
        both = CertificateAndTokenAuthenticator(tokens, {}, await verifier())
        assert both.identity_of_token(rs256(claims())) == Identity("ada", ("dev", "system:authenticated"))
        assert both.identity_of_token(signed_token(OTHER, "e", claims(iss=tokens.issuer))) is None
