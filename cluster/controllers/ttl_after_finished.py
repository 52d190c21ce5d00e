"""Jobs that say so are deleted some time after they ended.  Upstream: pkg/controller/ttlafterfinished."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

from cluster.client.cache import Change
from cluster.client.controller import DONE, Controller, Result
from cluster.client.writes import Delete
from cluster.controllers.instants import instant_of
from cluster.machinery.conditions import conditions_of
from cluster.machinery.objects import Key, Obj, field_of, is_deleting, resource_version_of, uid_of
from cluster.resources.builtin import JOBS


def expires_at(job: Obj) -> datetime | None:
    """When the job may go; None for one that has not ended, or stays."""
    ttl_s = field_of(job, "spec", "ttlSecondsAfterFinished")
    if ttl_s is None:
        return None
    for condition in conditions_of(job):
        if condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True":
            ended = instant_of(condition.get("lastTransitionTime"))
            return ended + timedelta(seconds=ttl_s) if ended is not None else None
    return None


class TtlAfterFinishedController(Controller):
    name: ClassVar = "ttl-after-finished"
    account: ClassVar = "ttl-after-finished-controller"
    primary: ClassVar = JOBS
    workers: ClassVar = 1

    def wants(self, change: Change) -> bool:
        return change.new is not None and expires_at(change.new) is not None

    async def reconcile(self, key: Key) -> Result:
        job = self.cache.get(JOBS, key)
        expiry = expires_at(job) if job is not None else None
        if job is None or expiry is None or is_deleting(job):
            return DONE
        left_s = (expiry - self.clock.now()).total_seconds()
        if left_s > 0:
            return Result(again_after_s=left_s)
        # The revision is a precondition: a time to live that was just prolonged is heeded.
        write = Delete(
            JOBS, key, uid=uid_of(job), propagation_policy="Foreground", resource_version=resource_version_of(job)
        )
        await self.commit([write])
        return DONE
