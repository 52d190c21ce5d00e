"""No two Services share a cluster IP or a node port, no two running pods an address."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cluster.machinery.objects import Obj, field_of
from tests.sim.invariants.rule import Rule
from tests.sim.view import StoreChange, View


class AddressesAreUnique(Rule):
    def changed(self, view: View, change: StoreChange) -> Iterator[str]:
        if change.new is None or change.plural not in ("services", "pods"):
            return
        mine = set(_addresses(change.plural, change.new))
        for key, other in view.all(change.plural).items():
            if key != change.key:
                for shared in sorted(mine & set(_addresses(change.plural, other)), key=str):
                    yield f"{change.plural} {change.key} and {key} share {shared}"


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
