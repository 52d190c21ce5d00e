"""The shape of an invariant."""

from __future__ import annotations

from collections.abc import Iterator

from tests.sim.view import StoreChange, View


class Rule:
    """One world's memory of one invariant.  Each method yields violations in words."""

    def changed(self, view: View, change: StoreChange) -> Iterator[str]:
        """A change of the store; `view` already has it."""
        yield from ()

    def started(self, view: View, node: str, container_id: str) -> Iterator[str]:
        """A container has been started on `node`."""
        yield from ()

    def at_rest(self, view: View) -> Iterator[str]:
        """Nothing is under way any more."""
        yield from ()
