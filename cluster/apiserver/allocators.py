"""Pools that objects draw numbers from, in the transaction that writes them."""

from __future__ import annotations

from cluster.apiserver.registry import Planned
from cluster.machinery.objects import Obj
from cluster.resources.catalog import Descriptor


class NoAllocations:
    """A server without pools: what clients give is kept as it is."""

    def plan(self, descriptor: Descriptor, new: Obj | None, old: Obj | None) -> Planned | None:
        return None
