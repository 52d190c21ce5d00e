"""HorizontalPodAutoscaler as autoscaling/v2 has it, which is also how it is stored.

Upstream: pkg/apis/autoscaling/{v2/defaults,validation/validation}.go, pkg/registry/autoscaling, pkg/printers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import invalid, not_supported, required
from cluster.machinery.names import path_segment_errors
from cluster.machinery.objects import GroupKind, Obj, field_of
from cluster.resources.autoscaling_metrics import target_text, validate_metrics
from cluster.resources.defaulting import filled
from cluster.resources.kind import Kind
from cluster.resources.printing import AGE, NAME, NONE, UNSET, Column, field_cell
from cluster.resources.strategy import GenericStrategy
from cluster.resources.workload import count_cell, validate_status_counts

CPU_PERCENT = 80
"""The average use of cpu that is aimed at when no metric is named."""
WINDOW_MAX_S = 3600
PERIOD_MAX_S = 1800
SELECT_POLICIES = ("Disabled", "Max", "Min")
POLICY_TYPES = ("Percent", "Pods")
SHOWN_METRICS = 2
"""Metrics named in a row of a table; the rest are counted."""

_DEFAULT_METRICS: Sequence[Obj] = (
    {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": CPU_PERCENT}},
    },
)
_UP: Mapping[str, Any] = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
_DOWN: Mapping[str, Any] = {
    "selectPolicy": "Max",
    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
}


class HorizontalPodAutoscalerStrategy(GenericStrategy):
    has_status = True

    def default(self, obj: Obj) -> Obj:
        spec = filled(obj.get("spec") or {}, absent={"minReplicas": 1})
        if not spec.get("metrics"):
            spec["metrics"] = list(_DEFAULT_METRICS)
        if (behavior := spec.get("behavior")) is not None:
            spec["behavior"] = {
                **behavior,
                "scaleUp": filled(behavior.get("scaleUp") or {}, absent=_UP),
                "scaleDown": filled(behavior.get("scaleDown") or {}, absent=_DOWN),
            }
        return {**obj, "spec": spec}

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return self.validate_spec(obj)

    def validate_spec(self, obj: Obj) -> tuple[Cause, ...]:
        """What is wrong outside the metadata, in whichever version the object was sent."""
        return tuple(_validate_spec(obj.get("spec") or {}))

    def validate_status(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        counts = ("currentReplicas", "desiredReplicas")
        return (*super().validate_status(new, old), *validate_status_counts(new, *counts))


def _validate_spec(spec: Obj) -> Iterator[Cause]:
    least, most = spec.get("minReplicas"), spec.get("maxReplicas", 0)
    if least is not None and least < 1:
        yield invalid("spec.minReplicas", least, "must be greater than or equal to 1")
    if most < 1:
        yield invalid("spec.maxReplicas", most, "must be greater than 0")
    if least is not None and most < least:
        yield invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`")
    yield from validate_reference(spec.get("scaleTargetRef") or {}, "spec.scaleTargetRef")
    yield from validate_metrics(spec.get("metrics") or (), "spec.metrics")
    behavior = spec.get("behavior") or {}
    for direction in ("scaleUp", "scaleDown"):
        if (rules := behavior.get(direction)) is not None:
            yield from _validate_rules(rules, f"spec.behavior.{direction}")


def validate_reference(reference: Obj, path: str) -> Iterator[Cause]:
    """A CrossVersionObjectReference: a kind and a name."""
    for field in ("kind", "name"):
        text = reference.get(field, "")
        if not text:
            yield required(f"{path}.{field}")
        for why in path_segment_errors(text):
            yield invalid(f"{path}.{field}", text, why)


def _validate_rules(rules: Obj, path: str) -> Iterator[Cause]:
    window_s = rules.get("stabilizationWindowSeconds")
    if window_s is not None and window_s < 0:
        yield invalid(f"{path}.stabilizationWindowSeconds", window_s, "must be greater than or equal to zero")
    if window_s is not None and window_s > WINDOW_MAX_S:
        why = f"must be less than or equal to {WINDOW_MAX_S}"
        yield invalid(f"{path}.stabilizationWindowSeconds", window_s, why)
    select = rules.get("selectPolicy")
    if select is not None and select not in SELECT_POLICIES:
        yield not_supported(f"{path}.selectPolicy", select, SELECT_POLICIES)
    if not rules.get("policies"):
        yield required(f"{path}.policies", "must specify at least one Policy")
    for index, policy in enumerate(rules.get("policies") or ()):
        at = f"{path}.policies[{index}]"
        if policy.get("type") not in POLICY_TYPES:
            yield not_supported(f"{at}.type", policy.get("type", ""), POLICY_TYPES)
        for field in ("value", "periodSeconds"):
            if policy.get(field, 0) <= 0:
                yield invalid(f"{at}.{field}", policy.get(field, 0), "must be greater than zero")
        if policy.get("periodSeconds", 0) > PERIOD_MAX_S:
            why = f"must be less than or equal to {PERIOD_MAX_S}"
            yield invalid(f"{at}.periodSeconds", policy["periodSeconds"], why)


def _reference_cell(autoscaler: Obj, now: datetime) -> str:
    target = field_of(autoscaler, "spec", "scaleTargetRef", default={})
    return f"{target.get('kind', '')}/{target.get('name', '')}"


def _targets_cell(autoscaler: Obj, now: datetime) -> str:
    specs = field_of(autoscaler, "spec", "metrics", default=())
    statuses = field_of(autoscaler, "status", "currentMetrics", default=())
    if not specs:
        return NONE
    texts = [target_text(spec, statuses[n] if n < len(statuses) else {}) for n, spec in enumerate(specs)]
    more = len(texts) - SHOWN_METRICS
    shown = ", ".join(texts[:SHOWN_METRICS])
    return f"{shown} + {more} more..." if more > 0 else shown


KINDS: Mapping[GroupKind, Kind] = {
    GroupKind("autoscaling", "HorizontalPodAutoscaler"): Kind(
        HorizontalPodAutoscalerStrategy(),
        (
            NAME,
            Column("Reference", _reference_cell),
            Column("Targets", _targets_cell),
            Column("MinPods", field_cell("spec", "minReplicas", default=UNSET)),
            Column("MaxPods", field_cell("spec", "maxReplicas"), "integer"),
            Column("Replicas", count_cell("status", "currentReplicas"), "integer"),
            AGE,
        ),
    ),
}
