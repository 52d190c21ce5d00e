"""What an autoscaler's status says: conditions, and each metric's present value.  Pure.

Upstream: pkg/controller/podautoscaler/horizontal.go setCondition, setStatus.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cluster.controllers.horizontal_behavior import Decision
from cluster.controllers.horizontal_replicas import Proposal
from cluster.machinery.conditions import conditions_of, make_condition, set_conditions
from cluster.machinery.objects import Obj, field_of
from cluster.machinery.quantity import Quantity
from cluster.machinery.timestamps import format_time

ABLE, ACTIVE, LIMITED = "AbleToScale", "ScalingActive", "ScalingLimited"
_STABILIZED = {
    "ScaleUpStabilized": "recent recommendations were lower than current one, applying the lowest recent recommendation",
    "ScaleDownStabilized": "recent recommendations were higher than current one, applying the highest recent recommendation",
    "": "recommended size matches current size",
}
_LIMITED = {
    "TooManyReplicas": "the desired replica count is more than the maximum replica count",
    "TooFewReplicas": "the desired replica count is less than the minimum replica count",
    "ScaleUpLimit": "the desired replica count is increasing faster than the maximum scale rate",
    "ScaleDownLimit": "the desired replica count is decreasing faster than the maximum scale rate",
    "": "the desired count is within the acceptable range",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One look: the replicas there are and are wanted, what was seen, the conditions that changed."""

    current: int
    desired: int
    conditions: tuple[Obj, ...]
    metrics: tuple[Obj, ...] = ()
    rescaled: bool = False


def able(reason: str, message: str) -> Obj:
    return make_condition(ABLE, True, reason, message)


def unable(reason: str, message: str) -> Obj:
    return make_condition(ABLE, False, reason, message)


def active(metric: str) -> Obj:
    message = f"the HPA was able to successfully calculate a replica count from {metric}"
    return make_condition(ACTIVE, True, "ValidMetricFound", message)


def inactive(reason: str, message: str) -> Obj:
    return make_condition(ACTIVE, False, reason, message)


def conditions_for(decision: Decision) -> tuple[Obj, ...]:
    ready = decision.stabilized or "ReadyForNewScale"
    return (
        able(ready, _STABILIZED[decision.stabilized]),
        make_condition(
            LIMITED, bool(decision.limited), decision.limited or "DesiredWithinRange", _LIMITED[decision.limited]
        ),
    )


def status_of(autoscaler: Obj, outcome: Outcome, *, now: datetime) -> dict[str, Any]:
    status: dict[str, Any] = dict(autoscaler.get("status") or {})
    stamp = format_time(now)
    generation = field_of(autoscaler, "metadata", "generation")
    if generation is not None:
        status["observedGeneration"] = generation
    status |= {
        "currentReplicas": outcome.current,
        "desiredReplicas": outcome.desired,
        "conditions": list(set_conditions(conditions_of(autoscaler), outcome.conditions, stamp)),
    }
    status.pop("currentMetrics", None)
    if outcome.metrics:
        status["currentMetrics"] = list(outcome.metrics)
    if outcome.rescaled:
        status["lastScaleTime"] = stamp
    return status


def metric_status(spec: Obj, field: str, proposal: Proposal, value: str) -> dict[str, Any]:
    """One entry of `currentMetrics`; `value` is `averageValue`, or `value` where the target is one for all pods."""
    source: Mapping[str, Any] = spec[field]
    shown = {name: source[name] for name in ("name", "container", "metric", "describedObject") if name in source}
    current: dict[str, Any] = {value: str(Quantity(proposal.average_milli * 10**6))}
    if proposal.utilization is not None:
        current["averageUtilization"] = proposal.utilization
    return {"type": spec["type"], field: {**shown, "current": current}}


def highest(proposals: Sequence[tuple[str, Proposal]]) -> tuple[str, Proposal]:
    """The metric that asks for most; of equals the first."""
    return max(proposals, key=lambda one: one[1].replicas)
