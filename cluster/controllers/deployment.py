"""Deployments: rollouts from one ReplicaSet to the next.  Upstream: pkg/controller/deployment/deployment_controller.go.

One reconcile takes one step: it makes, adopts or resizes ReplicaSets, or, when there is nothing to do, cleans up the
history; then it writes the status.  `deployment_rollout` decides sizes, `deployment_revisions` names and numbers,
`deployment_status` conditions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from cluster.client.cache import Cache
from cluster.client.controller import DONE, Result, Terminal, Wakeup, owner_or_selecting
from cluster.client.writes import Create, Delete, SetStatus, Update, Write
from cluster.controllers.claiming import ClaimingController
from cluster.controllers.deployment_revisions import (
    DESIRED,
    MAX,
    REVISION,
    as_new_revision,
    desired_replicas,
    make_replica_set,
    new_replica_set,
    next_revision,
    old_replica_sets,
    revision_number,
    surplus_history,
)
from cluster.controllers.deployment_rollout import (
    Rollout,
    Step,
    initial_replicas,
    is_scaling,
    max_replicas,
    plan_recreate,
    plan_rolling,
    plan_scale,
    replicas_of,
    strategy_of,
)
from cluster.controllers.deployment_status import is_complete, is_paused, next_look_s, status_of
from cluster.controllers.pods import is_finished
from cluster.machinery.errors import AlreadyExists, ApiError, NotFound
from cluster.machinery.objects import (
    Key,
    Obj,
    annotations_of,
    controller_of,
    field_of,
    is_deleting,
    key_of,
    name_of,
    namespace_of,
    uid_of,
    with_field,
)
from cluster.machinery.resource import Resource
from cluster.machinery.selectors import SelectorError, selector_of
from cluster.resources.builtin import DEPLOYMENTS, PODS, REPLICA_SETS


@dataclass(frozen=True, slots=True)
class Note:
    """An Event to record once the writes have succeeded."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    """What to write to ReplicaSets, and to the Deployment's own annotations, before its status."""

    writes: tuple[Write, ...] = ()
    notes: tuple[Note, ...] = ()


def plan_deployment(deployment: Obj, replica_sets: Sequence[Obj], *, old_pods_run: bool) -> DeploymentPlan:
    """The next step of `deployment`, given every ReplicaSet it controls.

    Laws: repeated on settled ReplicaSets it plans nothing; total sizes stay within desired + surge; a paused Deployment
    is only resized.
    """
    new = new_replica_set(deployment, replica_sets)
    old = old_replica_sets(replica_sets, new)
    if is_paused(deployment) or is_scaling(deployment, replica_sets):
        return _resized(deployment, [*old, *_some(new)], plan_scale(deployment, new, old))
    if new is not None:
        numbered = as_new_revision(deployment, new, next_revision(old))
        if numbered is not new:
            return DeploymentPlan((Update(REPLICA_SETS, numbered),))
        if annotations_of(deployment).get(REVISION) != str(revision_number(new)):
            annotations = {**annotations_of(deployment), REVISION: str(revision_number(new))}
            annotated = with_field(deployment, ["metadata", "annotations"], annotations)
            # Through /status, as upstream: an annotation written elsewhere counts as a new generation.
            return DeploymentPlan((Update(DEPLOYMENTS, annotated, "status"),))
    if strategy_of(deployment) == "Recreate":
        rollout = plan_recreate(deployment, new, old, old_pods_run=old_pods_run)
    else:
        rollout = plan_rolling(deployment, new, old)
    if rollout.step is Step.CREATE_NEW:
        return _created(deployment, old)
    if rollout.step is Step.SETTLE and is_complete(deployment, status_counts([*old, *_some(new)], new)):
        surplus = surplus_history(deployment, old)
        return DeploymentPlan(
            tuple(Delete(REPLICA_SETS, key_of(rs), uid=uid_of(rs)) for rs in surplus)
            + _stamped(deployment, new, old, rollout)
        )
    return _resized(deployment, [*old, *_some(new)], rollout.sizes)


def status_counts(every: Sequence[Obj], new: Obj | None) -> Mapping[str, int]:
    """What `is_complete` asks, from the ReplicaSets as they are."""
    return {
        "updatedReplicas": _status(new, "replicas") if new is not None else 0,
        "replicas": sum(_status(rs, "replicas") for rs in every),
        "availableReplicas": sum(_status(rs, "availableReplicas") for rs in every),
    }


def _created(deployment: Obj, old: Sequence[Obj]) -> DeploymentPlan:
    replicas = initial_replicas(deployment, old)
    rs = make_replica_set(
        deployment, replicas=replicas, max_replicas=max_replicas(deployment), revision=next_revision(old)
    )
    note = Note("ScalingReplicaSet", f"Scaled up replica set {name_of(rs)} from 0 to {replicas}")
    return DeploymentPlan((Create(REPLICA_SETS, rs),), (note,) if replicas else ())


def _resized(deployment: Obj, replica_sets: Sequence[Obj], sizes: Mapping[str, int]) -> DeploymentPlan:
    writes: list[Write] = []
    notes: list[Note] = []
    for rs in replica_sets:
        size = sizes.get(name_of(rs), replicas_of(rs))
        stamped = _with_size(deployment, rs, size) if size or name_of(rs) in sizes else rs
        if stamped is rs:
            continue
        writes.append(Update(REPLICA_SETS, stamped))
        if size != replicas_of(rs):
            way = "up" if size > replicas_of(rs) else "down"
            text = f"Scaled {way} replica set {name_of(rs)} from {replicas_of(rs)} to {size}"
            notes.append(Note("ScalingReplicaSet", text))
    return DeploymentPlan(tuple(writes), tuple(notes))


