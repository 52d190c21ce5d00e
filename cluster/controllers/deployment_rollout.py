"""How many replicas each ReplicaSet of a Deployment should have next: rolling, recreating, scaling.

Pure.  Upstream: pkg/controller/deployment/{rolling,recreate,sync}.go and util/deployment_util.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from math import ceil, floor

from cluster.controllers.deployment_revisions import DESIRED, MAX, by_creation, desired_replicas
from cluster.machinery.numbers import whole_number
from cluster.machinery.objects import Obj, annotations_of, field_of, name_of


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a rollout may go above and below the desired number of replicas."""

    surge: int
    unavailable: int


def limits_of(deployment: Obj) -> Limits:
    """`maxSurge` rounded up, `maxUnavailable` down; never both zero, and none unavailable at all under Recreate."""
    desired = desired_replicas(deployment)
    if strategy_of(deployment) != "RollingUpdate":
        return Limits(surge=0, unavailable=0)
    surge = ceil(share_of(_rolling(deployment, "maxSurge"), desired))
    unavailable = floor(share_of(_rolling(deployment, "maxUnavailable"), desired))
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Limits(surge=surge, unavailable=min(unavailable, desired))


def strategy_of(deployment: Obj) -> str:
    return str(field_of(deployment, "spec", "strategy", "type", default="RollingUpdate"))


def max_replicas(deployment: Obj) -> int:
    return desired_replicas(deployment) + limits_of(deployment).surge


def replicas_of(rs: Obj) -> int:
    return int(field_of(rs, "spec", "replicas", default=1))


def available_of(rs: Obj) -> int:
    return int(field_of(rs, "status", "availableReplicas", default=0))


def initial_replicas(deployment: Obj, old: Sequence[Obj]) -> int:
    """How many replicas a ReplicaSet that is about to be created starts with."""
    return _grown(deployment, old, 0)


class Step(Enum):
    """What the rollout does next, besides the new sizes."""

    SCALE = auto()
    CREATE_NEW = auto()
    WAIT = auto()
    SETTLE = auto()  # nothing to scale: the history may be cleaned up


@dataclass(frozen=True, slots=True)
class Rollout:
    """`sizes` maps names of ReplicaSets to their new `spec.replicas`; those not named stay."""

    step: Step
    sizes: Mapping[str, int]


def plan_rolling(deployment: Obj, new: Obj | None, old: Sequence[Obj]) -> Rollout:
    """One step of a rolling update: grow the new one, else shrink the old ones, never leaving the limits."""
    if new is None:
        return Rollout(Step.CREATE_NEW, {})
    desired, size = desired_replicas(deployment), replicas_of(new)
    target = desired if size >= desired else _grown(deployment, [*old, new], size)
    if target != size:
        return Rollout(Step.SCALE, {name_of(new): target})
    sizes = _shrink_old(deployment, new, old)
    return Rollout(Step.SCALE if sizes else Step.SETTLE, sizes)


def plan_recreate(deployment: Obj, new: Obj | None, old: Sequence[Obj], *, old_pods_run: bool) -> Rollout:
    """Old ones to zero, wait for their pods to end, then the new one."""
    shrink = {name_of(rs): 0 for rs in old if replicas_of(rs)}
    if shrink:
        return Rollout(Step.SCALE, shrink)
    if old_pods_run:
        return Rollout(Step.WAIT, {})
    if new is None:
        return Rollout(Step.CREATE_NEW, {})
    desired = desired_replicas(deployment)
    if replicas_of(new) != desired:
        return Rollout(Step.SCALE, {name_of(new): desired})
    return Rollout(Step.SETTLE, {})


def is_scaling(deployment: Obj, replica_sets: Sequence[Obj]) -> bool:
    """`spec.replicas` is not what the active ReplicaSets were last sized for."""
    desired = str(desired_replicas(deployment))
    return any(replicas_of(rs) and annotations_of(rs).get(DESIRED, desired) != desired for rs in replica_sets)


