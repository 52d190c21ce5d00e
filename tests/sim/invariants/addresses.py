"""No two Services share a cluster IP or a node port, no two running pods an address, and a pod keeps its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cluster.machinery.objects import Obj, field_of, is_deleting, uid_of
from tests.sim.invariants.rule import Rule
from tests.sim.view import SANDBOX_OF, StoreChange, View


class AddressesAreUnique(Rule):
    def changed(self, view: View, change: StoreChange) -> Iterator[str]:
        if change.new is None or change.plural not in ("services", "pods"):
            return
        mine = set(_addresses(change.plural, change.new))
        for key, other in view.all(change.plural).items():
            if key != change.key:
                for shared in sorted(mine & set(_addresses(change.plural, other)), key=str):
                    yield f"{change.plural} {change.key} and {key} share {shared}"


class PodsKeepTheirAddress(Rule):
    """For as long as its sandbox lives, whoever restarts meanwhile."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, str]] = {}

    def changed(self, view: View, change: StoreChange) -> Iterator[str]:
        if change.plural != "pods" or change.new is None:
            return
        uid, address = uid_of(change.new), field_of(change.new, "status", "podIP", default="")
        sandbox = next((each.id for _, each in view.containers() if each.labels.get(SANDBOX_OF) == uid), "")
        known, its_sandbox = self._known.get(uid, ("", ""))
        ended = field_of(change.new, "status", "phase", default="") in ("Succeeded", "Failed")
        if known and sandbox == its_sandbox and address != known and not ended and not is_deleting(change.new):
            yield f"pod {change.key} had the address {known} and now has {address or 'none'}"
        if address and sandbox:
            self._known[uid] = (address, sandbox)


def _addresses(plural: str, obj: Obj) -> Iterator[tuple[Any, ...]]:
    if plural == "services":
        for address in field_of(obj, "spec", "clusterIPs", default=()):
            if address != "None":
                yield "cluster IP", address
        for port in field_of(obj, "spec", "ports", default=()):
            if port.get("nodePort"):
                yield "node port", port.get("protocol", "TCP"), port["nodePort"]
    elif field_of(obj, "status", "phase", default="") == "Running":
        # On the host's network it is the host's address, which many pods may have.
        address = field_of(obj, "status", "podIP", default="")
        if address and not field_of(obj, "spec", "hostNetwork", default=False):
            yield "pod IP", address
