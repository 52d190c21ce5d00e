"""What a proxy works with, made of dictionaries: a cache, an applier, a forwarding chain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cluster.client.cache import Change
from cluster.client.index import ObjectIndex
from cluster.machinery.objects import Key, Obj, key_of, resource_version_of
from cluster.machinery.resource import Resource
from cluster.machinery.selectors import Selector
from cluster.proxy.conntrack import StaleFlow
from cluster.proxy.diff import Transaction
from cluster.proxy.nft import Installed, RulesetRefused
from cluster.resources.builtin import ENDPOINT_SLICES, NODES, PODS, SERVICES


class DictCache:
    """Implements `Cache`; `put` and `drop` change it and tell whoever subscribed."""

    def __init__(self) -> None:
        self._indexes = {one: ObjectIndex(one) for one in (NODES, SERVICES, ENDPOINT_SLICES, PODS)}

    def put(self, resource: Resource, obj: Obj) -> None:
        self._indexes[resource].put(obj)

    def drop(self, resource: Resource, obj: Obj) -> None:
        self._indexes[resource].remove(key_of(obj))

    async def sync(self, resources: Sequence[Resource]) -> None:
        return

    def get(self, resource: Resource, key: Key) -> Obj | None:
        return self._indexes[resource].get(key)

    def versions(self, resource: Resource, keys: Iterable[Key]) -> Sequence[str]:
        found = [self._indexes[resource].get(key) for key in keys]
        return ["" if obj is None else resource_version_of(obj) for obj in found]

    def list(self, resource: Resource, *, namespace: str = "", selector: Selector | None = None) -> Sequence[Obj]:
        return self._indexes[resource].list(namespace=namespace, selector=selector)

    def owned_by(self, owner: Obj, resource: Resource) -> Sequence[Obj]:
        return self._indexes[resource].owned_by(owner)

    def on_node(self, node: str, resource: Resource) -> Sequence[Obj]:
        return self._indexes[resource].on_node(node)

    def revision(self, resource: Resource) -> int:
        return self._indexes[resource].revision

    def subscribe(self, resource: Resource, handler: Callable[[Change], None]) -> Callable[[], None]:
        return self._indexes[resource].subscribe(handler)


class RecordingApplier:
    """Implements `RulesetApplier`; what is read back is `installed`, which a full transaction makes `restored`."""

    def __init__(self) -> None:
        self.applied: list[Transaction] = []
        self.installed: Installed | None = None
        self.restored: Installed | None = None
        self.refuses = ""

    async def apply(self, transaction: Transaction) -> None:
        if self.refuses:
            raise RulesetRefused(self.refuses)
        self.applied.append(transaction)
        if transaction.is_full:
            self.installed = self.restored

    async def read(self) -> Installed | None:
        return self.installed

    async def remove(self) -> None:
        self.applied.clear()


class RecordingFlows:
    """Implements `Flows`."""

    def __init__(self) -> None:
        self.forgotten: list[StaleFlow] = []

    async def forget(self, stale: Sequence[StaleFlow]) -> None:
        self.forgotten += stale


class OpenForwarding:
    """Implements `Forwarding` for a host where nothing is in the way; counts how often it was looked at."""

    def __init__(self) -> None:
        self.looks = 0

    async def ensure(self) -> bool:
        self.looks += 1
        return False

    async def remove(self) -> None:
        return


def node(name: str = "n1", *addresses: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "status": {"addresses": [{"type": "InternalIP", "address": address} for address in addresses]},
    }
