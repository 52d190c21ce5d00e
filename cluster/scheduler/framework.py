"""What a scheduling plugin is: one question about a pod and a node, one reason, and what could change the answer.

Upstream: pkg/scheduler/framework/interface.go.  "Does not fit" is a value, not an exception.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import ClassVar, Protocol

from cluster.scheduler.requests import PodInfo
from cluster.scheduler.snapshot import NodeInfo

SCORE_MAX = 100


class Wake(Enum):
    """A change in the cluster that may let a pod fit that did not."""

    NODE_ADDED = auto()
    NODE_GREW = auto()
    NODE_RELABELED = auto()
    NODE_UNTAINTED = auto()
    POD_DELETED = auto()


@dataclass(frozen=True, slots=True)
class Reject:
    """The node will not do: one or more reasons in upstream's words.  `final`: evicting pods there would not help."""

    reasons: tuple[str, ...]
    final: bool = False


Verdict = Reject | None


class Filter(Protocol):
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
