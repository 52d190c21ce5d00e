"""Service account tokens for pods: asked from the API, kept until four fifths of their life are over.

A token is bound to its pod: it dies with it.  Never logged.  Upstream: pkg/kubelet/token/token_manager.go.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cluster.base.clock import Clock
from cluster.client.transport import Transport
from cluster.kubelet.podspec import spec_of
from cluster.kubelet.volumes.content import VolumeError
from cluster.machinery.errors import ApiError
from cluster.machinery.objects import Obj, name_of, namespace_of, uid_of
from cluster.resources.builtin import SERVICE_ACCOUNTS

LIFE_S = 3600
RENEW_AFTER = 0.8
KEPT_MAX_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    renew_at: float
    ends_at: float


class TokenSource:
    """One token per pod, audience and lifetime; an old one serves on while the API is away and it is still valid."""

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock
        self._tokens: dict[tuple[str, str, int], _Token] = {}

    async def token(self, pod: Obj, projection: Obj) -> str:
        """The token that `projection` (v1.ServiceAccountTokenProjection) asks for.  Raises VolumeError."""
        audience = str(projection.get("audience") or "")
        life_s = int(projection.get("expirationSeconds") or LIFE_S)
        name = (uid_of(pod), audience, life_s)
        kept = self._tokens.get(name)
        now = self._clock.monotonic()
        if kept is not None and now < kept.renew_at:
            return kept.value
        account = str(spec_of(pod).get("serviceAccountName") or "default")
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {"namespace": namespace_of(pod), "name": account},
            "spec": {
                "audiences": [audience] if audience else [],
                "expirationSeconds": life_s,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": name_of(pod), "uid": uid_of(pod)},
            },
        }
        try:
            answer = await self._transport.create(SERVICE_ACCOUNTS, request, name=account, subresource="token")
        except ApiError as error:
            if kept is not None and now < kept.ends_at:
                return kept.value
            raise VolumeError(f'failed to fetch token for service account "{account}": {error.message}') from error
        value = str((answer.get("status") or {}).get("token") or "")
        if not value:
            raise VolumeError(f'the API returned no token for service account "{account}"')
        self._tokens[name] = _Token(value, now + min(KEPT_MAX_S, life_s * RENEW_AFTER), now + life_s)
        return value

    def forget(self, pod_uid: str) -> None:
        """The pod is gone."""
        self._tokens = {name: token for name, token in self._tokens.items() if name[0] != pod_uid}
