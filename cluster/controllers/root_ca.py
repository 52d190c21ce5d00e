"""Every namespace has the ConfigMap `kube-root-ca.crt`, by which pods know the API server.

Upstream: pkg/controller/certificates/rootcacertpublisher/publisher.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.client.cache import Cache
from cluster.client.controller import DONE, Controller, Recorder, Result, Wakeup
from cluster.client.transport import Transport
from cluster.client.writes import Create, Update, Write
from cluster.controllers.service_account import is_active_namespace
from cluster.machinery.objects import Key, Obj, name_of, namespace_of
from cluster.machinery.resource import Resource
from cluster.resources.builtin import CONFIG_MAPS, NAMESPACES

NAME = "kube-root-ca.crt"
DESCRIPTION = {"kubernetes.io/description": "The certificate authority by which pods know the API server."}


def plan_root_ca(namespace: Obj, present: Obj | None, ca_pem: str) -> tuple[Write, ...]:
    """The ConfigMap holds exactly the authority, whatever someone wrote into it."""
    data = {"ca.crt": ca_pem}
    if not is_active_namespace(namespace) or (present is not None and present.get("data") == data):
        return ()
    if present is not None:
        return (Update(CONFIG_MAPS, {**present, "data": data}),)
    metadata = {"name": NAME, "namespace": name_of(namespace), "annotations": DESCRIPTION}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    return (Create(CONFIG_MAPS, config_map, exists_ok=True),)


def _namespace_of_authority(config_map: Obj, _: Resource, __: Cache) -> Iterable[Key]:
    return (Key("", namespace_of(config_map)),) if name_of(config_map) == NAME else ()


class RootCaController(Controller):
    name: ClassVar = "root-ca"
    account: ClassVar = "root-ca-cert-publisher"
    primary: ClassVar = NAMESPACES
    wakes: ClassVar = (Wakeup(CONFIG_MAPS, _namespace_of_authority),)
    workers: ClassVar = 1

    def __init__(
        self,
        *,
        transport: Transport,
        cache: Cache,
        clock: Clock,
        entropy: Entropy,
        recorder: Recorder,
        ca_pem: str,
    ) -> None:
        super().__init__(transport=transport, cache=cache, clock=clock, entropy=entropy, recorder=recorder)
        self._ca_pem = ca_pem

    async def reconcile(self, key: Key) -> Result:
        namespace = self.cache.get(NAMESPACES, key)
        if namespace is not None:
            present = self.cache.get(CONFIG_MAPS, Key(key.name, NAME))
            await self.commit(plan_root_ca(namespace, present, self._ca_pem))
        return DONE
