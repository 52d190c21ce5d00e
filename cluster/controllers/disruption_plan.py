"""The status of one PodDisruptionBudget.  Pure.  Upstream: pkg/controller/disruption/disruption.go trySync."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Any

from cluster.controllers.instants import instant_of
from cluster.controllers.job_plan import Note
from cluster.controllers.pods import is_ready
from cluster.machinery.conditions import conditions_of, make_condition, set_condition
from cluster.machinery.objects import Obj, controller_of, field_of, generation_of, is_deleting, name_of, namespace_of
from cluster.machinery.timestamps import format_time

DELETION_TIMEOUT_S = 120.0
"""How long an evicted pod may still be there before it counts again."""


@dataclass(frozen=True, slots=True)
class BudgetPlan:
    status: dict[str, Any]
    notes: tuple[Note, ...] = ()
    again_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Expected:
    pods: int
    healthy: int


def is_counted(budget: Obj) -> bool:
    """Whether the budget is a share of the pods there should be, so that these must be known."""
    least = field_of(budget, "spec", "minAvailable")
    return field_of(budget, "spec", "maxUnavailable") is not None or isinstance(least, str)


def plan_budget(budget: Obj, pods: Sequence[Obj], scales: Mapping[str, int], *, now: datetime) -> BudgetPlan:
    """`pods` are those it selects; `scales` how many each of their controllers wants, where `is_counted`."""
    notes: list[Note] = []
    if is_counted(budget) and any(controller_of(pod) is None for pod in pods):
        notes.append(Note("Warning", "UnmanagedPods", _UNMANAGED))
    expected = _expected(budget, pods, sum(scales.values()))
    disrupted: dict[str, str] = {}
    recheck_at: datetime | None = None
    present = {name_of(pod): pod for pod in pods}
    for name, since in sorted(field_of(budget, "status", "disruptedPods", default={}).items()):
        pod, at = present.get(name), instant_of(since)
        if pod is None or is_deleting(pod) or at is None:
            continue
        until = at + timedelta(seconds=DELETION_TIMEOUT_S)
        if until <= now:
            message = f"Pod was expected by PDB {namespace_of(budget)}/{name_of(budget)} to be deleted but it wasn't"
            notes.append(Note("Warning", "NotDeleted", message))
            continue
        disrupted[name] = since
        recheck_at = until if recheck_at is None else min(recheck_at, until)
    healthy = sum(is_ready(pod) and not is_deleting(pod) and name_of(pod) not in disrupted for pod in pods)
    allowed = max(0, healthy - expected.healthy) if expected.pods > 0 else 0
    status: dict[str, Any] = {
        "currentHealthy": healthy,
        "desiredHealthy": expected.healthy,
        "disruptionsAllowed": allowed,
        "expectedPods": expected.pods,
        "observedGeneration": generation_of(budget),
        "conditions": list(
            set_condition(conditions_of(budget), condition_of_allowed(budget, allowed), format_time(now))
        ),
    }
    if disrupted:
        status["disruptedPods"] = disrupted
    again_s = (recheck_at - now).total_seconds() if recheck_at is not None else None
    return BudgetPlan(status, tuple(notes), again_s)


def failed_status(budget: Obj, why: str, *, now: datetime) -> dict[str, Any]:
    """Nothing may be evicted while the budget cannot be reckoned."""
    condition = {
        **make_condition("DisruptionAllowed", False, "SyncFailed", why, observed_generation=generation_of(budget)),
        "message": why,
    }
    old: Mapping[str, Any] = budget.get("status") or {}
    return {
        "currentHealthy": 0,
        "desiredHealthy": 0,
        "expectedPods": 0,
        **old,
        "disruptionsAllowed": 0,
        "conditions": list(set_condition(conditions_of(budget), condition, format_time(now))),
    }


def condition_of_allowed(budget: Obj, allowed: int) -> dict[str, Any]:
    reason = "SufficientPods" if allowed > 0 else "InsufficientPods"
    condition = make_condition("DisruptionAllowed", allowed > 0, reason, observed_generation=generation_of(budget))
    return {**condition, "message": ""}


def _expected(budget: Obj, pods: Sequence[Obj], scale: int) -> _Expected:
    most, least = field_of(budget, "spec", "maxUnavailable"), field_of(budget, "spec", "minAvailable")
    if most is not None:
        return _Expected(scale, max(0, scale - _rounded_up(most, scale)))
    if isinstance(least, str):
        return _Expected(scale, _rounded_up(least, scale))
    if least is not None:
        return _Expected(len(pods), int(least))
    return _Expected(0, 0)


def _rounded_up(value: int | str, total: int) -> int:
    """A number, or a percentage of `total` rounded up, as upstream's disruption controller rounds both of its fields."""
    if isinstance(value, str):
        return ceil(int(value.removesuffix("%")) * total / 100)
    return int(value)


_UNMANAGED = (
    "Pods selected by this PodDisruptionBudget were found to be unmanaged. As a result, the status of the PDB cannot be "
    "calculated correctly, which may result in undefined behavior. To account for these pods please set "
    '".spec.minAvailable" field of the PDB to an integer value.'
)
