"""The policy group: PodDisruptionBudget.  Upstream: pkg/apis/policy/validation, pkg/registry/policy, pkg/printers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import invalid, not_supported
from cluster.machinery.objects import GroupKind, Obj
from cluster.resources.kind import Kind
from cluster.resources.pod_validation import validate_label_selector
from cluster.resources.printing import AGE, NAME, Column, field_cell
from cluster.resources.strategy import GenericStrategy
from cluster.resources.workload import (
    count_cell,
    validate_at_most_all,
    validate_int_or_percent,
    validate_status_counts,
)

EVICTION_POLICIES = ("AlwaysAllow", "IfHealthyBudget")
NOT_SET = "N/A"


class PodDisruptionBudgetStrategy(GenericStrategy):
    has_status = True
    has_generation = True
    unconditional_update = False

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(_validate_spec(obj.get("spec") or {}))

    def validate_status(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        counts = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
        return (*super().validate_status(new, old), *validate_status_counts(new, *counts))


def _validate_spec(spec: Obj) -> Iterator[Cause]:
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        yield invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")
    for field in ("minAvailable", "maxUnavailable"):
        if (value := spec.get(field)) is not None:
            yield from validate_int_or_percent(value, f"spec.{field}")
            yield from validate_at_most_all(value, f"spec.{field}")
    yield from validate_label_selector(spec.get("selector"), "spec.selector")
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in EVICTION_POLICIES:
        yield not_supported("spec.unhealthyPodEvictionPolicy", policy, EVICTION_POLICIES)


KINDS: Mapping[GroupKind, Kind] = {
    GroupKind("policy", "PodDisruptionBudget"): Kind(
        PodDisruptionBudgetStrategy(),
        (
            NAME,
            Column("Min Available", field_cell("spec", "minAvailable", default=NOT_SET)),
            Column("Max Unavailable", field_cell("spec", "maxUnavailable", default=NOT_SET)),
            Column("Allowed Disruptions", count_cell("status", "disruptionsAllowed"), "integer"),
            AGE,
        ),
    ),
}
