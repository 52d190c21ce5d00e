"""What a scheduling plugin is: one question about a pod and a node, one reason, and what could change the answer.

Upstream: pkg/scheduler/framework/interface.go.  "Does not fit" is a value, not an exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import ClassVar, Protocol

from cluster.scheduler.requests import PodInfo
from cluster.scheduler.snapshot import Cluster, NodeInfo

SCORE_MAX = 100


class Wake(Enum):
    """A change in the cluster that may let a pod fit that did not."""

    NODE_ADDED = auto()
    NODE_GREW = auto()
    NODE_RELABELED = auto()
    NODE_UNTAINTED = auto()
    POD_DELETED = auto()
    POD_PLACED = auto()
    STORAGE_CHANGED = auto()


@dataclass(frozen=True, slots=True)
class Reject:
    """The node will not do: one or more reasons in upstream's words.  `final`: evicting pods there would not help.

    `whole`: the reason is the pod's own, the same on every node.
    """

    reasons: tuple[str, ...]
    final: bool = False
    whole: bool = False


Verdict = Reject | None


class Filter(Protocol):
    """Decides from the pod and one node alone, so that the answer holds until that node changes."""

    name: ClassVar[str]
    wakes_on: ClassVar[frozenset[Wake]]

    def filter(self, pod: PodInfo, node: NodeInfo) -> Verdict:
        """None when the node will do."""
        ...


class Scorer(Protocol):
    name: ClassVar[str]
    weight: ClassVar[int]

    def score(self, pod: PodInfo, node: NodeInfo) -> int:
        """How well the node suits, 0 to SCORE_MAX."""
        ...


class Question(Protocol):
    """What one pod asks of the nodes, prepared from the whole cluster; valid for one decision."""

    def filter(self, node: NodeInfo) -> Verdict:
        """None when the node will do."""
        ...

    def scores(self, nodes: Sequence[NodeInfo]) -> Sequence[int] | None:
        """How well each of the feasible nodes suits, 0 to SCORE_MAX; None when all are alike."""
        ...


class Relation(Protocol):
    """A plugin whose answer about a node depends on other nodes, pods or volumes."""

    name: ClassVar[str]
    wakes_on: ClassVar[frozenset[Wake]]
    weight: ClassVar[int]

    def prepare(self, pod: PodInfo, cluster: Cluster) -> Question | None:
        """None when this pod asks nothing of the kind."""
        ...
