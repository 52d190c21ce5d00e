"""A Deployment never has more pods than replicas + maxSurge, and is never brought below what it promises by our own act."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from cluster.controllers.deployment_rollout import limits_of
from cluster.machinery.objects import Key, Obj, controller_of, field_of, is_deleting, uid_of
from tests.sim.invariants.rule import Rule
from tests.sim.view import StoreChange, View

MEMORY_S = 5.0
"""A change of the Deployment binds its controller only once it can have seen it; readiness likewise."""


class RolloutsKeepTheirBounds(Rule):
    def __init__(self) -> None:
        self._bounds: dict[Key, list[tuple[float, int, int]]] = {}
        self._ready_at: dict[str, float] = {}

    def changed(self, view: View, change: StoreChange) -> Iterator[str]:
        now = view.clock.monotonic()
        if change.plural == "deployments" and change.new is not None:
            limits, replicas = limits_of(change.new), int(field_of(change.new, "spec", "replicas", default=1))
            known = self._bounds.setdefault(change.key, [])
            if not known or known[-1][1:] != (replicas + limits.surge, replicas - limits.unavailable):
                known.append((now, replicas + limits.surge, replicas - limits.unavailable))
        if change.plural != "pods":
            return
        pod = change.new or change.old
        if pod is None or (owner := _deployment_of(view, pod)) is None or _is_ending(view, owner):
            return
        if change.new is not None and _is_ready(change.new):
            self._ready_at[uid_of(change.new)] = now
        most, least = self._allowed(owner, now)
        pods = [each for each in view.all("pods").values() if _deployment_of(view, each) == owner]
        if change.old is None:
            active = [each for each in pods if _is_active(each)]
            if len(active) > most:
                yield f"{owner} has {len(active)} pods, {most} are allowed"
        was_ready = change.old is not None and _is_ready(change.old) and not is_deleting(change.old)
        by_us = uid_of(pod) not in view.forced
        if by_us and was_ready and (change.new is None or is_deleting(change.new)):
            recently = [each for each in pods if not is_deleting(each) and self._was_ready(each, now)]
            if len(recently) < least and _node_is_ready(view, pod):
                yield f"{owner} was brought to {len(recently)} available pods, {least} are promised"

    def _was_ready(self, pod: Obj, now: float) -> bool:
        return _is_ready(pod) or now - self._ready_at.get(uid_of(pod), -MEMORY_S) < MEMORY_S

    def _allowed(self, owner: Key, now: float) -> tuple[int, int]:
        """The widest bounds of the present spec and of those replaced a moment ago."""
        known = self._bounds.get(owner, [])
        replaced = [each for each, after in pairwise(known) if now - after[0] <= MEMORY_S]
        valid = [*replaced, *known[-1:]]
        return max((each[1] for each in valid), default=1 << 30), min((each[2] for each in valid), default=0)


def _deployment_of(view: View, pod: Obj) -> Key | None:
    namespace = pod["metadata"].get("namespace", "")
    owner = controller_of(pod)
    if owner is None or owner["kind"] != "ReplicaSet":
        return None
    replica_set = view.all("replicasets").get(Key(namespace, owner["name"]))
    above = controller_of(replica_set) if replica_set is not None else None
    if above is None or above["kind"] != "Deployment":
        return None
    key = Key(namespace, above["name"])
    found = view.all("deployments").get(key)
    return key if found is not None and uid_of(found) == above["uid"] else None


def _is_ending(view: View, deployment: Key) -> bool:
    """It is to go, with its namespace or alone: then it promises nothing."""
    namespace = view.all("namespaces").get(Key("", deployment.namespace))
    return is_deleting(view.all("deployments")[deployment]) or namespace is None or is_deleting(namespace)


def _is_active(pod: Obj) -> bool:
    return not is_deleting(pod) and field_of(pod, "status", "phase", default="") not in ("Succeeded", "Failed")


def _is_ready(pod: Obj) -> bool:
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in field_of(pod, "status", "conditions", default=())
    )


def _node_is_ready(view: View, pod: Obj) -> bool:
    node = view.all("nodes").get(Key("", field_of(pod, "spec", "nodeName", default="")))
    return node is not None and _is_ready(node)