def _stamped(deployment: Obj, new: Obj | None, old: Sequence[Obj], rollout: Rollout) -> tuple[Write, ...]:
    return _resized(deployment, [*old, *_some(new)], rollout.sizes).writes


def _with_size(deployment: Obj, rs: Obj, size: int) -> Obj:
    """`rs` with `size` and a note of what it was sized for; `rs` itself when both are so already."""
    stamp = {DESIRED: str(desired_replicas(deployment)), MAX: str(max_replicas(deployment))}
    updated = rs
    if not stamp.items() <= annotations_of(rs).items():
        updated = with_field(updated, ["metadata", "annotations"], {**annotations_of(rs), **stamp})
    if size != replicas_of(rs):
        updated = with_field(updated, ["spec", "replicas"], size)
    return updated


def _deployment_of_pod(pod: Obj, primary: Resource, cache: Cache) -> Iterable[Key]:
    """A pod of an old ReplicaSet that ends lets a Recreate Deployment go on."""
    owner = controller_of(pod)
    if owner is None or owner.get("kind") != "ReplicaSet":
        return ()
    rs = cache.get(REPLICA_SETS, Key(namespace_of(pod), owner.get("name", "")))
    upper = controller_of(rs) if rs is not None else None
    if upper is None or upper.get("kind") != primary.kind:
        return ()
    key = Key(namespace_of(pod), upper.get("name", ""))
    deployment = cache.get(primary, key)
    return (key,) if deployment is not None and strategy_of(deployment) == "Recreate" else ()


class DeploymentController(ClaimingController):
    name: ClassVar = "deployment"
    account: ClassVar = "deployment-controller"
    primary: ClassVar = DEPLOYMENTS
    wakes: ClassVar = (owner_or_selecting(REPLICA_SETS), Wakeup(PODS, _deployment_of_pod))

    async def reconcile(self, key: Key) -> Result:
        deployment = self.cache.get(DEPLOYMENTS, key)
        if deployment is None:
            return DONE
        try:
            selector = selector_of(field_of(deployment, "spec", "selector"))
        except SelectorError as error:
            raise Terminal(f"invalid selector: {error}") from error
        if selector.is_empty:
            message = "This deployment is selecting all pods. A non-empty selector is required."
            self.recorder.event(deployment, "Warning", "SelectingAll", message)
            return DONE
        replica_sets = await self.claim(deployment, selector, REPLICA_SETS)
        if replica_sets is None:
            return DONE
        failure = ""
        wrote = False
        if not is_deleting(deployment):
            plan = plan_deployment(deployment, replica_sets, old_pods_run=self._old_pods_run(deployment, replica_sets))
            try:
                await self.commit(plan.writes)
            except AlreadyExists:
                return await self._resolve_collision(deployment, plan)
            except ApiError as error:
                if not any(isinstance(write, Create) for write in plan.writes):
                    raise
                failure = f"Failed to create new replica set: {error.message}"
                self.recorder.event(deployment, "Warning", "ReplicaSetCreateError", failure)
            else:
                wrote = bool(plan.writes)
                for note in plan.notes:
                    self.recorder.event(deployment, "Normal", note.reason, note.message)
        if wrote:
            # Status and the next step follow from what was just written, once the cache shows it.
            self.queue.add(key)
            return DONE
        now = self.clock.now()
        new = new_replica_set(deployment, replica_sets)
        status = status_of(deployment, new, old_replica_sets(replica_sets, new), now=now, failure=failure)
        await self.commit([SetStatus(DEPLOYMENTS, deployment, status)])
        if failure:
            raise ApiError(failure)
        return Result(next_look_s(deployment, status, now=now))

    def _old_pods_run(self, deployment: Obj, replica_sets: Sequence[Obj]) -> bool:
        new = new_replica_set(deployment, replica_sets)
        return any(
            not is_finished(pod) for rs in old_replica_sets(replica_sets, new) for pod in self.cache.owned_by(rs, PODS)
        )

    async def _resolve_collision(self, deployment: Obj, plan: DeploymentPlan) -> Result:
        """The new ReplicaSet's name is taken: by ourselves on an older cache, or by another template with this hash."""
        wanted = next(write.obj for write in plan.writes if isinstance(write, Create))
        try:
            present = await self.transport.get(REPLICA_SETS, key_of(wanted))
        except NotFound:
            self.queue.add(key_of(deployment))
            return DONE
        ours = (controller_of(present) or {}).get("uid") == uid_of(deployment)
        if ours and new_replica_set(deployment, [present]) is not None:
            return Result(again_after_s=0.1)
        status = dict(deployment.get("status") or {})
        status["collisionCount"] = int(status.get("collisionCount", 0)) + 1
        await self.commit([SetStatus(DEPLOYMENTS, deployment, status)])
        self.queue.add(key_of(deployment))
        return DONE


def _some(rs: Obj | None) -> tuple[Obj, ...]:
    return () if rs is None else (rs,)


def _status(rs: Obj, field: str) -> int:
    return int(field_of(rs, "status", field, default=0))
