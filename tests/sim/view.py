"""What an all-seeing observer knows of a world: every object as the store has it, every container as the engines have it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from cluster.base.clock import Clock
from cluster.kubelet.runtime.api import Container
from cluster.machinery.objects import Key, Obj
from tests.sim.engine import WatchedEngine

SANDBOX_OF = "io.reconciler.sandbox.pod"
"""The label by which a sandbox names its pod's uid."""


class StoreChange(NamedTuple):
    """One key of one transaction; `new` None is a deletion."""

    plural: str
    key: Key
    old: Obj | None
    new: Obj | None
    revision: int


@dataclass(slots=True)
class View:
    """Kept current by the world."""

    clock: Clock
    objects: dict[str, dict[Key, Obj]] = field(default_factory=dict)
    forced: set[str] = field(default_factory=set)
    """The uids of pods that somebody deleted by hand: what that costs is not our act."""
    engines: dict[str, WatchedEngine] = field(default_factory=dict)

    def all(self, plural: str) -> Mapping[Key, Obj]:
        return self.objects.get(plural, {})

    def containers(self) -> Iterator[tuple[str, Container]]:
        """Every container that runs, with its node."""
        for node in sorted(self.engines):
            for container in self.engines[node].running():
                yield node, container

    def select(self, plural: str, holds: Callable[[Obj], bool]) -> list[Obj]:
        found = self.all(plural)
        return [found[key] for key in sorted(found) if holds(found[key])]
