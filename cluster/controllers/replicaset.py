"""ReplicaSets: as many active pods as `spec.replicas` says.  Upstream: pkg/controller/replicaset/replica_set.go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from cluster.client.controller import DONE, Result, Terminal, Wakeup, owner_or_selecting
from cluster.client.writes import Create, Delete, SetStatus, Write
from cluster.controllers.claiming import ClaimingController, failure_reason
from cluster.controllers.pods import (
    available_in_s,
    condition_of,
    is_active,
    is_finished,
    is_ready,
    least_useful_first,
    pod_from_template,
)
from cluster.machinery.errors import ApiError
from cluster.machinery.objects import (
    Key,
    Obj,
    controller_of,
    field_of,
    generation_of,
    is_deleting,
    key_of,
    labels_of,
    meta_of,
    namespace_of,
    uid_of,
)
from cluster.machinery.resource import Resource
from cluster.machinery.selectors import Selector, SelectorError, selector_of
from cluster.machinery.timestamps import format_time
from cluster.resources.builtin import PODS, REPLICA_SETS

BURST_MAX = 500
"""Pods created or deleted by one reconcile; the rest follow when the cache shows these."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the last attempt to create or delete pods did not succeed: `FailedCreate` or `FailedDelete`."""

    reason: str
    message: str


def plan_replicas(rs: Obj, pods: Sequence[Obj], related: Sequence[Obj] = ()) -> tuple[Write, ...]:
    """The writes that move `pods` (all its own) towards `spec.replicas`: at most BURST_MAX; none while it is deleted."""
    if is_deleting(rs):
        return ()
    active = [pod for pod in pods if is_active(pod)]
    missing = replicas_of(rs) - len(active)
    if missing > 0:
        # generateName: the server picks the suffix, so planning needs no randomness.
        return tuple(Create(PODS, pod_from_template(rs)) for _ in range(min(missing, BURST_MAX)))
    surplus = least_useful_first(active, related or active)[: min(-missing, BURST_MAX)]
    return tuple(Delete(PODS, key_of(pod), uid=uid_of(pod)) for pod in surplus)


def replicas_of(rs: Obj) -> int:
    return int(field_of(rs, "spec", "replicas", default=1))


def status_of(rs: Obj, pods: Sequence[Obj], *, now: datetime, failure: Failure | None) -> dict[str, Any]:
    """`status` from its pods.  Counts that are zero are left out, `replicas` excepted, as upstream serialises them."""
    counted = [pod for pod in pods if is_active(pod)]
    template_labels = meta_of(rs["spec"]["template"]).get("labels") or {}
    min_ready_s = float(field_of(rs, "spec", "minReadySeconds", default=0))
    counts = {
        "fullyLabeledReplicas": sum(template_labels.items() <= labels_of(pod).items() for pod in counted),
        "readyReplicas": sum(is_ready(pod) for pod in counted),
        "availableReplicas": sum(
            available_in_s(pod, min_ready_s=min_ready_s, now=now) == 0.0 for pod in counted
        ),
    }  # fmt: skip
    status: dict[str, Any] = {"replicas": len(counted)}
    status |= {name: count for name, count in counts.items() if count}
    status["observedGeneration"] = generation_of(rs)
    others = [c for c in field_of(rs, "status", "conditions", default=()) if c.get("type") != "ReplicaFailure"]
    if failure is not None:
        old = condition_of(rs, "ReplicaFailure")
        # The first message stays: each names another generated pod, and a status that changes with every attempt
        # would have the attempts follow each other without pause.
        if old is None or old.get("reason") != failure.reason:
            old = {
                "type": "ReplicaFailure",
                "status": "True",
                "lastTransitionTime": format_time(now),
                "reason": failure.reason,
                "message": failure.message,
            }
        others.append(old)
    if others:
        status["conditions"] = others
    return status


def next_look_s(rs: Obj, pods: Sequence[Obj], *, now: datetime) -> float | None:
    """Seconds until the next ready pod becomes available by `minReadySeconds`; None when none is on its way."""
    min_ready_s = float(field_of(rs, "spec", "minReadySeconds", default=0))
    waits = (available_in_s(pod, min_ready_s=min_ready_s, now=now) for pod in pods if is_active(pod))
    # A little later than due: lastTransitionTime has whole seconds.
    return min((wait + 0.1 for wait in waits if wait), default=None)


class ReplicaSetController(ClaimingController):
    name: ClassVar = "replicaset"
    account: ClassVar = "replicaset-controller"
    primary: ClassVar[Resource] = REPLICA_SETS
    wakes: ClassVar[Sequence[Wakeup]] = (owner_or_selecting(PODS),)

    def selector(self, rs: Obj) -> Selector:
        """Raises SelectorError."""
        return selector_of(field_of(rs, "spec", "selector"))

    async def reconcile(self, key: Key) -> Result:
        rs = self.cache.get(self.primary, key)
        if rs is None:
            return DONE
        try:
            selector = self.selector(rs)
        except SelectorError as error:
            raise Terminal(f"invalid selector: {error}") from error
        owned = await self.claim(rs, selector, PODS, counts=lambda pod: not is_finished(pod))
        if owned is None:
            return DONE
        failure, refusal = await self._scale(rs, owned)
        now = self.clock.now()
        await self.commit([SetStatus(self.primary, rs, status_of(rs, owned, now=now, failure=failure))])
        if refusal is not None:
            raise refusal
        return Result(next_look_s(rs, owned, now=now))

    async def _scale(self, rs: Obj, pods: Sequence[Obj]) -> tuple[Failure | None, ApiError | None]:
        writes = plan_replicas(rs, pods, self._related(rs, pods))
        refusal = await self.change_pods(rs, writes)
        return (Failure(failure_reason(writes), refusal.message) if refusal is not None else None), refusal

    def _related(self, rs: Obj, pods: Sequence[Obj]) -> Sequence[Obj]:
        """The pods of every ReplicaSet with the same controller: the rollout as a whole should stay spread."""
        owner = controller_of(rs)
        if owner is None:
            return pods
        siblings = [
            other
            for other in self.cache.list(self.primary, namespace=namespace_of(rs))
            if (controller_of(other) or {}).get("uid") == owner.get("uid")
        ]
        return [pod for sibling in siblings for pod in self.cache.owned_by(sibling, PODS)]
