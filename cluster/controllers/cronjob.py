"""CronJobs: a Job at each of its times.  Upstream: pkg/controller/cronjob/cronjob_controllerv2.go."""

from __future__ import annotations

from typing import ClassVar

from cluster.client.controller import DONE, Controller, Result, owner_of
from cluster.client.writes import Create, Delete, SetStatus
from cluster.controllers.cronjob_plan import CronJobPlan, plan_cron_job, started
from cluster.machinery.errors import ApiError
from cluster.machinery.objects import Key, Obj, controller_of, key_of, name_of, uid_of
from cluster.resources.builtin import CRON_JOBS, JOBS


class CronJobController(Controller):
    name: ClassVar = "cronjob"
    account: ClassVar = "cronjob-controller"
    primary: ClassVar = CRON_JOBS
    wakes: ClassVar = (owner_of(JOBS),)

    async def reconcile(self, key: Key) -> Result:
        cron_job = self.cache.get(CRON_JOBS, key)
        if cron_job is None:
            return DONE
        plan = plan_cron_job(cron_job, self.cache.owned_by(cron_job, JOBS), now=self.clock.now())
        for note in plan.notes:
            self.recorder.event(cron_job, note.type, note.reason, note.message)
        await self._delete_jobs(cron_job, plan.replaces)
        status = plan.status
        if plan.create is not None and plan.scheduled_at is not None:
            job = await self._create(cron_job, plan, plan.create)
            if job is not None:
                status = started(status, job, plan.scheduled_at, plan.replaces)
        await self.commit([SetStatus(CRON_JOBS, cron_job, status)])
        await self._delete_jobs(cron_job, plan.history)
        return Result(plan.again_after_s)

    async def _create(self, cron_job: Obj, plan: CronJobPlan, create: Create) -> Obj | None:
        """The job for this time; None when somebody else has its name."""
        try:
            (made,) = await self.commit([create])
        except ApiError as error:
            self.recorder.event(cron_job, "Warning", "FailedCreate", f"Error creating job: {error.message}")
            raise
        if made is not None:
            self.recorder.event(cron_job, "Normal", "SuccessfulCreate", f"Created job {name_of(made)}")
            return made
        there = await self.transport.get(JOBS, key_of(create.obj))
        if (controller_of(there) or {}).get("uid") == uid_of(cron_job):
            return there
        message = f"Error creating job: {name_of(there)} exists and belongs to another"
        self.recorder.event(cron_job, "Warning", "FailedCreate", message)
        return None

    async def _delete_jobs(self, cron_job: Obj, deletes: tuple[Delete, ...]) -> None:
        await self.commit(deletes)
        for write in deletes:
            self.recorder.event(cron_job, "Normal", "SuccessfulDelete", f"Deleted job {write.key.name}")
