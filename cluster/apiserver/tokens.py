"""Service-account tokens: JWTs that this server signs (ES256) and believes only while what they are bound to lives.

Upstream: pkg/serviceaccount/{jwt,claims}.go.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cluster.apiserver.authz import AUTHENTICATED
from cluster.apiserver.http import Identity
from cluster.apiserver.jwt import Token, encoded, jwk_of, signed_token
from cluster.apiserver.rbac import SERVICE_ACCOUNT_PREFIX
from cluster.apiserver.state import State, TableId
from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.machinery.errors import Unauthorized
from cluster.machinery.objects import Key, field_of

LIFETIME_DEFAULT_S = 3600
LIFETIME_MIN_S = 600
LIFETIME_MAX_S = 24 * 3600

_PLURALS = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}
SERVICE_ACCOUNTS = TableId("", "serviceaccounts")
SECRETS = TableId("", "secrets")
SECRET_ISSUER = "kubernetes/serviceaccount"
BOUND_KEPT_MAX = 2048
"""Identities of which it is known what they depend on; as many as the adapter may remember, and more."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What a token dies with.  Upstream: BoundObjectReference."""

    kind: str
    name: str
    uid: str


class _Needed(NamedTuple):
    """An object that must exist, with that uid."""

    table: TableId
    key: Key
    uid: str


