"""ReplicaSets: as many active pods as `spec.replicas` says.  Upstream: pkg/controller/replicaset/replica_set.go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from cluster.client.controller import DONE, Controller, Result, Terminal, owner_or_selecting
from cluster.client.writes import Create, Delete, SetStatus, Write
from cluster.controllers.ownership import plan_claim
from cluster.controllers.pods import (
    available_in_s,
    condition_of,
    is_active,
    is_finished,
    is_ready,
    least_useful_first,
    pod_from_template,
)
from cluster.machinery.errors import ApiError, NotFound
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
    name_of,
    namespace_of,
    uid_of,
)
from cluster.machinery.selectors import SelectorError, selector_of
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


class ReplicaSetController(Controller):
    name: ClassVar = "replicaset"
    account: ClassVar = "replicaset-controller"
    primary: ClassVar = REPLICA_SETS
    wakes: ClassVar = (owner_or_selecting(PODS),)

    async def reconcile(self, key: Key) -> Result:
        rs = self.cache.get(REPLICA_SETS, key)
        if rs is None:
            return DONE
        try:
            selector = selector_of(field_of(rs, "spec", "selector"))
        except SelectorError as error:
            raise Terminal(f"invalid selector: {error}") from error
        matching = self.cache.list(PODS, namespace=key.namespace, selector=selector)
        known = {key_of(pod): pod for pod in (*matching, *self.cache.owned_by(rs, PODS))}
        present = [known[pod_key] for pod_key in sorted(known) if not is_finished(known[pod_key])]
        claim = plan_claim(rs, selector, present, PODS)
        if claim.adopt or claim.release:
            if claim.adopt and not await self._is_live(rs):
                return DONE
            # The cache shows the new owner before this key comes again.
            await self.commit((*claim.release, *claim.adopt))
            self.queue.add(key)
            return DONE
        failure, refusal = await self._scale(rs, claim.owned)
        now = self.clock.now()
        await self.commit([SetStatus(REPLICA_SETS, rs, status_of(rs, claim.owned, now=now, failure=failure))])
        if refusal is not None:
            raise refusal
        return Result(next_look_s(rs, claim.owned, now=now))

    async def _scale(self, rs: Obj, pods: Sequence[Obj]) -> tuple[Failure | None, ApiError | None]:
        writes = plan_replicas(rs, pods, self._related(rs, pods))
        try:
            answers = await self.commit(writes)
        except ApiError as error:
            creating = isinstance(writes[0], Create)
            verb = "creating" if creating else "deleting"
            reason = "FailedCreate" if creating else "FailedDelete"
            self.recorder.event(rs, "Warning", reason, f"Error {verb}: {error.message}")
            return Failure(reason, error.message), error
        for write, answer in zip(writes, answers, strict=True):
            if isinstance(write, Create) and answer is not None:
                self.recorder.event(rs, "Normal", "SuccessfulCreate", f"Created pod: {name_of(answer)}")
            elif isinstance(write, Delete):
                self.recorder.event(rs, "Normal", "SuccessfulDelete", f"Deleted pod: {write.key.name}")
        return None, None

    def _related(self, rs: Obj, pods: Sequence[Obj]) -> Sequence[Obj]:
        """The pods of every ReplicaSet with the same controller: the rollout as a whole should stay spread."""
        owner = controller_of(rs)
        if owner is None:
            return pods
        siblings = [
            other
            for other in self.cache.list(REPLICA_SETS, namespace=namespace_of(rs))
            if (controller_of(other) or {}).get("uid") == owner.get("uid")
        ]
        return [pod for sibling in siblings for pod in self.cache.owned_by(sibling, PODS)]

    async def _is_live(self, rs: Obj) -> bool:
        """Adopting for an owner that is gone would leave the garbage collector to delete the adopted."""
        try:
            live = await self.transport.get(REPLICA_SETS, key_of(rs))
        except NotFound:
            return False
        return uid_of(live) == uid_of(rs) and not is_deleting(live)
