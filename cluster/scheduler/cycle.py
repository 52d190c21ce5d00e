"""One scheduling decision: a pod and the cluster in, a placement or the reasons out.  Pure.

Upstream: pkg/scheduler/schedule_one.go, framework.FitError.  Among equally good nodes the emptiest is taken, then the
first by name: upstream picks at random, we repeat exactly.  `schedule` says what is right; `candidates` finds the same
without looking at every node each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cluster.scheduler.framework import Question, Reject, Relation, Verdict, Wake
from cluster.scheduler.profile import Profile, default_profile
from cluster.scheduler.requests import PodInfo
from cluster.scheduler.snapshot import ClusterState, NodeInfo

DEFAULT_PROFILE = default_profile()


@dataclass(frozen=True, slots=True)
class Placement:
    """The pod goes to `node`; `feasible` nodes would have done."""

    node: str
    feasible: int


@dataclass(frozen=True, slots=True)
class Unschedulable:
    """No node will do.  `message` is what the user reads, `wakes_on` what is worth another try.

    `helpless` are the nodes on which evicting pods would not help.
    """

    message: str
    wakes_on: frozenset[Wake]
    helpless: frozenset[str] = field(default=frozenset())


@dataclass(frozen=True, slots=True)
class Asked:
    """A relation that has something to say about this pod."""

    relation: Relation
    question: Question
    weight: int


def schedule(pod: PodInfo, state: ClusterState, profile: Profile = DEFAULT_PROFILE) -> Placement | Unschedulable:
    """Decide.  The same arguments give the same answer."""
    nodes = [state.node_for(pod, info.name) or info for info in state.nodes()]
    verdicts = {node.name: local_verdict(pod, node, profile) for node in nodes}
    scores = {node.name: local_score(pod, node, profile) for node in nodes if verdicts[node.name] is None}
    return conclude(pod, state, asked=questions(pod, state, profile), verdicts=verdicts, scores=scores)


def conclude(
    pod: PodInfo,
    state: ClusterState,
    *,
    asked: Sequence[Asked],
    verdicts: Mapping[str, Rejected | None],
    scores: Mapping[str, int],
) -> Placement | Unschedulable:
    """The decision, from what each node alone says: `verdicts` of all nodes, `scores` of those that will do."""
    nodes = state.nodes()
    if not nodes:
        return Unschedulable("no nodes available to schedule pods", frozenset({Wake.NODE_ADDED}))
    rejected: dict[str, Rejected] = {}
    feasible: list[NodeInfo] = []
    for node in nodes:
        verdict = verdicts[node.name] or related_verdict(node, asked)
        if verdict is None:
            feasible.append(node)
        else:
            rejected[node.name] = verdict
    if not feasible:
        return unschedulable(len(nodes), rejected)
    nominated = state.nomination(pod.key)
    if nominated and any(node.name == nominated for node in feasible):
        return Placement(nominated, len(feasible))
    totals = {node.name: scores[node.name] for node in feasible}
    for question in asked:
        more = question.question.scores(feasible)
        if more is not None:
            for node, score in zip(feasible, more, strict=True):
                totals[node.name] += question.weight * score
    best = min(feasible, key=lambda node: (-totals[node.name], node.pod_count, node.name))
    return Placement(best.name, len(feasible))


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why a node will not do, and what could change that."""

    reject: Reject
    wakes_on: frozenset[Wake]


def local_verdict(pod: PodInfo, node: NodeInfo, profile: Profile) -> Rejected | None:
    """The first filter that the node alone fails."""
    for plugin in profile.filters:
        verdict: Verdict = plugin.filter(pod, node)
        if verdict is not None:
            return Rejected(verdict, plugin.wakes_on)
    return None


def local_score(pod: PodInfo, node: NodeInfo, profile: Profile) -> int:
    weights = profile.weights
    return sum(weights[scorer.name] * scorer.score(pod, node) for scorer in profile.scorers)


def questions(pod: PodInfo, state: ClusterState, profile: Profile) -> tuple[Asked, ...]:
    """The relations that have something to say about the pod."""
    found = [(relation, relation.prepare(pod, state)) for relation in profile.relations]
    return tuple(
        Asked(relation, asked, profile.weights[relation.name]) for relation, asked in found if asked is not None
    )


def related_verdict(node: NodeInfo, asked: Sequence[Asked]) -> Rejected | None:
    for question in asked:
        verdict = question.question.filter(node)
        if verdict is not None:
            return Rejected(verdict, question.relation.wakes_on)
    return None


def unschedulable(count: int, rejected: Mapping[str, Rejected]) -> Unschedulable:
    reasons: Counter[str] = Counter()
    wakes: set[Wake] = set()
    for entry in rejected.values():
        reasons.update(entry.reject.reasons)
        wakes |= entry.wakes_on
    helpless = frozenset(name for name, entry in rejected.items() if entry.reject.final)
    whole = sorted({reason for entry in rejected.values() if entry.reject.whole for reason in entry.reject.reasons})
    message = f"0/{count} nodes are available: {', '.join(whole)}." if whole else message_of(count, reasons)
    return Unschedulable(message, frozenset(wakes), helpless)


def message_of(nodes: int, reasons: Mapping[str, int]) -> str:
    """`0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {k: v}.`"""
    listed = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
    return f"0/{nodes} nodes are available: {listed}."
