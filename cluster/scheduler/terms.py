"""What pods ask of the pods near them: affinity terms and label matches, parsed once, comparable by value.  Pure.

Upstream: pkg/scheduler/framework/types.go AffinityTerm, core/v1 PodAffinityTerm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cluster.machinery.objects import Obj
from cluster.machinery.selectors import NOTHING, Operator, Requirement, Selector, SelectorError, selector_of

HARD_AFFINITY_WEIGHT = 1
"""What a placed pod's required affinity is worth to a pod that it matches.  Upstream: hardPodAffinityWeight."""


@dataclass(frozen=True, slots=True)
class Term:
    """Pods of `namespaces`, or of namespaces that `namespace_selector` matches, that `selector` matches, in one topology."""

    namespaces: frozenset[str]
    namespace_selector: Selector | None
    selector: Selector
    topology_key: str
    weight: int = 0

    def matches(self, namespace: str, namespace_labels: Mapping[str, str], labels: Mapping[str, str]) -> bool:
        named = namespace in self.namespaces or (
            self.namespace_selector is not None and self.namespace_selector.matches(namespace_labels)
        )
        return named and self.selector.matches(labels)


@dataclass(frozen=True, slots=True)
class AffinityTerms:
    """A pod's own terms.  `preferred` carry weights, negative for anti-affinity."""

    affinity: tuple[Term, ...] = ()
    anti: tuple[Term, ...] = ()
    preferred: tuple[Term, ...] = ()

    @property
    def attracting(self) -> tuple[Term, ...]:
        """What a placed pod with these terms says about pods to come: its preferences, and its required affinity."""
        hard = tuple(
            Term(term.namespaces, term.namespace_selector, term.selector, term.topology_key, HARD_AFFINITY_WEIGHT)
            for term in self.affinity
        )
        return (*self.preferred, *hard)


NO_TERMS = AffinityTerms()


@dataclass(frozen=True, slots=True)
class PodMatch:
    """Placed pods that all of `parts` match: each names its namespaces and a selector.

    With `alive`, terminating pods do not count.
    """

    parts: tuple[tuple[frozenset[str], Selector], ...]
    alive: bool = False

    def matches(self, namespace: str, labels: Mapping[str, str]) -> bool:
        return all(namespace in namespaces and selector.matches(labels) for namespaces, selector in self.parts)


def affinity_terms(affinity: Obj, namespace: str, labels: Mapping[str, str]) -> AffinityTerms:
    """The pod (anti-)affinity of a pod with `labels` in `namespace`.  Terms that cannot be read match nothing."""
    attract, repel = affinity.get("podAffinity") or {}, affinity.get("podAntiAffinity") or {}
    required, preferred = (
        "requiredDuringSchedulingIgnoredDuringExecution",
        "preferredDuringSchedulingIgnoredDuringExecution",
    )
    weighted = [(term, int(term.get("weight") or 0)) for term in attract.get(preferred) or ()]
    weighted += [(term, -int(term.get("weight") or 0)) for term in repel.get(preferred) or ()]
    terms = AffinityTerms(
        affinity=tuple(_term(term, namespace, labels, 0) for term in attract.get(required) or ()),
        anti=tuple(_term(term, namespace, labels, 0) for term in repel.get(required) or ()),
        preferred=tuple(
            _term(term.get("podAffinityTerm") or {}, namespace, labels, weight) for term, weight in weighted
        ),
    )
    return terms if terms != NO_TERMS else NO_TERMS


def selector_with_keys(
    label_selector: Obj | None, labels: Mapping[str, str], match: Iterable[str], mismatch: Iterable[str] = ()
) -> Selector:
    """The selector, narrowed to pods that agree with `labels` on `match` and differ on `mismatch`; absent keys say nothing."""
    if label_selector is None:
        return NOTHING
    try:
        selector = selector_of(label_selector)
    except SelectorError:
        return NOTHING
    more = [Requirement(key, Operator.IN, frozenset({labels[key]})) for key in match if key in labels]
    more += [Requirement(key, Operator.NOT_IN, frozenset({labels[key]})) for key in mismatch if key in labels]
    return Selector((*selector.requirements, *more), selector.nothing) if more else selector


def _term(term: Obj, namespace: str, labels: Mapping[str, str], weight: int) -> Term:
    names: Sequence[str] = term.get("namespaces") or ()
    chooser = term.get("namespaceSelector")
    try:
        namespaces = None if chooser is None else selector_of(chooser)
    except SelectorError:
        namespaces = NOTHING
    return Term(
        namespaces=frozenset(names if names or chooser is not None else (namespace,)),
        namespace_selector=namespaces,
        selector=selector_with_keys(
            term.get("labelSelector"), labels, term.get("matchLabelKeys") or (), term.get("mismatchLabelKeys") or ()
        ),
        topology_key=str(term.get("topologyKey", "")),
        weight=weight,
    )
