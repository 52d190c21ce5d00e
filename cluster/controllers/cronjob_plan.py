"""What a CronJob does now: the job to start, those to stop, the history to shorten, the status.  Pure.

Upstream: pkg/controller/cronjob/cronjob_controllerv2.go syncCronJob.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cluster.client.writes import Create, Delete
from cluster.controllers.cronjob_schedule import UnknownTimeZone, due_of, zone_of
from cluster.controllers.instants import instant_of
from cluster.controllers.job_outcome import is_over
from cluster.controllers.job_plan import Note
from cluster.machinery.conditions import is_condition_true
from cluster.machinery.cron import ScheduleError
from cluster.machinery.objects import (
    Obj,
    annotations_of,
    field_of,
    is_deleting,
    key_of,
    meta_of,
    name_of,
    namespace_of,
    owner_reference_to,
    resource_version_of,
    uid_of,
)
from cluster.machinery.timestamps import format_time
from cluster.resources.builtin import JOBS

SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
"""The time a job was made for, on the clocks of the CronJob's zone."""
LATE_S = 0.1
"""How long after its time a CronJob is looked at: never just before it."""


@dataclass(frozen=True, slots=True)
class CronJobPlan:
    """In this order: `replaces` are deleted, `create` is made, the status is written, `history` is deleted.

    `status` tells of the jobs there are; the one that is made joins it with `started`.
    """

    status: dict[str, Any]
    create: Create | None = None
    scheduled_at: datetime | None = None
    replaces: tuple[Delete, ...] = ()
    history: tuple[Delete, ...] = ()
    notes: tuple[Note, ...] = ()
    again_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Start:
    create: Create | None = None
    at: datetime | None = None
    replaces: tuple[Delete, ...] = ()
    again_after_s: float | None = None


def plan_cron_job(cron_job: Obj, jobs: Sequence[Obj], *, now: datetime) -> CronJobPlan:
    """`jobs` are those it controls."""
    notes: list[Note] = []
    status = _status(cron_job, jobs, notes)
    current = {**cron_job, "status": status}
    start = _Start() if is_deleting(cron_job) else _start(current, jobs, notes, now)
    history = () if is_deleting(cron_job) else _history(cron_job, jobs)
    return CronJobPlan(
        status, start.create, start.at, start.replaces, history, tuple(notes), start.again_after_s
    )  # fmt: skip


def started(status: Obj, job: Obj, at: datetime, replaced: Sequence[Delete]) -> dict[str, Any]:
    """The status once `job` was started for `at`, those it replaces no longer being listed."""
    gone = {write.uid for write in replaced} | {uid_of(job)}
    active = [reference for reference in status.get("active") or () if reference.get("uid") not in gone]
    return {**status, "active": [*active, _reference_to(job)], "lastScheduleTime": format_time(at)}


def job_name(cron_job: Obj, at: datetime) -> str:
    """The same for the same time, so that no time is served twice."""
    return f"{name_of(cron_job)}-{int(at.timestamp()) // 60}"


def _status(cron_job: Obj, jobs: Sequence[Obj], notes: list[Note]) -> dict[str, Any]:
    """The status as the jobs have it: those that ended, or are gone, are no longer active; ours that run are."""
    status: dict[str, Any] = dict(cron_job.get("status") or {})
    by_uid = {uid_of(job): job for job in jobs}
    active: list[Obj] = []
    for reference in status.get("active") or ():
        job = by_uid.get(reference.get("uid", ""))
        if job is None:
            notes.append(Note("Normal", "MissingJob", f"Active job went missing: {reference.get('name', '')}"))
        elif is_over(job):
            ended = "Complete" if is_condition_true(job, "Complete") else "Failed"
            message = f"Saw completed job: {name_of(job)}, condition: {ended}"
            notes.append(Note("Normal", "SawCompletedJob", message))
        else:
            active.append(reference)
    listed = {reference.get("uid") for reference in status.get("active") or ()}
    last = instant_of(status.get("lastScheduleTime"))
    for job in jobs:
        at = instant_of(annotations_of(job).get(SCHEDULED)) if name_of(job).startswith(name_of(cron_job)) else None
        if uid_of(job) not in listed and not is_over(job):
            if at is None:
                message = f"Saw a job that the controller did not create or forgot: {name_of(job)}"
                notes.append(Note("Warning", "UnexpectedJob", message))
            else:
                # We made it and were stopped before we could say so.
                active.append(_reference_to(job))
        if at is not None and (last is None or at > last):
            last = at
    if last is not None:
        status["lastScheduleTime"] = format_time(last)
    successes = [
        end for job in jobs if is_condition_true(job, "Complete")
        and (end := instant_of(field_of(job, "status", "completionTime"))) is not None
    ]  # fmt: skip
    if successes:
        before = instant_of(status.get("lastSuccessfulTime"))
        newest = max(successes)
        status["lastSuccessfulTime"] = format_time(newest if before is None else max(before, newest))
    status.pop("active", None)
    return {**status, "active": active} if active else status


