"""How many replicas a metric asks for.  Pure.

Upstream: pkg/controller/podautoscaler/replica_calculator.go.  Pods without a measurement are counted so that they damp the
change: as using all that is aimed at when shrinking, nothing when growing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import TypeAlias

from cluster.controllers.instants import instant_of
from cluster.controllers.pods import condition_of, is_ready, phase_of
from cluster.machinery.objects import Obj, field_of, is_deleting, name_of
from cluster.machinery.quantity import QuantityError, parse_quantity

TOLERANCE = 0.1
"""A ratio so close to one changes nothing."""
CPU_INITIALIZATION = timedelta(minutes=5)
"""After its start a pod's processor use only counts when it was measured while the pod was ready."""
INITIAL_READINESS = timedelta(seconds=30)


_RatioWith: TypeAlias = Callable[[Mapping[str, int]], float]


class NoMetrics(Exception):
    """The metric says nothing now; the message says why."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One pod's value, in thousandths of the unit, as of `at`, averaged over the `window`."""

    milli: int
    at: datetime
    window: timedelta = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Proposal:
    """`replicas` that are asked for; what was seen: the average per pod in thousandths, and the percentage of requests."""

    replicas: int
    average_milli: int = 0
    utilization: int | None = None


@dataclass(frozen=True, slots=True)
class _Groups:
    """Names of pods that count, that are not ready yet, and that have no measurement."""

    ready: tuple[str, ...]
    unready: tuple[str, ...]
    missing: tuple[str, ...]


def replicas_for_utilization(
    resource: str,
    target: int,
    current: int,
    pods: Sequence[Obj],
    measures: Mapping[str, Measure],
    *,
    container: str = "",
    now: datetime,
) -> Proposal:
    """`target` is a percentage of what the pods (or their `container`s) request.  Raises NoMetrics."""
    groups = _group(pods, measures, resource, now)
    requests = {name_of(pod): _requested(pod, resource, container) for pod in pods}
    uses = _used(groups, measures)
    asked = sum(requests[name] for name in uses)
    if not asked:
        raise NoMetrics("no metrics returned matched known pods")
    ratio = sum(uses.values()) * 100 / asked / target
    utilization = sum(uses.values()) * 100 // asked
    average = sum(uses.values()) // len(uses)

    def ratio_with(assumed: Mapping[str, int]) -> float:
        whole = {**uses, **{name: requests[name] * percent // 100 for name, percent in assumed.items()}}
        return sum(whole.values()) * 100 / (sum(requests[name] for name in whole) or 1) / target

    # Utilizations of more than all that is asked for are aimed at rarely; then such a pod counts as using as much.
    count = _count(ratio, current, groups, ratio_with, full=max(100, target))
    return Proposal(count, average, utilization)


def replicas_for_average(
    target_milli: int,
    current: int,
    pods: Sequence[Obj],
    measures: Mapping[str, Measure],
    *,
    resource: str = "",
    now: datetime,
) -> Proposal:
    """`target_milli` is the value aimed at for each pod.  Raises NoMetrics."""
    groups = _group(pods, measures, resource, now)
    uses = _used(groups, measures)
    average = sum(uses.values()) / len(uses)

    def ratio_with(assumed: Mapping[str, int]) -> float:
        whole = {**uses, **{name: target_milli * percent // 100 for name, percent in assumed.items()}}
        return sum(whole.values()) / len(whole) / target_milli

    return Proposal(_count(average / target_milli, current, groups, ratio_with, full=100), int(average))


def replicas_for_value(value_milli: int, target_milli: int, current: int, pods: Sequence[Obj]) -> Proposal:
    """One value for all pods together, which grows with each pod's share of the work."""
    ratio = value_milli / target_milli
    if abs(1 - ratio) <= TOLERANCE:
        return Proposal(current, value_milli)
    ready = sum(is_ready(pod) and phase_of(pod) == "Running" for pod in pods)
    return Proposal(ceil(ratio * ready) if current else ceil(ratio), value_milli)


def replicas_for_share(value_milli: int, target_milli: int, current: int) -> Proposal:
    """One value that is to be divided among the pods, `target_milli` each."""
    if current and abs(1 - value_milli / (target_milli * current)) <= TOLERANCE:
        return Proposal(current, ceil(value_milli / current))
    return Proposal(ceil(value_milli / target_milli), ceil(value_milli / current) if current else 0)


def _used(groups: _Groups, measures: Mapping[str, Measure]) -> dict[str, int]:
    if not groups.ready:
        raise NoMetrics("did not receive metrics for targeted pods (pods might be unready)")
    return {name: measures[name].milli for name in groups.ready}


def _group(pods: Sequence[Obj], measures: Mapping[str, Measure], resource: str, now: datetime) -> _Groups:
    if not measures:
        raise NoMetrics("no metrics known for pods")
    if not pods:
        raise NoMetrics("no pods returned by selector while calculating replica count")
    ready: list[str] = []
    unready: list[str] = []
    missing: list[str] = []
    for pod in pods:
        if is_deleting(pod) or phase_of(pod) == "Failed":
            continue
        measure = measures.get(name_of(pod))
        if phase_of(pod) == "Pending":
            unready.append(name_of(pod))
        elif measure is None:
            missing.append(name_of(pod))
        elif resource == "cpu" and _is_starting(pod, measure, now):
            unready.append(name_of(pod))
        else:
            ready.append(name_of(pod))
    return _Groups(tuple(ready), tuple(unready), tuple(missing))


def _is_starting(pod: Obj, measure: Measure, now: datetime) -> bool:
    """What a pod uses while it starts says nothing of what it will use."""
    condition = condition_of(pod, "Ready")
    started = instant_of(field_of(pod, "status", "startTime"))
    if condition is None or started is None:
        return True
    changed = instant_of(condition.get("lastTransitionTime")) or started
    if now < started + CPU_INITIALIZATION:
        return condition.get("status") == "False" or measure.at < changed + measure.window
    return condition.get("status") == "False" and changed < started + INITIAL_READINESS


def _requested(pod: Obj, resource: str, container: str) -> int:
    total = 0
    for one in field_of(pod, "spec", "containers", default=()):
        if container and one.get("name") != container:
            continue
        amount = field_of(one, "resources", "requests", resource)
        try:
            total += parse_quantity(amount).millis
        except (QuantityError, TypeError):
            where = f"container {one.get('name', '')} of Pod {name_of(pod)}"
            raise NoMetrics(f"missing request for {resource} in {where}") from None
    return total


def _count(ratio: float, current: int, groups: _Groups, ratio_with: _RatioWith, *, full: int) -> int:
    grows_with_unready = bool(groups.unready) and ratio > 1
    if not grows_with_unready and not groups.missing:
        return current if abs(1 - ratio) <= TOLERANCE else _ceil(ratio * len(groups.ready))
    assumed: dict[str, int] = {}
    if groups.missing:
        assumed = dict.fromkeys(groups.missing, full if ratio < 1 else 0)
    if grows_with_unready:
        assumed |= dict.fromkeys(groups.unready, 0)
    damped = ratio_with(assumed)
    if abs(1 - damped) <= TOLERANCE or (ratio < 1) != (damped < 1):
        return current
    count = _ceil(damped * (len(groups.ready) + len(assumed)))
    # Damping must not turn the direction round.
    if (damped < 1 and count > current) or (damped > 1 and count < current):
        return current
    return count


def _ceil(value: float) -> int:
    """Rounded up, but for the error of the division itself."""
    return ceil(round(value, 9))
