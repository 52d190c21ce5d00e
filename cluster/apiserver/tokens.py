"""Service-account tokens: JWTs that this server signs (ES256) and believes only while what they are bound to lives.

Upstream: pkg/serviceaccount/{jwt,claims}.go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cluster.apiserver.authz import AUTHENTICATED
from cluster.apiserver.http import Identity
from cluster.apiserver.jwt import Token, encoded, signed_token
from cluster.apiserver.rbac import SERVICE_ACCOUNT_PREFIX
from cluster.apiserver.state import State, TableId
from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.machinery.errors import Unauthorized
from cluster.machinery.objects import Key

LIFETIME_DEFAULT_S = 3600
LIFETIME_MIN_S = 600
LIFETIME_MAX_S = 24 * 3600

_PLURALS = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}
SERVICE_ACCOUNTS = TableId("", "serviceaccounts")


@dataclass(frozen=True, slots=True)
class Binding:
    """What a token dies with.  Upstream: BoundObjectReference."""

    kind: str
    name: str
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

    def verify(self, token: Token, audiences: Sequence[str] = ()) -> Identity:
        """Whose token it is, for one of `audiences` (empty: this server's own).  Raises Unauthorized."""
        if not token.is_signed_by(self._public):
            raise Unauthorized("the token's signature is wrong")
        claims = token.claims
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
        self._check_alive(SERVICE_ACCOUNTS, Key(namespace, account.get("name", "")), account.get("uid", ""))
        for kind, plural in _PLURALS.items():
            bound = private.get(kind.lower())
            if bound and bound.get("uid"):
                home = "" if kind == "Node" else namespace
                self._check_alive(TableId("", plural), Key(home, bound.get("name", "")), bound["uid"])
        return self._identity(private, claims)

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

    def _check_alive(self, table: TableId, key: Key, uid: str) -> None:
        row = self._state.table(table).get(key)
        if row is None or row.uid != uid:
            raise Unauthorized("what the token is bound to has been deleted")


def _key_id_of(key: ec.EllipticCurvePublicKey) -> str:
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded(hashlib.sha256(der).digest())
