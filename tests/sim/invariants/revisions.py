"""The resourceVersion strictly increases, also over restarts of the server."""

from __future__ import annotations

from collections.abc import Iterator

from tests.sim.invariants.rule import Rule
from tests.sim.view import StoreChange, View


class RevisionsIncrease(Rule):
    def __init__(self) -> None:
        self._newest: dict[tuple[str, object], int] = {}

    def changed(self, view: View, change: StoreChange) -> Iterator[str]:
        name = (change.plural, change.key)
        if change.revision <= self._newest.get(name, 0):
            yield f"{change.plural} {change.key} was written at {change.revision} after {self._newest[name]}"
        self._newest[name] = change.revision
