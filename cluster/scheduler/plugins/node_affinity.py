"""Pods that choose their nodes: `nodeSelector` and node affinity.  Upstream: plugins/nodeaffinity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from cluster.machinery.objects import Obj, field_of
from cluster.scheduler.framework import SCORE_MAX, Reject, Verdict, Wake
from cluster.scheduler.requests import PodInfo
from cluster.scheduler.snapshot import NodeInfo


class NodeAffinity:
    name: ClassVar = "NodeAffinity"
    wakes_on: ClassVar = frozenset({Wake.NODE_ADDED, Wake.NODE_RELABELED})
    weight: ClassVar = 2

    def filter(self, pod: PodInfo, node: NodeInfo) -> Verdict:
        selector: Mapping[str, str] = field_of(pod.pod, "spec", "nodeSelector", default={})
        required = _affinity(pod, "requiredDuringSchedulingIgnoredDuringExecution")
        fits = selector.items() <= node.labels.items() and (
            required is None or any(term_matches(term, node) for term in required.get("nodeSelectorTerms") or ())
        )
        return None if fits else Reject(("node(s) didn't match Pod's node affinity/selector",), final=True)

    def score(self, pod: PodInfo, node: NodeInfo) -> int:
        """The weight of the preferred terms that hold, as a share of all."""
        preferred = _affinity(pod, "preferredDuringSchedulingIgnoredDuringExecution") or ()
        total = sum(term.get("weight", 0) for term in preferred)
        if not total:
            return 0
        held = sum(term.get("weight", 0) for term in preferred if term_matches(term.get("preference") or {}, node))
        return int(SCORE_MAX * held // total)


def term_matches(term: Obj, node: NodeInfo) -> bool:
    """All expressions of a NodeSelectorTerm hold; a term without any matches nothing."""
    expressions = term.get("matchExpressions") or ()
    fields = term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return all(_holds(expression, node.labels) for expression in expressions) and all(
        _holds(expression, {"metadata.name": node.name}) for expression in fields
    )


def _affinity(pod: PodInfo, kind: str) -> Any:
    found: Any = field_of(pod.pod, "spec", "affinity", "nodeAffinity", kind)
    return found


def _holds(expression: Obj, labels: Mapping[str, str]) -> bool:
    value = labels.get(expression.get("key", ""))
    values: Sequence[str] = expression.get("values") or ()
    match expression.get("operator"):
        case "In":
            return value is not None and value in values
        case "NotIn":
            return value is None or value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" as operator:
            actual, bound = _number(value), _number(values[0] if len(values) == 1 else None)
            if actual is None or bound is None:
                return False
            return actual > bound if operator == "Gt" else actual < bound
        case _:
            return False


def _number(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