def plan_scale(deployment: Obj, new: Obj | None, old: Sequence[Obj]) -> Mapping[str, int]:
    """New sizes after `spec.replicas` changed, or while paused: in the middle of a rollout each gets its proportion."""
    desired = desired_replicas(deployment)
    single = _active_or_latest(new, old)
    if single is not None:
        return {name_of(single): desired} if replicas_of(single) != desired else {}
    if new is not None and _is_saturated(new, desired):
        return {name_of(rs): 0 for rs in old if replicas_of(rs)}
    if strategy_of(deployment) != "RollingUpdate":
        return {}
    active: list[Obj] = [rs for rs in (*old, *([new] if new is not None else ())) if replicas_of(rs)]
    allowed = max_replicas(deployment) if desired else 0
    to_add = allowed - sum(map(replicas_of, active))
    ordered = _largest_first(active, newest_first=to_add > 0)
    sizes: dict[str, int] = {}
    added = 0
    for rs in ordered:
        share = _proportion(deployment, rs, to_add, added)
        sizes[name_of(rs)] = replicas_of(rs) + share
        added += share
    if ordered:
        first = name_of(ordered[0])
        sizes[first] = max(0, sizes[first] + to_add - added)
    return sizes


def _grown(deployment: Obj, replica_sets: Sequence[Obj], size: int) -> int:
    """The new ReplicaSet's size when it takes what the surge leaves room for."""
    desired = desired_replicas(deployment)
    if strategy_of(deployment) != "RollingUpdate":
        return desired
    room = max_replicas(deployment) - sum(map(replicas_of, replica_sets))
    return size if room <= 0 else size + min(room, desired - size)


def _shrink_old(deployment: Obj, new: Obj, old: Sequence[Obj]) -> Mapping[str, int]:
    if not any(map(replicas_of, old)):
        return {}
    min_available = desired_replicas(deployment) - limits_of(deployment).unavailable
    new_unavailable = replicas_of(new) - _serving(new)
    removable = sum(map(replicas_of, (*old, new))) - min_available - new_unavailable
    sizes = {name_of(rs): replicas_of(rs) for rs in old}
    # Unhealthy replicas first: they serve nobody, and waiting for them could wait forever.
    for rs in old:
        if removable <= 0:
            break
        unhealthy = min(removable, max(0, replicas_of(rs) - _serving(rs)))
        sizes[name_of(rs)] -= unhealthy
        removable -= unhealthy
    available = sum(map(_serving, (*old, new)))
    surplus = min(max(0, available - min_available), max(0, removable))
    for rs in old:
        step = min(sizes[name_of(rs)], surplus)
        sizes[name_of(rs)] -= step
        surplus -= step
    return {name_of(rs): sizes[name_of(rs)] for rs in old if sizes[name_of(rs)] != replicas_of(rs)}


def _serving(rs: Obj) -> int:
    """Available replicas it will still have: a status older than the last shrink counts some that are going."""
    return min(available_of(rs), replicas_of(rs))


def _active_or_latest(new: Obj | None, old: Sequence[Obj]) -> Obj | None:
    """The only active ReplicaSet; with none active the new one, else the youngest; None when several are active."""
    active: list[Obj] = [rs for rs in (*old, *([new] if new is not None else ())) if replicas_of(rs)]
    if len(active) > 1:
        return None
    if active:
        return active[0]
    if new is not None or not old:
        return new
    return by_creation(old)[-1]


def _is_saturated(rs: Obj, desired: int) -> bool:
    return (
        replicas_of(rs) == desired and annotations_of(rs).get(DESIRED) == str(desired) and available_of(rs) == desired
    )


def _largest_first(replica_sets: Sequence[Obj], *, newest_first: bool) -> list[Obj]:
    ordered = by_creation(replica_sets)
    if newest_first:
        ordered.reverse()
    return sorted(ordered, key=replicas_of, reverse=True)


def _proportion(deployment: Obj, rs: Obj, to_add: int, added: int) -> int:
    size = replicas_of(rs)
    if size == 0 or to_add == 0 or to_add == added:
        return 0
    if desired_replicas(deployment) == 0:
        fraction = -size
    else:
        stated = whole_number(annotations_of(rs).get(MAX, ""))
        former = stated if stated is not None else int(field_of(deployment, "status", "replicas", default=0))
        if former <= 0:
            return 0
        # Half away from zero, as upstream's integer rounding does.
        fraction = floor(size * max_replicas(deployment) / former + 0.5) - size
    return min(fraction, to_add - added) if to_add > 0 else max(fraction, to_add - added)


def _rolling(deployment: Obj, field: str) -> int | str:
    value: int | str = field_of(deployment, "spec", "strategy", "rollingUpdate", field, default="25%")
    return value


def share_of(value: int | str, total: int) -> float:
    """An int-or-percent of `total`; a text that is neither counts as zero (validation refuses it)."""
    if isinstance(value, int):
        return value
    number = whole_number(value.removesuffix("%")) or 0
    return number * total / 100 if value.endswith("%") else number
