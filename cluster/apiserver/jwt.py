"""JSON Web Tokens, as bytes and numbers: taken apart, and their signatures checked with keys that the caller chose.

Nothing here believes a claim.  RFC 7515 (compact form), RFC 7518 sections 3.3 and 3.4, RFC 7517 (keys).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from cluster.machinery.errors import Unauthorized

TOKEN_SIZE_MAX = 16 * 1024
RSA_SIZE_MIN_BITS = 2048
RSA_SIZE_MAX_BITS = 8192
_NUMBER_SIZE = 32

PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class Token:
    """A token taken apart; nothing of it is verified."""

    algorithm: str
    key_id: str
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes

    def is_signed_by(self, key: PublicKey) -> bool:
        """Whether the signature is that key's, in the one way such a key signs: RS256 or ES256 on P-256."""
        try:
            match key:
                case rsa.RSAPublicKey():
                    if self.algorithm != "RS256":
                        return False
                    key.verify(self.signature, self.signed, padding.PKCS1v15(), hashes.SHA256())
                case ec.EllipticCurvePublicKey():
                    if self.algorithm != "ES256" or len(self.signature) != 2 * _NUMBER_SIZE:
                        return False
                    r, s = self.signature[:_NUMBER_SIZE], self.signature[_NUMBER_SIZE:]
                    der = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
                    key.verify(der, self.signed, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


def parse_token(text: str) -> Token:
    """Raises Unauthorized for what is no token."""
    if len(text) > TOKEN_SIZE_MAX or text.count(".") != 2:
        raise Unauthorized("the token is malformed")
    head, payload, signature = text.split(".")
    try:
        header = orjson.loads(decoded(head))
        claims = orjson.loads(decoded(payload))
        raw = decoded(signature)
    except (binascii.Error, ValueError):
        raise Unauthorized("the token is malformed") from None
    if not isinstance(header, dict) or not isinstance(claims, dict) or "crit" in header:
        raise Unauthorized("the token is malformed")
    return Token(str(header.get("alg", "")), str(header.get("kid") or ""), claims, f"{head}.{payload}".encode(), raw)


def signed_token(key: ec.EllipticCurvePrivateKey, key_id: str, claims: Mapping[str, Any]) -> str:
    """A token signed with ES256."""
    header = {"alg": "ES256", "kid": key_id, "typ": "JWT"}
    signed = encoded(orjson.dumps(header)) + "." + encoded(orjson.dumps(claims))
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return signed + "." + encoded(r.to_bytes(_NUMBER_SIZE, "big") + s.to_bytes(_NUMBER_SIZE, "big"))


def jwk_of(key: ec.EllipticCurvePublicKey, key_id: str) -> dict[str, str]:
    """The public key as a JWK that says what it is for."""
    numbers = key.public_numbers()
    x, y = (encoded(number.to_bytes(_NUMBER_SIZE, "big")) for number in (numbers.x, numbers.y))
    return {"use": "sig", "kty": "EC", "kid": key_id, "alg": "ES256", "crv": "P-256", "x": x, "y": y}


def key_of_jwk(jwk: Any) -> PublicKey | None:
    """The key of a JWK when it is one that verifies RS256 or ES256 signatures; else None."""
    if not isinstance(jwk, Mapping) or jwk.get("use", "sig") != "sig":
        return None
    try:
        if jwk.get("kty") == "RSA" and jwk.get("alg", "RS256") == "RS256":
            numbers = rsa.RSAPublicNumbers(_number(jwk["e"]), _number(jwk["n"]))
            if not RSA_SIZE_MIN_BITS <= numbers.n.bit_length() <= RSA_SIZE_MAX_BITS:
                return None
            return numbers.public_key()
        if jwk.get("kty") == "EC" and jwk.get("crv") == "P-256":
            return ec.EllipticCurvePublicNumbers(_number(jwk["x"]), _number(jwk["y"]), ec.SECP256R1()).public_key()
    except (KeyError, TypeError, ValueError):
        return None
    return None


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    """Raises ValueError (binascii.Error)."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _number(text: str) -> int:
    return int.from_bytes(decoded(text), "big")
