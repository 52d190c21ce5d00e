"""What runs where, kept up to date change by change; each scheduling cycle reads it as immutable NodeInfos.

Pods that were placed but whose binding the cache does not show yet are *assumed*: they count as running there, until the
cache confirms them or their binding fails and they are forgotten.  Every change of a node is numbered, so that what was
computed from a node is computed again only when that node changed.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cluster.machinery.objects import Key, Obj, field_of, labels_of, name_of
from cluster.machinery.selectors import Selector
from cluster.scheduler.requests import HostPort, PodInfo, amounts_of
from cluster.scheduler.terms import NO_TERMS, PodMatch, Term

CHANGES_MAX = 20_000
"""Numbered changes kept; who asks for older ones looks at every node."""
MATCHES_MAX = 128
"""Label matches whose counts per node are kept; the least recently asked go."""


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


class Cluster(Protocol):
    """What relations between pods are decided from.  Implementations: ClusterState, and `Without` in `preemption`."""

    def nodes(self) -> Sequence[NodeInfo]:
        """Every node as it is now, by name."""
        ...

    def matching(self, match: PodMatch) -> Mapping[str, int]:
        """How many placed pods match, by node; nodes with none are left out."""
        ...

    def repelling(self) -> Iterable[tuple[Term, Mapping[str, int]]]:
        """The required anti-affinity terms that placed pods hold, with how many hold each by node."""
        ...

    def attracting(self) -> Iterable[tuple[Term, Mapping[str, int]]]:
        """The same of preferred terms and required affinity, with their weights."""
        ...

    def namespace_labels(self, name: str) -> Mapping[str, str]: ...

    def namespaces(self, selector: Selector) -> frozenset[str]:
        """The namespaces whose labels match."""
        ...


@dataclass(slots=True)
class _Usage:
    """Sums over the pods of one node, adjusted as pods come and go."""

    requests: Counter[str] = field(default_factory=Counter)
    scored: Counter[str] = field(default_factory=Counter)
    ports: Counter[HostPort] = field(default_factory=Counter)
    pods: dict[Key, PodInfo] = field(default_factory=dict)

    def add(self, info: PodInfo, sign: int) -> None:
        for name, amount in info.requests.items():
            self.requests[name] += sign * amount
        for name, amount in info.scored.items():
            self.scored[name] += sign * amount
        for port in info.host_ports:
            self.ports[port] += sign
            if not self.ports[port]:
                del self.ports[port]
        if sign > 0:
            self.pods[info.key] = info
        else:
            self.pods.pop(info.key, None)


@dataclass(frozen=True, slots=True)
class _Placed:
    info: PodInfo
    node: str
    assumed: bool


@dataclass(slots=True)
class _Counts:
    """Matching pods by node, as of a change number."""

    seen: int = -1
    by_node: dict[str, int] = field(default_factory=dict)


class TermHolders:
    """How many placed pods hold a term, by term and node."""

    def __init__(self) -> None:
        self._held: dict[Term, Counter[str]] = {}

    def add(self, terms: Iterable[Term], node: str, sign: int) -> None:
        for term in terms:
            counts = self._held.setdefault(term, Counter())
            counts[node] += sign
            if not counts[node]:
                del counts[node]
                if not counts:
                    del self._held[term]

    def items(self) -> Iterable[tuple[Term, Mapping[str, int]]]:
        return self._held.items()


class ClusterState:
    """See the module.  Not shared between loops: one scheduler owns it."""

    def __init__(self) -> None:
        self._nodes: dict[str, Obj] = {}
        self._allocatable: dict[str, Mapping[str, int]] = {}
        self._usage: dict[str, _Usage] = {}
        self._placed: dict[Key, _Placed] = {}
        self._nominated: dict[Key, tuple[PodInfo, str]] = {}
        self._infos: dict[str, NodeInfo] = {}
        self._order: tuple[str, ...] = ()
        self._changes: list[str] = []
        self._changes_from = 0
        self._matches: OrderedDict[PodMatch, _Counts] = OrderedDict()
        self._repelling = TermHolders()
        self._attracting = TermHolders()
        self._namespaces: dict[str, Mapping[str, str]] = {}

    def set_node(self, node: Obj) -> None:
        name = name_of(node)
        if name not in self._nodes:
            self._order = tuple(sorted((*self._order, name)))
        self._nodes[name] = node
        self._allocatable[name] = amounts_of(field_of(node, "status", "allocatable", default={}))
        self._mark(name)

    def remove_node(self, name: str) -> None:
        """Pods bound to it stay counted, for the case that it returns."""
        if self._nodes.pop(name, None) is not None:
            self._order = tuple(other for other in self._order if other != name)
            del self._allocatable[name]
        self._mark(name)

    def set_namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        """`labels` is None when the namespace is gone."""
        if labels is None:
            self._namespaces.pop(name, None)
        else:
            self._namespaces[name] = labels

    def place(self, info: PodInfo, node: str, *, assumed: bool = False) -> bool:
        """The pod runs on `node`; a later, confirmed placement replaces an assumed one.  Whether that is news."""
        was = self._placed.get(info.key)
        if was is not None and was.node == node and was.info.uid == info.uid and _counts_alike(was.info, info):
            self._placed[info.key] = _Placed(info, node, assumed)
            self._usage[node].pods[info.key] = info
            return was.assumed and not assumed
        self.remove(info.key)
        self._placed[info.key] = _Placed(info, node, assumed)
        self._usage.setdefault(node, _Usage()).add(info, 1)
        self._hold(info, node, 1)
        self._nominated.pop(info.key, None)
        self._mark(node)
        return True

    def remove(self, key: Key) -> bool:
        """The pod is gone, finished or not bound after all; whether it had been placed."""
        placed = self._placed.pop(key, None)
        if placed is None:
            return False
        usage = self._usage[placed.node]
        usage.add(placed.info, -1)
        if not usage.pods:
            del self._usage[placed.node]
        self._hold(placed.info, placed.node, -1)
        self._mark(placed.node)
        return True

    def nominate(self, info: PodInfo, node: str) -> None:
        """Room is being made for the pod on `node` (empty: no more): pods of no higher priority leave it alone."""
        _, was = self._nominated.pop(info.key, (info, ""))
        if node:
            self._nominated[info.key] = (info, node)
        for name in {was, node} - {""}:
            self._mark(name)

    def forget_nomination(self, key: Key) -> None:
        if key in self._nominated:
            self.nominate(self._nominated[key][0], "")

    def nomination(self, key: Key) -> str:
        """The node on which room is being made for the pod; empty when there is none."""
        return self._nominated[key][1] if key in self._nominated else ""

    def is_assumed(self, key: Key) -> bool:
        placed = self._placed.get(key)
        return placed is not None and placed.assumed

    def uid_at(self, key: Key) -> str:
        """The uid of the pod placed under this name; empty when none is."""
        placed = self._placed.get(key)
        return placed.info.uid if placed is not None else ""

    def nodes(self) -> Sequence[NodeInfo]:
        return [self._infos.get(name) or self._refresh(name) for name in self._order]

    def node(self, name: str) -> NodeInfo | None:
        if name not in self._nodes:
            return None
        return self._infos.get(name) or self._refresh(name)

    def node_for(self, pod: PodInfo, name: str) -> NodeInfo | None:
        """The node with what is nominated to it and not below `pod` counted as running there."""
        info = self.node(name)
        if info is None or not self._nominated:
            return info
        ahead = [
            other
            for other, node in self._nominated.values()
            if node == name and other.priority >= pod.priority and other.key != pod.key
        ]
        return node_with(self._nodes[name], (*self.pods_on(name), *ahead)) if ahead else info

    def pods_on(self, name: str) -> Sequence[PodInfo]:
        """The pods placed on a node, by key."""
        usage = self._usage.get(name)
        return [usage.pods[key] for key in sorted(usage.pods)] if usage is not None else ()

    @property
    def change_number(self) -> int:
        return self._changes_from + len(self._changes)

    def changed_since(self, number: int) -> Iterable[str]:
        """The nodes that changed, came or went since `change_number` was this, in a fixed order; all for a forgotten one."""
        if number < self._changes_from:
            return sorted({*self._order, *self._changes})
        return dict.fromkeys(self._changes[number - self._changes_from :])

    def matching(self, match: PodMatch) -> Mapping[str, int]:
        counts = self._matches.get(match)
        if counts is None:
            counts = self._matches[match] = _Counts()
            if len(self._matches) > MATCHES_MAX:
                self._matches.popitem(last=False)
        else:
            self._matches.move_to_end(match)
        names = self.changed_since(counts.seen) if counts.seen >= 0 else self._usage
        for name in names:
            usage = self._usage.get(name)
            count = matching_pods(match, usage.pods.values()) if usage is not None else 0
            if count:
                counts.by_node[name] = count
            else:
                counts.by_node.pop(name, None)
        counts.seen = self.change_number
        return counts.by_node

    def repelling(self) -> Iterable[tuple[Term, Mapping[str, int]]]:
        return self._repelling.items()

    def attracting(self) -> Iterable[tuple[Term, Mapping[str, int]]]:
        return self._attracting.items()

    def namespace_labels(self, name: str) -> Mapping[str, str]:
        return self._namespaces.get(name, {})

    def namespaces(self, selector: Selector) -> frozenset[str]:
        return frozenset(name for name, labels in self._namespaces.items() if selector.matches(labels))

    def _hold(self, info: PodInfo, node: str, sign: int) -> None:
        if info.terms is not NO_TERMS:
            self._repelling.add(info.terms.anti, node, sign)
            self._attracting.add(info.terms.attracting, node, sign)

    def _mark(self, name: str) -> None:
        self._infos.pop(name, None)
        self._changes.append(name)
        if len(self._changes) > CHANGES_MAX:
            half = CHANGES_MAX // 2
            del self._changes[:half]
            self._changes_from += half

    def _refresh(self, name: str) -> NodeInfo:
        info = _info(self._nodes[name], self._usage.get(name) or _Usage(), self._allocatable[name])
        self._infos[name] = info
        return info


def matching_pods(match: PodMatch, pods: Iterable[PodInfo]) -> int:
    return sum(1 for pod in pods if not (match.alive and pod.deleting) and match.matches(pod.key.namespace, pod.labels))


def node_with(node: Obj, pods: Iterable[PodInfo]) -> NodeInfo:
    """The node with exactly `pods` placed on it."""
    usage = _Usage()
    for info in pods:
        usage.add(info, 1)
    return _info(node, usage, amounts_of(field_of(node, "status", "allocatable", default={})))


def by_topology(nodes: Iterable[NodeInfo], key: str, amounts: Mapping[str, int]) -> dict[str, int]:
    """Sums of `amounts` (by node) over the nodes, by their value of the label `key`; nodes without it are left out."""
    sums: dict[str, int] = {}
    for node in nodes:
        value = node.labels.get(key)
        if value is not None:
            sums[value] = sums.get(value, 0) + amounts.get(node.name, 0)
    return sums


def _counts_alike(one: PodInfo, other: PodInfo) -> bool:
    return one.shape == other.shape and one.deleting == other.deleting


def _info(node: Obj, usage: _Usage, allocatable: Mapping[str, int]) -> NodeInfo:
    return NodeInfo(
        name=name_of(node),
        node=node,
        labels=labels_of(node),
        taints=tuple(field_of(node, "spec", "taints", default=())),
        unschedulable=bool(field_of(node, "spec", "unschedulable", default=False)),
        allocatable=allocatable,
        free={name: amount - usage.requests.get(name, 0) for name, amount in allocatable.items()},
        scored=dict(usage.scored),
        pod_count=len(usage.pods),
        host_ports=tuple(sorted(usage.ports)),
    )
