"""How far and how fast a proposal is followed: stabilisation windows, rates, bounds.  Pure.

Upstream: pkg/controller/podautoscaler/horizontal.go stabilizeRecommendationWithBehaviors,
convertDesiredReplicasWithBehaviorRate.  An autoscaler without `behavior` has the defaults of the API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor
from typing import Any

from cluster.machinery.objects import Obj, field_of

DOWN_WINDOW_S = 300.0
_UP: Mapping[str, Any] = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
_DOWN: Mapping[str, Any] = {"selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}
REMEMBERED_S = 3600.0
"""The longest window and period that validation lets in."""


@dataclass(frozen=True, slots=True)
class Past:
    """A recommendation, or a change of the number of replicas, at a monotonic instant."""

    at: float
    replicas: int


@dataclass(frozen=True, slots=True)
class History:
    """What one autoscaler remembers, in memory only: after a restart it begins with the present number."""

    recommendations: tuple[Past, ...] = ()
    changes: tuple[Past, ...] = ()

    def recommended(self, replicas: int, at: float) -> History:
        return replace(self, recommendations=(*_recent(self.recommendations, at), Past(at, replicas)))

    def changed(self, by: int, at: float) -> History:
        return replace(self, changes=(*_recent(self.changes, at), Past(at, by)))


@dataclass(frozen=True, slots=True)
class Decision:
    """The number to have, why it is not what was proposed, in words of the conditions AbleToScale and ScalingLimited."""

    replicas: int
    stabilized: str = ""
    limited: str = ""


def decide_replicas(spec: Obj, current: int, proposed: int, history: History, at: float) -> Decision:
    """`history` ends with `proposed` itself."""
    up = field_of(spec, "behavior", "scaleUp", default=_UP)
    down = field_of(spec, "behavior", "scaleDown", default=_DOWN)
    steady = _stabilized(current, proposed, history, at, up=up, down=down)
    stabilized = "" if steady == proposed else "ScaleUpStabilized" if steady < proposed else "ScaleDownStabilized"
    least, most = int(spec.get("minReplicas") or 1), int(spec["maxReplicas"])
    if steady > current:
        limit = max(current, _limit_up(up, current, history, at))
        allowed = min(most, limit)
        if steady > allowed:
            return Decision(allowed, stabilized, "TooManyReplicas" if most <= limit else "ScaleUpLimit")
    elif steady < current:
        limit = min(current, _limit_down(down, current, history, at))
        allowed = max(least, limit)
        if steady < allowed:
            return Decision(allowed, stabilized, "TooFewReplicas" if least >= limit else "ScaleDownLimit")
    return Decision(steady, stabilized)


def _stabilized(current: int, proposed: int, history: History, at: float, *, up: Obj, down: Obj) -> int:
    """The present number, as far as every recommendation of the two windows agrees to leave it."""
    up_window, down_window = up.get("stabilizationWindowSeconds"), down.get("stabilizationWindowSeconds")
    lowest = min(_within(history.recommendations, 0 if up_window is None else up_window, at), default=proposed)
    highest = max(
        _within(history.recommendations, DOWN_WINDOW_S if down_window is None else down_window, at), default=proposed
    )
    lowest, highest = min(lowest, proposed), max(highest, proposed)
    return lowest if current < lowest else min(current, highest)


def _limit_up(rules: Obj, current: int, history: History, at: float) -> int:
    proposals: list[int] = []
    for policy in rules.get("policies") or ():
        added = sum(change for change in _within(history.changes, policy["periodSeconds"], at) if change > 0)
        start = current - added
        if policy["type"] == "Pods":
            proposals.append(start + policy["value"])
        else:
            proposals.append(ceil(start * (100 + policy["value"]) / 100))
    return _chosen(rules, proposals, current, most=max, least=min)


def _limit_down(rules: Obj, current: int, history: History, at: float) -> int:
    proposals: list[int] = []
    for policy in rules.get("policies") or ():
        removed = -sum(change for change in _within(history.changes, policy["periodSeconds"], at) if change < 0)
        start = current + removed
        if policy["type"] == "Pods":
            proposals.append(start - policy["value"])
        else:
            proposals.append(floor(start * (100 - policy["value"]) / 100))
    return _chosen(rules, proposals, current, most=min, least=max)


def _chosen(rules: Obj, proposals: Sequence[int], current: int, *, most: Any, least: Any) -> int:
    """By the select policy, the proposal that changes most or least; none at all for `Disabled`."""
    select = rules.get("selectPolicy") or "Max"
    if select == "Disabled" or not proposals:
        return current
    return int((least if select == "Min" else most)(proposals))


def _within(past: Sequence[Past], window_s: float, at: float) -> list[int]:
    return [one.replicas for one in past if one.at > at - window_s]


def _recent(past: Sequence[Past], at: float) -> Sequence[Past]:
    return [one for one in past if one.at > at - REMEMBERED_S]
