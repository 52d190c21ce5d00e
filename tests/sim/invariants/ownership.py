"""GitOps deletes nothing that an inventory does not hold, and nobody deletes what people made by hand."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.machinery.objects import Obj, uid_of
from reconciler.config import SYSTEM_NAMESPACE
from reconciler.projection import FIELD_MANAGER
from tests.sim.invariants.rule import Rule
from tests.sim.view import StoreChange, View

BY_HAND = "made-by-hand"
"""The label of what a scenario creates beside the repository and never deletes."""


class OnlyOwnedIsDeleted(Rule):
    def __init__(self) -> None:
        self._owned: set[str] = set()

    def changed(self, view: View, change: StoreChange) -> Iterator[str]:
        if change.plural == "inventories" and change.new is not None:
            self._owned |= {entry["uid"] for entry in change.new.get("entries") or () if entry.get("uid")}
        if change.new is not None or change.old is None:
            return
        if BY_HAND in (change.old["metadata"].get("labels") or {}):
            yield f"{change.plural} {change.key} was made by hand and has been deleted"
        if _is_applied(change.old) and uid_of(change.old) not in self._owned:
            yield f"{change.plural} {change.key} was deleted without ever having been in an inventory"


def _is_applied(obj: Obj) -> bool:
    """Declared by a repository, and not somebody's dependent."""
    meta = obj["metadata"]
    managers = {entry.get("manager") for entry in meta.get("managedFields") or ()}
    outside = meta.get("namespace", "") not in ("", SYSTEM_NAMESPACE)
    return outside and FIELD_MANAGER in managers and not meta.get("ownerReferences")
