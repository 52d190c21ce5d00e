"""Room for the pod's requests; then nodes that stay emptier, and more evenly used, first.  Upstream: plugins/noderesources."""

from __future__ import annotations

from math import sqrt
from typing import ClassVar

from cluster.scheduler.framework import SCORE_MAX, Reject, Verdict, Wake
from cluster.scheduler.requests import PodInfo
from cluster.scheduler.snapshot import NodeInfo

SCORED = ("cpu", "memory")


class NodeResourcesFit:
    """Reject nodes without room for the pod's requests (millicores, bytes, counts); score what would be left."""

    name: ClassVar = "NodeResourcesFit"
    wakes_on: ClassVar = frozenset({Wake.POD_DELETED, Wake.NODE_ADDED, Wake.NODE_GREW})
    weight: ClassVar = 1

    def filter(self, pod: PodInfo, node: NodeInfo) -> Verdict:
        reasons: list[str] = []
        final = False
        if "pods" in node.allocatable and node.pod_count + 1 > node.allocatable["pods"]:
            reasons.append("Too many pods")
        for resource, need in sorted(pod.requests.items()):
            if need and need > node.free.get(resource, 0):
                reasons.append(f"Insufficient {resource}")
                final = final or need > node.allocatable.get(resource, 0)
        return Reject(tuple(reasons), final=final) if reasons else None

    def score(self, pod: PodInfo, node: NodeInfo) -> int:
        """LeastAllocated: the mean free share of cpu and memory after the pod."""
        shares = [SCORE_MAX - int(used * SCORE_MAX) for used in used_shares(pod, node)]
        return sum(shares) // len(shares) if shares else 0


class NodeResourcesBalanced:
    """Prefer nodes whose cpu and memory would be used to a similar degree."""

    name: ClassVar = "NodeResourcesBalancedAllocation"
    weight: ClassVar = 1

    def score(self, pod: PodInfo, node: NodeInfo) -> int:
        used = used_shares(pod, node)
        if len(used) < 2:
            return SCORE_MAX
        mean = sum(used) / len(used)
        return int((1 - sqrt(sum((share - mean) ** 2 for share in used) / len(used))) * SCORE_MAX)


def used_shares(pod: PodInfo, node: NodeInfo) -> list[float]:
    """How much of each scored resource would be in use with the pod, 0 to 1."""
    return [
        min(1.0, (node.scored.get(name, 0) + pod.scored.get(name, 0)) / node.allocatable[name])
        for name in SCORED
        if node.allocatable.get(name)
    ]
