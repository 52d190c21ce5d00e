"""A deleted uid never returns, and no object changes its uid without being deleted."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.machinery.objects import uid_of
from tests.sim.invariants.rule import Rule
from tests.sim.view import StoreChange, View


class UidsAreUsedOnce(Rule):
    def __init__(self) -> None:
        self._gone: set[str] = set()

    def changed(self, view: View, change: StoreChange) -> Iterator[str]:
        if change.new is None:
            if change.old is not None:
                self._gone.add(uid_of(change.old))
            return
        uid = uid_of(change.new)
        if uid and uid in self._gone:
            yield f"{change.plural} {change.key} has the uid {uid} of an object that was deleted"
        if change.old is not None and uid_of(change.old) != uid:
            yield f"{change.plural} {change.key} changed its uid in place"
