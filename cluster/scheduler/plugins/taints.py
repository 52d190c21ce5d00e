"""Nodes that keep pods off, unless the pod tolerates it.  Upstream: plugins/{tainttoleration,nodeunschedulable}."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from cluster.machinery.objects import Obj, field_of
from cluster.resources.taints import tolerates
from cluster.scheduler.framework import SCORE_MAX, Reject, Verdict, Wake
from cluster.scheduler.requests import PodInfo
from cluster.scheduler.snapshot import NodeInfo

UNSCHEDULABLE = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


def tolerations_of(pod: PodInfo) -> Iterable[Obj]:
    found: Iterable[Obj] = field_of(pod.pod, "spec", "tolerations", default=())
    return found


class NodeUnschedulable:
    name: ClassVar = "NodeUnschedulable"
    wakes_on: ClassVar = frozenset({Wake.NODE_ADDED, Wake.NODE_UNTAINTED})

    def filter(self, pod: PodInfo, node: NodeInfo) -> Verdict:
        if node.unschedulable and not tolerates(tolerations_of(pod), UNSCHEDULABLE):
            return Reject(("node(s) were unschedulable",), final=True)
        return None


class TaintToleration:
    """NoSchedule and NoExecute taints reject; nodes with fewer untolerated PreferNoSchedule taints score higher."""

    name: ClassVar = "TaintToleration"
    wakes_on: ClassVar = frozenset({Wake.NODE_ADDED, Wake.NODE_UNTAINTED})
    weight: ClassVar = 3

    def filter(self, pod: PodInfo, node: NodeInfo) -> Verdict:
        for taint in node.taints:
            if taint.get("effect") not in ("NoSchedule", "NoExecute"):
                continue
            if not tolerates(tolerations_of(pod), taint):
                text = f"node(s) had untolerated taint {{{taint.get('key', '')}: {taint.get('value') or ''}}}"
                return Reject((text,), final=True)
        return None

    def score(self, pod: PodInfo, node: NodeInfo) -> int:
        avoided = sum(
            taint.get("effect") == "PreferNoSchedule" and not tolerates(tolerations_of(pod), taint)
            for taint in node.taints
        )
        return int(SCORE_MAX // (1 + avoided))
