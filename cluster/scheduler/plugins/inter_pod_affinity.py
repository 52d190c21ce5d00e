"""Pods that want to be near or far from other pods.  Upstream: plugins/interpodaffinity.

Affinity that nothing satisfies yet does not hold up the first pod of a group that matches its own terms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from cluster.scheduler.framework import SCORE_MAX, Reject, Verdict, Wake
from cluster.scheduler.requests import PodInfo
from cluster.scheduler.snapshot import Cluster, NodeInfo, by_topology
from cluster.scheduler.terms import PodMatch, Term

AFFINITY = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
EXISTING_ANTI_AFFINITY = "node(s) didn't satisfy existing pods anti-affinity rules"

Topology = tuple[str, str]
"""A label and its value: a place as pods' terms mean it."""


class InterPodAffinity:
    name: ClassVar = "InterPodAffinity"
    wakes_on: ClassVar = frozenset({Wake.NODE_ADDED, Wake.NODE_RELABELED, Wake.POD_DELETED, Wake.POD_PLACED})
    weight: ClassVar = 2

    def prepare(self, pod: PodInfo, cluster: Cluster) -> _Near | None:
        labels = cluster.namespace_labels(pod.key.namespace)

        def is_meant(term: Term) -> bool:
            return term.matches(pod.key.namespace, labels, pod.labels)

        repelling = [(term, counts) for term, counts in cluster.repelling() if is_meant(term)]
        attracting = [(term, counts) for term, counts in cluster.attracting() if is_meant(term)]
        terms = pod.terms
        if not (repelling or attracting or terms.affinity or terms.anti or terms.preferred):
            return None
        nodes = cluster.nodes()
        existing = {place for term, counts in repelling for place in _places(nodes, term.topology_key, counts)}
        anti = {
            place
            for term in terms.anti
            for place in _places(nodes, term.topology_key, cluster.matching(_match(cluster, (term,))))
        }
        affinity: set[Topology] | None = None
        if terms.affinity:
            counts = cluster.matching(_match(cluster, terms.affinity))
            affinity = {p for term in terms.affinity for p in _places(nodes, term.topology_key, counts)}
            if not affinity and all(is_meant(term) for term in terms.affinity):
                affinity = None
        weights: dict[Topology, int] = {}
        own = [(term, cluster.matching(_match(cluster, (term,)))) for term in terms.preferred]
        for term, counts in (*own, *attracting):
            for value, count in by_topology(nodes, term.topology_key, counts).items():
                place = (term.topology_key, value)
                weights[place] = weights.get(place, 0) + term.weight * count
        return _Near(
            keys=tuple(dict.fromkeys(term.topology_key for term in terms.affinity)),
            affinity=affinity,
            anti=frozenset(anti),
            existing=frozenset(existing),
            weights={place: weight for place, weight in weights.items() if weight},
        )


class _Near:
    """One pod's question: where it must, must not and would rather be."""

    def __init__(
        self,
        *,
        keys: tuple[str, ...],
        affinity: set[Topology] | None,
        anti: frozenset[Topology],
        existing: frozenset[Topology],
        weights: Mapping[Topology, int],
    ) -> None:
        self._keys = keys
        self._affinity = affinity
        self._anti = anti
        self._existing = existing
        self._weights = weights
        self._anti_keys = tuple(sorted({key for key, _ in anti}))
        self._existing_keys = tuple(sorted({key for key, _ in existing}))
        self._weight_keys = tuple(sorted({key for key, _ in weights}))

    def filter(self, node: NodeInfo) -> Verdict:
        for key in self._keys:
            value = node.labels.get(key)
            if value is None or (self._affinity is not None and (key, value) not in self._affinity):
                return Reject((AFFINITY,), final=True)
        if _is_in(node, self._anti_keys, self._anti):
            return Reject((ANTI_AFFINITY,))
        if _is_in(node, self._existing_keys, self._existing):
            return Reject((EXISTING_ANTI_AFFINITY,))
        return None

    def scores(self, nodes: Sequence[NodeInfo]) -> Sequence[int] | None:
        if not self._weights:
            return None
        sums = [
            sum(self._weights.get((key, node.labels.get(key, "")), 0) for key in self._weight_keys) for node in nodes
        ]
        least, most = min(sums), max(sums)
        return None if least == most else [SCORE_MAX * (total - least) // (most - least) for total in sums]


def _match(cluster: Cluster, terms: Sequence[Term]) -> PodMatch:
    """Placed pods that every one of `terms` means, with its namespaces as they are labelled now."""
    return PodMatch(
        tuple(
            (
                term.namespaces
                if term.namespace_selector is None
                else term.namespaces | cluster.namespaces(term.namespace_selector),
                term.selector,
            )
            for term in terms
        )
    )


def _places(nodes: Sequence[NodeInfo], key: str, counts: Mapping[str, int]) -> set[Topology]:
    return {(key, value) for node in nodes if node.name in counts and (value := node.labels.get(key)) is not None}


def _is_in(node: NodeInfo, keys: Sequence[str], places: frozenset[Topology]) -> bool:
    return any((value := node.labels.get(key)) is not None and (key, value) in places for key in keys)
