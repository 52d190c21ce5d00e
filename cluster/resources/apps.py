"""The apps group's kinds around ReplicaSets: Deployment, ReplicaSet, and ControllerRevision.

Upstream: pkg/apis/apps/{v1/defaults,validation/validation}.go, pkg/registry/apps/*/strategy.go, pkg/printers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import forbidden, invalid, not_supported, required
from cluster.machinery.objects import GroupKind, Obj, annotations_of, controller_of, meta_of
from cluster.resources.defaulting import filled
from cluster.resources.kind import Kind, text_at
from cluster.resources.printing import AGE, NAME, NONE, Column, field_cell
from cluster.resources.strategy import GenericStrategy
from cluster.resources.workload import (
    TEMPLATE_COLUMNS,
    WorkloadStrategy,
    count_cell,
    is_zero,
    ready_cell,
    validate_at_most_all,
    validate_immutable,
    validate_int_or_percent,
    validate_not_negative,
)

_QUARTER = "25%"


class DeploymentStrategy(WorkloadStrategy):
    def _default_spec(self, spec: Obj) -> Obj:
        made = filled(spec, absent={"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600})
        strategy = filled(made.get("strategy") or {}, {"type": "RollingUpdate"})
        if strategy["type"] == "RollingUpdate":
            limits = {"maxUnavailable": _QUARTER, "maxSurge": _QUARTER}
            strategy["rollingUpdate"] = filled(strategy.get("rollingUpdate") or {}, absent=limits)
        return {**made, "strategy": strategy}

    def prepare_update(self, new: Obj, old: Obj) -> Obj:
        prepared = dict(super().prepare_update(new, old))
        generation = int(meta_of(old).get("generation", 0))
        if meta_of(prepared)["generation"] == generation and annotations_of(new) != annotations_of(old):
            # Annotations are copied to ReplicaSets, so they count as a change to act on.
            prepared["metadata"] = {**meta_of(prepared), "generation": generation + 1}
        return prepared

    def _validate_spec(self, spec: Obj) -> Iterator[Cause]:
        yield from super()._validate_spec(spec)
        yield from _validate_strategy(spec.get("strategy") or {})
        yield from validate_not_negative(spec.get("revisionHistoryLimit"), "spec.revisionHistoryLimit")
        deadline_s = spec.get("progressDeadlineSeconds")
        yield from validate_not_negative(deadline_s, "spec.progressDeadlineSeconds")
        if deadline_s is not None and deadline_s <= spec.get("minReadySeconds", 0):
            yield invalid("spec.progressDeadlineSeconds", deadline_s, "must be greater than minReadySeconds")


def _validate_strategy(strategy: Obj) -> Iterator[Cause]:
    path, rolling = "spec.strategy", strategy.get("rollingUpdate")
    match strategy.get("type"):
        case "Recreate":
            if rolling is not None:
                yield forbidden(f"{path}.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")
        case "RollingUpdate":
            if rolling is None:
                yield required(f"{path}.rollingUpdate", "this should be defaulted and never be nil")
            else:
                yield from _validate_rolling(rolling, f"{path}.rollingUpdate")
        case other:
            yield not_supported(f"{path}.type", other or "", ("Recreate", "RollingUpdate"))


def _validate_rolling(rolling: Obj, path: str) -> Iterator[Cause]:
    for field in ("maxUnavailable", "maxSurge"):
        yield from validate_int_or_percent(rolling.get(field, 0), f"{path}.{field}")
    unavailable = rolling.get("maxUnavailable", 0)
    if is_zero(unavailable) and is_zero(rolling.get("maxSurge", 0)):
        yield invalid(f"{path}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0")
    yield from validate_at_most_all(unavailable, f"{path}.maxUnavailable")


class ControllerRevisionStrategy(GenericStrategy):
    """A past state of a workload: its data never changes."""

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        found = list(validate_not_negative(obj.get("revision"), "revision"))
        if obj.get("data") is None:
            found.append(required("data", "data is mandatory"))
        return tuple(found)

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        return (*self._validate(new), *validate_immutable(new, old, "data"))


def _controller_cell(obj: Obj, now: datetime) -> str:
    owner = controller_of(obj)
    if owner is None:
        return NONE
    group = str(owner.get("apiVersion", "")).rpartition("/")[0]
    return f"{GroupKind(group, str(owner.get('kind', '')).lower())}/{owner.get('name', '')}"


KINDS: Mapping[GroupKind, Kind] = {
    GroupKind("apps", "Deployment"): Kind(
        DeploymentStrategy(),
        (
            NAME,
            Column("Ready", ready_cell, description="Number of the pod with ready state"),
            Column("Up-to-date", count_cell("status", "updatedReplicas"), "integer"),
            Column("Available", count_cell("status", "availableReplicas"), "integer"),
            AGE,
            *TEMPLATE_COLUMNS,
        ),
    ),
    GroupKind("apps", "ReplicaSet"): Kind(
        WorkloadStrategy(),
        (
            NAME,
            Column("Desired", count_cell("spec", "replicas"), "integer"),
            Column("Current", count_cell("status", "replicas"), "integer"),
            Column("Ready", count_cell("status", "readyReplicas"), "integer"),
            AGE,
            *TEMPLATE_COLUMNS,
        ),
        {"status.replicas": text_at("status", "replicas", default="0")},
    ),
    GroupKind("apps", "ControllerRevision"): Kind(
        ControllerRevisionStrategy(),
        (
            NAME,
            Column("Controller", _controller_cell, description="Controller of the object"),
            Column("Revision", field_cell("revision", default=0), description="Revision of the object"),
            AGE,
        ),
    ),
}
