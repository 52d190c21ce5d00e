"""What a DaemonSet does next: one pod on every node that fits; then, node by node, pods of the newest template.

Pure.  Upstream: pkg/controller/daemon/{daemon_controller,update}.go.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil

from cluster.client.writes import Create, Delete
from cluster.controllers.daemonset_pods import by_node, daemon_pod, fit_of
from cluster.controllers.deployment_rollout import share_of
from cluster.controllers.history import POD_REVISION
from cluster.controllers.pods import available_in_s, is_ready, phase_of
from cluster.machinery.objects import Obj, field_of, is_deleting, key_of, labels_of, name_of, uid_of
from cluster.resources.builtin import PODS

BURST_MAX = 250
"""Pods created, and deleted, by one reconcile; the rest follow when the cache shows these."""


@dataclass(frozen=True, slots=True)
class DaemonPlan:
    """`ended` are those of the deleted pods that had failed or succeeded by themselves, by node."""

    creates: tuple[Create, ...] = ()
    deletes: tuple[Delete, ...] = ()
    ended: Mapping[str, Obj] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.creates or self.deletes)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many nodes a rollout may have with a pod too many, or without an available one; one of the two is zero."""

    surge: int
    unavailable: int


def plan_daemon_set(
    daemon: Obj, nodes: Sequence[Obj], pods: Sequence[Obj], *, hash_: str, held: Collection[str], now: datetime
) -> DaemonPlan:
    """The next step; `hash_` names the newest template, on `held` nodes failed pods are left until their back-off ends.

    Laws: repeated on what it made it plans nothing; a rollout moves on only when every node has its pods.
    """
    placed = by_node(pods)
    placing = _plan_placing(daemon, nodes, placed, hash_=hash_, held=held, now=now)
    if placing or field_of(daemon, "spec", "updateStrategy", "type", default="RollingUpdate") != "RollingUpdate":
        return placing
    limits = limits_of(daemon, nodes)
    if limits.surge:
        return _plan_surge(daemon, placed, limits, hash_=hash_, now=now)
    return _plan_replacing(daemon, placed, limits, hash_=hash_, now=now)


def limits_of(daemon: Obj, nodes: Sequence[Obj]) -> Limits:
    """Shares are of the nodes that should run a pod, rounded up."""
    desired = sum(fit_of(daemon, node).should_run for node in nodes)
    rolling = field_of(daemon, "spec", "updateStrategy", "rollingUpdate", default={})
    surge = ceil(share_of(rolling.get("maxSurge", 0), desired))
    unavailable = ceil(share_of(rolling.get("maxUnavailable", 1), desired))
    return Limits(surge=surge, unavailable=unavailable if surge or unavailable else 1)


def is_updated(pod: Obj, hash_: str) -> bool:
    return labels_of(pod).get(POD_REVISION) == hash_


def is_available(daemon: Obj, pod: Obj, *, now: datetime) -> bool:
    return available_in_s(pod, min_ready_s=min_ready_s(daemon), now=now) == 0.0


def min_ready_s(daemon: Obj) -> float:
    return float(field_of(daemon, "spec", "minReadySeconds", default=0))


def _plan_placing(
    daemon: Obj,
    nodes: Sequence[Obj],
    placed: Mapping[str, Sequence[Obj]],
    *,
    hash_: str,
    held: Collection[str],
    now: datetime,
) -> DaemonPlan:
    missing: list[str] = []
    doomed: list[Obj] = []
    ended: dict[str, Obj] = {}
    names: set[str] = set()
    limits = limits_of(daemon, nodes)
    for node in sorted(nodes, key=name_of):
        name = name_of(node)
        names.add(name)
        fit = fit_of(daemon, node)
        here = placed.get(name, ())
        if fit.should_run and not here:
            missing.append(name)
            continue
        staying = [pod for pod in here if not is_deleting(pod)]
        if not fit.should_stay:
            doomed += staying
            continue
        over = [pod for pod in staying if phase_of(pod) in ("Failed", "Succeeded")]
        if name not in held:
            doomed += over
            if over:
                ended[name] = over[0]
        doomed += _surplus(daemon, [pod for pod in staying if pod not in over], limits, hash_, now)
    for name, here in placed.items():
        if name not in names:
            # Never bound, and made for a node that is gone: nothing else would remove it.
            doomed += [pod for pod in here if not field_of(pod, "spec", "nodeName") and not is_deleting(pod)]
    return _plan(daemon, missing, doomed, hash_=hash_, ended=ended)


