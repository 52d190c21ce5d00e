"""One scheduling decision: a pod and the nodes in, a placement or the reasons out.  Pure.

Upstream: pkg/scheduler/schedule_one.go, framework.FitError.  Among equally good nodes the emptiest is taken, then the
first by name: upstream picks at random, we repeat exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.scheduler.framework import Filter, Scorer, Wake
from cluster.scheduler.plugins.image_locality import ImageLocality
from cluster.scheduler.plugins.node_affinity import NodeAffinity
from cluster.scheduler.plugins.node_name import NodeName
from cluster.scheduler.plugins.node_ports import NodePorts
from cluster.scheduler.plugins.node_resources import NodeResourcesBalanced, NodeResourcesFit
from cluster.scheduler.plugins.taints import NodeUnschedulable, TaintToleration
from cluster.scheduler.requests import PodInfo
from cluster.scheduler.snapshot import NodeInfo

_AFFINITY = NodeAffinity()
_TAINTS = TaintToleration()
_FIT = NodeResourcesFit()

FILTERS: tuple[Filter, ...] = (NodeUnschedulable(), NodeName(), _TAINTS, _AFFINITY, NodePorts(), _FIT)
SCORERS: tuple[Scorer, ...] = (_TAINTS, _AFFINITY, _FIT, NodeResourcesBalanced(), ImageLocality())


@dataclass(frozen=True, slots=True)
class Placement:
    """The pod goes to `node`; `feasible` nodes would have done."""

    node: str
    feasible: int


@dataclass(frozen=True, slots=True)
class Unschedulable:
    """No node will do.  `message` is what the user reads, `wakes_on` what is worth another try."""

    message: str
    wakes_on: frozenset[Wake]


def schedule(
    pod: PodInfo,
    nodes: Sequence[NodeInfo],
    *,
    filters: Sequence[Filter] = FILTERS,
    scorers: Sequence[Scorer] = SCORERS,
) -> Placement | Unschedulable:
    """Decide.  The same arguments give the same answer."""
    if not nodes:
        return Unschedulable("no nodes available to schedule pods", frozenset({Wake.NODE_ADDED}))
    feasible: list[NodeInfo] = []
    reasons: Counter[str] = Counter()
    wakes: set[Wake] = set()
    for node in nodes:
        for plugin in filters:
            verdict = plugin.filter(pod, node)
            if verdict is not None:
                reasons.update(verdict.reasons)
                wakes |= plugin.wakes_on
                break
        else:
            feasible.append(node)
    if not feasible:
        return Unschedulable(message_of(len(nodes), reasons), frozenset(wakes))
    if len(feasible) == 1:
        return Placement(feasible[0].name, 1)
    best = min(feasible, key=lambda node: (-_total(pod, node, scorers), node.pod_count, node.name))
    return Placement(best.name, len(feasible))


def message_of(nodes: int, reasons: Counter[str]) -> str:
    """`0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {k: v}.`"""
    listed = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
    return f"0/{nodes} nodes are available: {listed}."


def _total(pod: PodInfo, node: NodeInfo, scorers: Sequence[Scorer]) -> int:
    return sum(scorer.weight * scorer.score(pod, node) for scorer in scorers)