class ServiceAccountTokens:
    """Signs and verifies.  `key` is a P-256 private key; `audiences` are those that this server itself answers to."""

    def __init__(
        self,
        *,
        key: ec.EllipticCurvePrivateKey,
        issuer: str,
        audiences: Sequence[str],
        state: State,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._key = key
        self._public = key.public_key()
        self._issuer = issuer
        self._audiences = tuple(audiences)
        self._state = state
        self._clock = clock
        self._entropy = entropy
        self._key_id = _key_id_of(self._public)
        self._bound: OrderedDict[int, tuple[Identity, Sequence[_Needed]]] = OrderedDict()

    @property
    def issuer(self) -> str:
        return self._issuer

    @property
    def audiences(self) -> tuple[str, ...]:
        return self._audiences

    def issue(
        self, account: Key, uid: str, *, audiences: Sequence[str], lifetime_s: int, binding: Binding | None, node: str
    ) -> str:
        """A token of the service account; `lifetime_s` counts from now."""
        now_s = int(self._clock.now().timestamp())
        private: dict[str, Any] = {
            "namespace": account.namespace,
            "serviceaccount": {"name": account.name, "uid": uid},
        }
        if binding is not None:
            private[binding.kind.lower()] = {"name": binding.name, "uid": binding.uid}
        if node:
            private["node"] = {"name": node}
        claims = {
            "aud": list(audiences or self._audiences),
            "exp": now_s + lifetime_s,
            "iat": now_s,
            "iss": self._issuer,
            "jti": self._entropy.uid(),
            "kubernetes.io": private,
            "nbf": now_s,
            "sub": f"{SERVICE_ACCOUNT_PREFIX}{account.namespace}:{account.name}",
        }
        return signed_token(self._key, self._key_id, claims)

    def issue_for_secret(self, account: Key, uid: str, secret: str) -> str:
        """The token that lies in a Secret: it does not expire, and ends with the Secret or the account."""
        claims = {
            "iss": SECRET_ISSUER,
            "kubernetes.io/serviceaccount/namespace": account.namespace,
            "kubernetes.io/serviceaccount/secret.name": secret,
            "kubernetes.io/serviceaccount/service-account.name": account.name,
            "kubernetes.io/serviceaccount/service-account.uid": uid,
            "sub": f"{SERVICE_ACCOUNT_PREFIX}{account.namespace}:{account.name}",
        }
        return signed_token(self._key, self._key_id, claims)

    def public_jwk(self) -> dict[str, str]:
        """What others verify the tokens with."""
        return jwk_of(self._public, self._key_id)

    def is_current(self, identity: Identity) -> bool:
        """Whether what the token was bound to is still there, of which `verify` made that identity.

        False too when that was so many identities ago that it is forgotten: verify again.
        """
        if not identity.name.startswith(SERVICE_ACCOUNT_PREFIX):
            return True
        bound = self._bound.get(id(identity))
        return bound is not None and bound[0] is identity and all(self._is_alive(each) for each in bound[1])

    def verify(self, token: Token, audiences: Sequence[str] = ()) -> Identity:
        """Whose token it is, for one of `audiences` (empty: this server's own).  Raises Unauthorized."""
        if not token.is_signed_by(self._public):
            raise Unauthorized("the token's signature is wrong")
        claims = token.claims
        if claims.get("iss") == SECRET_ISSUER:
            return self._verify_from_secret(token, audiences)
        now_s = self._clock.now().timestamp()
        if claims.get("iss") != self._issuer:
            raise Unauthorized("the token has another issuer")
        if not isinstance(claims.get("exp"), int) or now_s >= claims["exp"] or now_s < claims.get("nbf", 0):
            raise Unauthorized("the token is not valid now")
        if not set(claims.get("aud") or ()) & set(audiences or self._audiences):
            raise Unauthorized("the token is for another audience")
        private = claims.get("kubernetes.io") or {}
        namespace = private.get("namespace", "")
        account = private.get("serviceaccount") or {}
        needs = [_Needed(SERVICE_ACCOUNTS, Key(namespace, account.get("name", "")), account.get("uid", ""))]
        for kind, plural in _PLURALS.items():
            bound = private.get(kind.lower())
            if bound and bound.get("uid"):
                home = "" if kind == "Node" else namespace
                needs.append(_Needed(TableId("", plural), Key(home, bound.get("name", "")), bound["uid"]))
        return self._bound_to(self._identity(private, claims), needs)

    def _verify_from_secret(self, token: Token, audiences: Sequence[str]) -> Identity:
        if audiences and not set(audiences) & set(self._audiences):
            raise Unauthorized("the token is for another audience")
        namespace, secret, name, uid = (
            str(token.claims.get(f"kubernetes.io/serviceaccount/{claim}", ""))
            for claim in ("namespace", "secret.name", "service-account.name", "service-account.uid")
        )
        row = self._state.table(SECRETS).get(Key(namespace, secret))
        held = "" if row is None else str(field_of(self._state.obj(row), "data", "token", default=""))
        if row is None or not hmac.compare_digest(
            decoded_text(held), token.signed + b"." + encoded(token.signature).encode()
        ):
            raise Unauthorized("the token's Secret has been deleted or changed")
        needs = (_Needed(SERVICE_ACCOUNTS, Key(namespace, name), uid), _Needed(SECRETS, row.key, row.uid))
        identity = Identity(
            f"{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}",
            ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED),
            uid,
        )
        return self._bound_to(identity, needs)

    def _bound_to(self, identity: Identity, needs: Sequence[_Needed]) -> Identity:
        if not all(self._is_alive(each) for each in needs):
            raise Unauthorized("what the token is bound to has been deleted")
        self._bound[id(identity)] = (identity, tuple(needs))
        if len(self._bound) > BOUND_KEPT_MAX:
            self._bound.popitem(last=False)
        return identity

    def _is_alive(self, needed: _Needed) -> bool:
        row = self._state.table(needed.table).get(needed.key)
        return row is not None and row.uid == needed.uid

    def _identity(self, private: Mapping[str, Any], claims: Mapping[str, Any]) -> Identity:
        namespace, account = private["namespace"], private["serviceaccount"]
        extra = {"authentication.kubernetes.io/credential-id": (f"JTI={claims.get('jti', '')}",)}
        if pod := private.get("pod"):
            extra["authentication.kubernetes.io/pod-name"] = (pod["name"],)
            extra["authentication.kubernetes.io/pod-uid"] = (pod["uid"],)
        if node := private.get("node"):
            extra["authentication.kubernetes.io/node-name"] = (node["name"],)
        return Identity(
            f"{SERVICE_ACCOUNT_PREFIX}{namespace}:{account['name']}",
            ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED),
            account["uid"],
            extra,
        )


def decoded_text(text: str) -> bytes:
    """The bytes behind a Secret's value; nothing for what is no base64."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


def _key_id_of(key: ec.EllipticCurvePublicKey) -> str:
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded(hashlib.sha256(der).digest())