def _surplus(daemon: Obj, running: Sequence[Obj], limits: Limits, hash_: str, now: datetime) -> list[Obj]:
    """Pods too many on one node: all but the oldest; while surging all but the oldest new and the oldest old one."""
    if len(running) <= 1 or not limits.surge:
        return list(running[1:])
    new = [pod for pod in running if is_updated(pod, hash_)]
    old = [pod for pod in running if not is_updated(pod, hash_)]
    surplus = [*new[1:], *old[1:]]
    if new and old and (not is_ready(old[0]) or is_available(daemon, new[0], now=now)):
        surplus.append(old[0])
    return surplus


@dataclass(frozen=True, slots=True)
class _Pair:
    """The pods of a node that stay; `clear` is false when there are several of one age."""

    new: Obj | None
    old: Obj | None
    clear: bool


def _pair_of(pods: Sequence[Obj], hash_: str) -> _Pair:
    staying = [pod for pod in pods if not is_deleting(pod)]
    new = [pod for pod in staying if is_updated(pod, hash_)]
    old = [pod for pod in staying if not is_updated(pod, hash_)]
    return _Pair(new[0] if new else None, old[0] if old else None, len(new) <= 1 and len(old) <= 1)


def _plan_replacing(
    daemon: Obj, placed: Mapping[str, Sequence[Obj]], limits: Limits, *, hash_: str, now: datetime
) -> DaemonPlan:
    """Old pods are deleted as far as nodes may be without; those that serve nobody at once."""
    unavailable = 0
    broken: list[Obj] = []
    candidates: list[Obj] = []
    for pods in placed.values():
        pair = _pair_of(pods, hash_)
        if not pair.clear or (pair.new is None) == (pair.old is None):
            unavailable += 1
        elif pair.new is not None:
            unavailable += not is_available(daemon, pair.new, now=now)
        elif pair.old is not None and not is_available(daemon, pair.old, now=now):
            broken.append(pair.old)
            unavailable += 1
        elif pair.old is not None:
            candidates.append(pair.old)
    free = max(0, limits.unavailable - unavailable)
    return _plan(daemon, [], [*broken, *candidates[:free]], hash_=hash_)


def _plan_surge(
    daemon: Obj, placed: Mapping[str, Sequence[Obj]], limits: Limits, *, hash_: str, now: datetime
) -> DaemonPlan:
    """New pods are created beside old ones as far as there may be more; an old one goes when its new one is available."""
    surging = 0
    broken: list[str] = []
    candidates: list[str] = []
    doomed: list[Obj] = []
    for node, pods in placed.items():
        pair = _pair_of(pods, hash_)
        if not pair.clear:
            surging += 1
        elif pair.old is None:
            continue
        elif pair.new is None:
            (candidates if is_available(daemon, pair.old, now=now) else broken).append(node)
        elif is_available(daemon, pair.new, now=now):
            doomed.append(pair.old)
        else:
            surging += 1
    free = max(0, limits.surge - surging)
    return _plan(daemon, [*broken, *candidates[:free]], doomed, hash_=hash_)


def _plan(
    daemon: Obj, missing: Sequence[str], doomed: Sequence[Obj], *, hash_: str, ended: Mapping[str, Obj] | None = None
) -> DaemonPlan:
    return DaemonPlan(
        tuple(Create(PODS, daemon_pod(daemon, node, hash_=hash_)) for node in missing[:BURST_MAX]),
        tuple(Delete(PODS, key_of(pod), uid=uid_of(pod)) for pod in doomed[:BURST_MAX]),
        ended or {},
    )