def _start(cron_job: Obj, jobs: Sequence[Obj], notes: list[Note], now: datetime) -> _Start:
    spec = cron_job["spec"]
    try:
        due = due_of(cron_job, now=now)
    except UnknownTimeZone as error:
        notes.append(Note("Warning", "UnknownTimeZone", f'invalid timeZone: "{spec.get("timeZone", "")}": {error}'))
        return _Start()
    except ScheduleError as error:
        text = f'unparseable schedule: "{spec.get("schedule", "")}" : {error}'
        notes.append(Note("Warning", "UnparseableSchedule", text))
        return _Start()
    if spec.get("suspend"):
        return _Start()
    waiting = _Start()
    if due.next_at is not None:
        waiting = _Start(again_after_s=max((due.next_at - now).total_seconds(), 0.0) + LATE_S)
    if due.at is None:
        return waiting
    if due.too_many_missed:
        message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        notes.append(Note("Warning", "TooManyMissedTimes", message))
    deadline_s = spec.get("startingDeadlineSeconds")
    if deadline_s is not None and due.at + timedelta(seconds=deadline_s) < now:
        when = due.at.strftime("%a, %d %b %Y %H:%M:%S +0000")
        notes.append(Note("Warning", "MissSchedule", f"Missed scheduled time to start a job: {when}"))
        return waiting
    active = field_of(cron_job, "status", "active", default=())
    policy = spec.get("concurrencyPolicy", "Allow")
    if policy == "Forbid" and active:
        message = "Not starting job because prior execution is running and concurrency policy is Forbid"
        notes.append(Note("Normal", "JobAlreadyActive", message))
        return waiting
    replaces: tuple[Delete, ...] = ()
    if policy == "Replace":
        uids = {reference.get("uid") for reference in active}
        replaces = tuple(_delete(job) for job in jobs if uid_of(job) in uids)
    create = Create(JOBS, _job(cron_job, due.at), exists_ok=True)
    return _Start(create, due.at, replaces, waiting.again_after_s)


def _job(cron_job: Obj, at: datetime) -> dict[str, Any]:
    template = cron_job["spec"]["jobTemplate"]
    when = at.astimezone(zone_of(cron_job)).isoformat(timespec="seconds").replace("+00:00", "Z")
    metadata: dict[str, Any] = {
        "name": job_name(cron_job, at),
        "namespace": namespace_of(cron_job),
        "annotations": {**annotations_of(template), SCHEDULED: when},
        "ownerReferences": [owner_reference_to(cron_job)],
    }
    if labels := meta_of(template).get("labels"):
        metadata["labels"] = labels
    return {"apiVersion": JOBS.api_version, "kind": JOBS.kind, "metadata": metadata, "spec": template["spec"]}


def _history(cron_job: Obj, jobs: Sequence[Obj]) -> tuple[Delete, ...]:
    """The oldest ended jobs above the two limits."""
    doomed: list[Obj] = []
    for condition, field in (("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")):
        limit = field_of(cron_job, "spec", field)
        ended = [job for job in jobs if is_condition_true(job, condition) and not is_deleting(job)]
        if limit is not None and len(ended) > limit:
            ended.sort(key=lambda job: (field_of(job, "status", "startTime", default=""), name_of(job)))
            doomed += ended[: len(ended) - limit]
    return tuple(map(_delete, doomed))


def _delete(job: Obj) -> Delete:
    return Delete(JOBS, key_of(job), uid=uid_of(job))


def _reference_to(job: Obj) -> dict[str, Any]:
    return {
        "kind": JOBS.kind,
        "namespace": namespace_of(job),
        "name": name_of(job),
        "uid": uid_of(job),
        "apiVersion": JOBS.api_version,
        "resourceVersion": resource_version_of(job),
    }
