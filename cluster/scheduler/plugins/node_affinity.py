"""Pods that choose their nodes: `nodeSelector` and node affinity.  Upstream: plugins/nodeaffinity."""

from __future__ import annotations

from typing import Any, ClassVar

from cluster.machinery.objects import Obj, field_of
from cluster.resources.node_selection import selects_node, term_holds
from cluster.scheduler.framework import SCORE_MAX, Reject, Verdict, Wake
from cluster.scheduler.requests import PodInfo
from cluster.scheduler.snapshot import NodeInfo


class NodeAffinity:
    name: ClassVar = "NodeAffinity"
    wakes_on: ClassVar = frozenset({Wake.NODE_ADDED, Wake.NODE_RELABELED})
    weight: ClassVar = 2

    def filter(self, pod: PodInfo, node: NodeInfo) -> Verdict:
        fits = selects_node(pod.pod.get("spec") or {}, labels=node.labels, name=node.name)
        return None if fits else Reject(("node(s) didn't match Pod's node affinity/selector",), final=True)

    def score(self, pod: PodInfo, node: NodeInfo) -> int:
        """The weight of the preferred terms that hold, as a share of all."""
        preferred = _affinity(pod, "preferredDuringSchedulingIgnoredDuringExecution") or ()
        total = sum(term.get("weight", 0) for term in preferred)
        if not total:
            return 0
        held = sum(term.get("weight", 0) for term in preferred if _prefers(term, node))
        return int(SCORE_MAX * held // total)


def _prefers(term: Obj, node: NodeInfo) -> bool:
    return term_holds(term.get("preference") or {}, labels=node.labels, name=node.name)


def _affinity(pod: PodInfo, kind: str) -> Any:
    found: Any = field_of(pod.pod, "spec", "affinity", "nodeAffinity", kind)
    return found
