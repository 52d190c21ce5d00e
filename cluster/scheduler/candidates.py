"""The nodes that suit pods of one shape, the best first, kept up to date node by node: alike pods are scheduled together.

What a node alone says about a shape holds until that node changes, so a decision looks again only at the nodes that changed
since the last one for that shape.  Gives what `cycle.schedule` gives.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict

from cluster.machinery.objects import Key
from cluster.scheduler.cycle import (
    Placement,
    Rejected,
    Unschedulable,
    conclude,
    local_score,
    local_verdict,
    questions,
    unschedulable,
)
from cluster.scheduler.framework import Wake
from cluster.scheduler.profile import Profile
from cluster.scheduler.requests import PodInfo
from cluster.scheduler.snapshot import ClusterState

SHAPES_MAX = 64
"""Shapes remembered; the least recently scheduled go.  One costs about 300 bytes a node."""

_Entry = tuple[int, int, str]


class Candidates:
    """One shape's nodes.  The heap may hold entries that are no longer true; `_entries` says which are."""

    def __init__(self, state: ClusterState, profile: Profile) -> None:
        self._state = state
        self._profile = profile
        self._seen = -1
        self._entries: dict[str, _Entry] = {}
        self._scores: dict[str, int] = {}
        self._verdicts: dict[str, Rejected | None] = {}
        self._heap: list[_Entry] = []

    def decide(self, pod: PodInfo) -> Placement | Unschedulable:
        self._refresh(pod)
        asked = questions(pod, self._state, self._profile)
        if asked or self._state.nomination(pod.key):
            return conclude(pod, self._state, asked=asked, verdicts=self._verdicts, scores=self._scores)
        if not self._verdicts:
            return Unschedulable("no nodes available to schedule pods", frozenset({Wake.NODE_ADDED}))
        if not self._entries:
            rejected = {name: verdict for name, verdict in self._verdicts.items() if verdict is not None}
            return unschedulable(len(self._verdicts), rejected)
        while self._entries.get(self._heap[0][2]) != self._heap[0]:
            heapq.heappop(self._heap)
        return Placement(self._heap[0][2], len(self._entries))

    def _refresh(self, pod: PodInfo) -> None:
        state = self._state
        names = state.changed_since(self._seen) if self._seen >= 0 else [node.name for node in state.nodes()]
        for name in names:
            node, live = state.node_for(pod, name), state.node(name)
            self._entries.pop(name, None)
            self._scores.pop(name, None)
            if node is None or live is None:
                self._verdicts.pop(name, None)
                continue
            verdict = self._verdicts[name] = local_verdict(pod, node, self._profile)
            if verdict is None:
                score = self._scores[name] = local_score(pod, node, self._profile)
                entry = self._entries[name] = (-score, live.pod_count, name)
                heapq.heappush(self._heap, entry)
        self._seen = state.change_number
        if len(self._heap) > 4 * len(self._entries) + 64:
            self._heap = list(self._entries.values())
            heapq.heapify(self._heap)


class Decider:
    """Decides for pods of any shape; see the module."""

    def __init__(self, state: ClusterState) -> None:
        self._state = state
        self._shapes: OrderedDict[tuple[str, bytes, Key | None], Candidates] = OrderedDict()

    def decide(self, pod: PodInfo, profile: Profile) -> Placement | Unschedulable:
        # What is nominated counts for every pod but itself: such a pod is a shape of its own.
        own = pod.key if self._state.nomination(pod.key) else None
        shape = (profile.name, pod.shape, own)
        candidates = self._shapes.get(shape)
        if candidates is None:
            candidates = self._shapes[shape] = Candidates(self._state, profile)
            if len(self._shapes) > SHAPES_MAX:
                self._shapes.popitem(last=False)
        else:
            self._shapes.move_to_end(shape)
        return candidates.decide(pod)
