"""The coordination group: Lease.  Upstream: pkg/apis/coordination/validation, pkg/registry/coordination/lease."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import invalid
from cluster.machinery.objects import GroupKind, Obj
from cluster.resources.kind import Kind
from cluster.resources.printing import AGE, NAME, Column, field_cell
from cluster.resources.strategy import GenericStrategy


class LeaseStrategy(GenericStrategy):
    """Locks by resourceVersion: a write that names none is refused."""

    allow_create_on_update = True
    unconditional_update = False

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(_validate_spec(obj.get("spec") or {}))


def _validate_spec(spec: Obj) -> Iterator[Cause]:
    duration_s = spec.get("leaseDurationSeconds")
    if duration_s is not None and duration_s <= 0:
        yield invalid("spec.leaseDurationSeconds", duration_s, "must be greater than 0")
    transitions = spec.get("leaseTransitions")
    if transitions is not None and transitions < 0:
        yield invalid("spec.leaseTransitions", transitions, "must be greater than or equal to 0")


KINDS: Mapping[GroupKind, Kind] = {
    GroupKind("coordination.k8s.io", "Lease"): Kind(
        LeaseStrategy(), (NAME, Column("Holder", field_cell("spec", "holderIdentity")), AGE)
    ),
}
