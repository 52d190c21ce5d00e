"""Jobs: pods that run to their end, as many as are wanted.  Upstream: pkg/controller/job/job_controller.go.

Each of its pods carries a finalizer until its end is counted, so that no end is lost or counted twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from cluster.client.cache import Cache
from cluster.client.controller import DONE, Controller, Result, Terminal, Wakeup, selecting_keys
from cluster.client.writes import SetStatus
from cluster.controllers.job_outcome import is_over
from cluster.controllers.job_plan import JobPlan, plan_job, without_scaling
from cluster.controllers.job_pods import is_tracked, release, tracked, untracked
from cluster.controllers.ownership import plan_claim
from cluster.machinery.errors import ApiError, NotFound
from cluster.machinery.objects import (
    Key,
    Obj,
    controller_of,
    field_of,
    is_deleting,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    uid_of,
)
from cluster.machinery.resource import Resource
from cluster.machinery.selectors import SelectorError, selector_of
from cluster.resources.batch import JOB_NAME
from cluster.resources.builtin import JOBS, PODS

MANAGED_BY = "kubernetes.io/job-controller"


def job_of(pod: Obj) -> str:
    """The name of the job that a pod belongs to or, when nothing controls it any more, belonged to; may be empty."""
    owner = controller_of(pod)
    if owner is not None:
        return str(owner.get("name", "")) if owner.get("kind") == JOBS.kind else ""
    return str(labels_of(pod).get(JOB_NAME, ""))


def _keys(pod: Obj, primary: Resource, cache: Cache) -> Iterable[Key]:
    owner = controller_of(pod)
    if owner is not None:
        ours = owner.get("kind") == JOBS.kind and str(owner.get("apiVersion", "")).startswith(f"{JOBS.group}/")
        return (Key(namespace_of(pod), owner.get("name", "")),) if ours else ()
    if is_tracked(pod):
        return (Key(namespace_of(pod), job_of(pod)), *selecting_keys(pod, primary, cache))
    return selecting_keys(pod, primary, cache)


class JobController(Controller):
    name: ClassVar = "job"
    account: ClassVar = "job-controller"
    primary: ClassVar = JOBS
    wakes: ClassVar = (Wakeup(PODS, _keys),)

    async def reconcile(self, key: Key) -> Result:
        job = self.cache.get(JOBS, key)
        if job is None:
            await self._release_orphans(key)
            return DONE
        if field_of(job, "spec", "managedBy", default=MANAGED_BY) != MANAGED_BY:
            return DONE
        if is_over(job):
            left = [pod for pod in self.cache.owned_by(job, PODS) if is_tracked(pod)]
            await self.commit(map(release, left))
            return DONE
        pods = await self._claimed(job)
        if pods is None:
            return DONE
        plan = plan_job(job, pods, now=self.clock.now())
        refusal = await self._scale(job, plan)
        if refusal is not None:
            plan = without_scaling(job, pods, plan)
        await self.commit([SetStatus(JOBS, job, plan.status)])
        for note in plan.notes:
            self.recorder.event(job, note.type, note.reason, note.message)
        await self.commit(plan.releases)
        if refusal is not None:
            raise refusal
        return Result(plan.again_after_s)

    async def _claimed(self, job: Obj) -> tuple[Obj, ...] | None:
        """The job's pods; None when some had to be adopted or let go first: the key comes again."""
        try:
            selector = selector_of(field_of(job, "spec", "selector"))
        except SelectorError as error:
            raise Terminal(f"invalid selector: {error}") from error
        matching = self.cache.list(PODS, namespace=namespace_of(job), selector=selector)
        known = {key_of(pod): pod for pod in (*matching, *self.cache.owned_by(job, PODS))}
        claim = plan_claim(job, selector, [known[name] for name in sorted(known)], PODS)
        if not claim.adopt and not claim.release:
            return claim.owned
        if claim.adopt and not await self._is_live(job):
            return None
        await self.commit((*map(untracked, claim.release), *map(tracked, claim.adopt)))
        self.queue.add(key_of(job))
        return None

    async def _scale(self, job: Obj, plan: JobPlan) -> ApiError | None:
        """Why the pods could not be created or deleted; None when they were."""
        creates, deletes = plan.scaling.creates, plan.scaling.deletes
        try:
            answers = await self.commit((*deletes, *creates))
        except ApiError as error:
            verb = "creating" if creates else "deleting"
            reason = "FailedCreate" if creates else "FailedDelete"
            self.recorder.event(job, "Warning", reason, f"Error {verb}: {error.message}")
            return error
        for write in deletes:
            self.recorder.event(job, "Normal", "SuccessfulDelete", f"Deleted pod: {write.key.name}")
        for made in answers[len(deletes) :]:
            if made is not None:
                self.recorder.event(job, "Normal", "SuccessfulCreate", f"Created pod: {name_of(made)}")
        return None

    async def _release_orphans(self, key: Key) -> None:
        """Pods of a job that is gone: nobody will count them."""
        left = [
            pod for pod in self.cache.list(PODS, namespace=key.namespace) if is_tracked(pod) and job_of(pod) == key.name
        ]
        await self.commit(map(release, left))

    async def _is_live(self, job: Obj) -> bool:
        """Adopting for an owner that is gone would leave the garbage collector to delete the adopted."""
        try:
            live = await self.transport.get(JOBS, key_of(job))
        except NotFound:
            return False
        return uid_of(live) == uid_of(job) and not is_deleting(live)
