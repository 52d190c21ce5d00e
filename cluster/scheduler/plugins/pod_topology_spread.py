"""Pods spread evenly over zones, hosts or any other label.  Upstream: plugins/podtopologyspread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import ClassVar

from cluster.machinery.objects import Obj, field_of
from cluster.machinery.selectors import Selector
from cluster.scheduler.framework import SCORE_MAX, Reject, Verdict, Wake
from cluster.scheduler.plugins.node_affinity import NodeAffinity
from cluster.scheduler.plugins.taints import TaintToleration
from cluster.scheduler.requests import PodInfo
from cluster.scheduler.snapshot import Cluster, NodeInfo, by_topology
from cluster.scheduler.terms import PodMatch, selector_with_keys

MISMATCH = "node(s) didn't match pod topology spread constraints"
MISSING_LABEL = f"{MISMATCH} (missing required label)"
_AFFINITY = NodeAffinity()
_TAINTS = TaintToleration()


@dataclass(frozen=True, slots=True)
class Constraint:
    """One topologySpreadConstraint of a pod, parsed."""

    topology_key: str
    max_skew: int
    hard: bool
    min_domains: int
    selector: Selector
    honors_affinity: bool
    honors_taints: bool

    def counts_node(self, pod: PodInfo, node: NodeInfo) -> bool:
        """Whether pods on the node, and the node as a domain, count for `pod`."""
        if self.honors_affinity and _AFFINITY.filter(pod, node) is not None:
            return False
        return not self.honors_taints or _TAINTS.filter(pod, node) is None


def constraints_of(pod: PodInfo, defaults: Sequence[Obj] = ()) -> tuple[Constraint, ...]:
    """The pod's own constraints; without any, `defaults`, which select pods with its very labels."""
    own: Sequence[Obj] = field_of(pod.pod, "spec", "topologySpreadConstraints", default=())
    given = own or (
        [{**default, "labelSelector": {"matchLabels": pod.labels}} for default in defaults] if pod.labels else ()
    )
    return tuple(
        Constraint(
            topology_key=str(item.get("topologyKey", "")),
            max_skew=int(item.get("maxSkew") or 1),
            hard=item.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule",
            min_domains=int(item.get("minDomains") or 1),
            selector=selector_with_keys(item.get("labelSelector"), pod.labels, item.get("matchLabelKeys") or ()),
            honors_affinity=item.get("nodeAffinityPolicy", "Honor") == "Honor",
            honors_taints=item.get("nodeTaintsPolicy", "Ignore") == "Honor",
        )
        for item in given
    )


@dataclass(frozen=True, slots=True)
class _Domains:
    """How many matching pods each value of the constraint's label has."""

    constraint: Constraint
    counts: Mapping[str, int]
    own: int
    """1 when the pod itself will count."""

    @property
    def least(self) -> int:
        if len(self.counts) < self.constraint.min_domains:
            return 0
        return min(self.counts.values(), default=0)


class PodTopologySpread:
    """`defaults` are the constraints of pods that state none (a profile's defaultConstraints)."""

    name: ClassVar = "PodTopologySpread"
    wakes_on: ClassVar = frozenset(
        {Wake.NODE_ADDED, Wake.NODE_RELABELED, Wake.NODE_UNTAINTED, Wake.POD_DELETED, Wake.POD_PLACED}
    )
    weight: ClassVar = 2

    def __init__(self, defaults: Sequence[Obj] = ()) -> None:
        self._defaults = defaults

    def prepare(self, pod: PodInfo, cluster: Cluster) -> _Spread | None:
        constraints = constraints_of(pod, self._defaults)
        if not constraints:
            return None
        nodes = cluster.nodes()
        domains: dict[bool, list[_Domains]] = {True: [], False: []}
        for hard in (True, False):
            # As upstream, a node without one of the labels takes part in none of the constraints of its kind.
            alike = [constraint for constraint in constraints if constraint.hard is hard]
            keys = [constraint.topology_key for constraint in alike]
            labelled = [node for node in nodes if all(key in node.labels for key in keys)] if alike else []
            for constraint in alike:
                match = PodMatch(((frozenset({pod.key.namespace}), constraint.selector),), alive=True)
                found = cluster.matching(match)
                counted = [node for node in labelled if constraint.counts_node(pod, node)]
                sums = by_topology(counted, constraint.topology_key, found)
                domains[hard].append(_Domains(constraint, sums, int(constraint.selector.matches(pod.labels))))
        return _Spread(tuple(domains[True]), tuple(domains[False]))


class _Spread:
    """One pod's question: where it would not, or hardly, unbalance what is spread."""

    def __init__(self, hard: tuple[_Domains, ...], soft: tuple[_Domains, ...]) -> None:
        self._hard = [(domains, domains.least) for domains in hard]
        self._soft = soft

    def filter(self, node: NodeInfo) -> Verdict:
        for domains, least in self._hard:
            value = node.labels.get(domains.constraint.topology_key)
            if value is None:
                return Reject((MISSING_LABEL,), final=True)
            if domains.counts.get(value, 0) + domains.own - least > domains.constraint.max_skew:
                return Reject((MISMATCH,))
        return None

    def scores(self, nodes: Sequence[NodeInfo]) -> Sequence[int] | None:
        if not self._soft:
            return None
        raw = [self._uneven(node) for node in nodes]
        known = [value for value in raw if value is not None]
        if not known:
            return None
        least, most = min(known), max(known)
        return [
            0 if value is None else SCORE_MAX if not most else SCORE_MAX * (most + least - value) // most
            for value in raw
        ]

    def _uneven(self, node: NodeInfo) -> int | None:
        """How crowded the node's domains are, rarer ones weighing less; None for a node that takes no part."""
        total = 0.0
        for domains in self._soft:
            value = node.labels.get(domains.constraint.topology_key)
            if value is None:
                return None
            total += domains.counts.get(value, 0) * log(len(domains.counts) + 2) + domains.constraint.max_skew - 1
        return round(total)
