"""What runs where, kept up to date change by change; each scheduling cycle reads it as immutable NodeInfos.

Pods that were placed but whose binding the cache does not show yet are *assumed*: they count as running there, until the
cache confirms them or their binding fails and they are forgotten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cluster.machinery.objects import Key, Obj, field_of, labels_of, name_of
from cluster.scheduler.requests import HostPort, PodInfo, amounts_of


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """One node: what it has (`allocatable`), what is left of it (`free`), and what pods there hold."""

    name: str
    node: Obj
    labels: Mapping[str, str]
    taints: tuple[Obj, ...]
    unschedulable: bool
    allocatable: Mapping[str, int]
    free: Mapping[str, int]
    scored: Mapping[str, int]
    pod_count: int
    host_ports: tuple[HostPort, ...]


@dataclass(slots=True)
class _Usage:
    """Sums over the pods of one node, adjusted as pods come and go."""

    requests: Counter[str] = field(default_factory=Counter)
    scored: Counter[str] = field(default_factory=Counter)
    ports: Counter[HostPort] = field(default_factory=Counter)
    pods: int = 0

    def add(self, info: PodInfo, sign: int) -> None:
        for name, amount in info.requests.items():
            self.requests[name] += sign * amount
        for name, amount in info.scored.items():
            self.scored[name] += sign * amount
        for port in info.host_ports:
            self.ports[port] += sign
            if not self.ports[port]:
                del self.ports[port]
        self.pods += sign


@dataclass(frozen=True, slots=True)
class _Placed:
    info: PodInfo
    node: str
    assumed: bool


class ClusterState:
    """See the module.  Not shared between loops: one scheduler owns it."""

    def __init__(self) -> None:
        self._nodes: dict[str, Obj] = {}
        self._usage: dict[str, _Usage] = {}
        self._placed: dict[Key, _Placed] = {}
        self._infos: dict[str, NodeInfo] = {}
        self._order: tuple[str, ...] = ()

    def set_node(self, node: Obj) -> None:
        name = name_of(node)
        if name not in self._nodes:
            self._order = tuple(sorted((*self._order, name)))
        self._nodes[name] = node
        self._infos.pop(name, None)

    def remove_node(self, name: str) -> None:
        """Pods bound to it stay counted, for the case that it returns."""
        if self._nodes.pop(name, None) is not None:
            self._order = tuple(other for other in self._order if other != name)
        self._infos.pop(name, None)

    def place(self, info: PodInfo, node: str, *, assumed: bool = False) -> None:
        """The pod runs on `node`; a later, confirmed placement replaces an assumed one."""
        self.remove(info.key)
        self._placed[info.key] = _Placed(info, node, assumed)
        self._usage.setdefault(node, _Usage()).add(info, 1)
        self._infos.pop(node, None)

    def remove(self, key: Key) -> bool:
        """The pod is gone, finished or not bound after all; whether it had been placed."""
        placed = self._placed.pop(key, None)
        if placed is None:
            return False
        usage = self._usage[placed.node]
        usage.add(placed.info, -1)
        if not usage.pods:
            del self._usage[placed.node]
        self._infos.pop(placed.node, None)
        return True

    def is_assumed(self, key: Key) -> bool:
        placed = self._placed.get(key)
        return placed is not None and placed.assumed

    def uid_at(self, key: Key) -> str:
        """The uid of the pod placed under this name; empty when none is."""
        placed = self._placed.get(key)
        return placed.info.uid if placed is not None else ""

    def nodes(self) -> Sequence[NodeInfo]:
        """Every node as it is now, by name."""
        return [self._infos.get(name) or self._refresh(name) for name in self._order]

    def _refresh(self, name: str) -> NodeInfo:
        info = node_info(self._nodes[name], self._usage.get(name) or _Usage())
        self._infos[name] = info
        return info


def node_info(node: Obj, usage: _Usage | None = None) -> NodeInfo:
    """The node with its pods' `usage` taken off."""
    usage = usage or _Usage()
    allocatable = amounts_of(field_of(node, "status", "allocatable", default={}))
    return NodeInfo(
        name=name_of(node),
        node=node,
        labels=labels_of(node),
        taints=tuple(field_of(node, "spec", "taints", default=())),
        unschedulable=bool(field_of(node, "spec", "unschedulable", default=False)),
        allocatable=allocatable,
        free={name: amount - usage.requests.get(name, 0) for name, amount in allocatable.items()},
        scored=dict(usage.scored),
        pod_count=usage.pods,
        host_ports=tuple(sorted(usage.ports)),
    )
