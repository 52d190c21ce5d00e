"""The next step of one Job: pods to start or stop, ends to count, the status that says so.  Pure.

Upstream: pkg/controller/job/job_controller.go syncJob, trackJobStatusAndRemoveFinalizers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from cluster.client.writes import PatchObject
from cluster.controllers.job_indexes import parse_indexes
from cluster.controllers.job_outcome import (
    FINAL,
    MET,
    deadline_in_s,
    decide_outcome,
    is_suspended,
    reached,
)
from cluster.controllers.job_pods import failure_verdict, has_failed, index_of, is_indexed, is_tracked, release
from cluster.controllers.job_scale import Scaling, last_failures, plan_scaling, stop
from cluster.controllers.job_tally import Tally, completions_of, has_own_place, tally_of
from cluster.controllers.pods import phase_of
from cluster.machinery.conditions import conditions_of, make_condition, set_condition
from cluster.machinery.objects import Obj, field_of, is_deleting, uid_of
from cluster.machinery.timestamps import format_time

UNCOUNTED_MAX = 500
"""Ends that one reconcile counts: what the status lists meanwhile stays below 20 KB."""


@dataclass(frozen=True, slots=True)
class Note:
    """An Event about the job, to record once its writes have succeeded."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class JobPlan:
    """`scaling` first, then `status`, then `releases`: a pod goes only when the status that counts it is stored."""

    scaling: Scaling
    status: dict[str, Any]
    releases: tuple[PatchObject, ...]
    notes: tuple[Note, ...]
    again_after_s: float | None


@dataclass(frozen=True, slots=True)
class _Count:
    """Ends to list in the status, and pods that may go once it does."""

    uncounted: dict[str, tuple[str, ...]]
    indexes: tuple[int, ...]
    released: tuple[Obj, ...]


def plan_job(job: Obj, pods: Sequence[Obj], *, now: datetime) -> JobPlan:
    """`pods` are all that the job owns.  Planned again on what its writes left, nothing more is to do."""
    tally = tally_of(job, pods)
    outcome = decide_outcome(job, pods, tally, now=now)
    notes: list[Note] = []
    conditions = conditions_of(job)
    scaling = Scaling()
    stamp = format_time(now)
    started = field_of(job, "status", "startTime")
    if started is None and not is_suspended(job):
        started = stamp
    if outcome is not None:
        scaling = stop(tally.active)
    elif not is_deleting(job):
        scaling = plan_scaling(job, pods, tally, now=now)
        if not scaling.creates and len(scaling.deletes) == len(tally.active):
            outcome = reached(job, tally)
        if outcome is None:
            changed = _suspension(job, conditions, stamp)
            if changed is not conditions:
                conditions = changed
                said = "Suspended" if is_suspended(job) else "Resumed"
                notes.append(Note("Normal", said, f"Job {said.lower()}"))
                started = started if is_suspended(job) else stamp
    count = _count(job, pods, tally, is_ending=outcome is not None)
    is_final = False
    if outcome is not None:
        conditions = _with(conditions, outcome, stamp)
        is_final = not (tally.active or tally.terminating or any(map(is_tracked, pods)))
        if is_final:
            final = make_condition(FINAL[outcome["type"]], True, outcome.get("reason", ""), outcome.get("message", ""))
            conditions = _with(conditions, final, stamp)
            notes.append(_ending(outcome))
    status = _status(job, tally, count, scaling, list(conditions))
    if started is not None:
        status["startTime"] = started
    if is_final and outcome is not None and outcome["type"] == MET:
        status["completionTime"] = stamp
    deadline_s = None if outcome is not None else deadline_in_s(job, now)
    waits = [wait_s for wait_s in (scaling.wait_s, deadline_s) if wait_s is not None]
    return JobPlan(scaling, status, tuple(map(release, count.released)), tuple(notes), min(waits, default=None))


def without_scaling(job: Obj, pods: Sequence[Obj], plan: JobPlan) -> JobPlan:
    """The plan when its pods could not be created or deleted: the status tells of those that are there."""
    tally = tally_of(job, pods)
    return replace(
        plan, scaling=Scaling(), status=_numbers(plan.status, len(tally.active), tally.terminating, tally.ready)
    )


def _count(job: Obj, pods: Sequence[Obj], tally: Tally, *, is_ending: bool) -> _Count:
    uncounted = {end: list(uids) for end, uids in tally.uncounted.items()}
    before = parse_indexes(field_of(job, "status", "completedIndexes", default=""), completions_of(job) or 0)
    kept = {} if is_ending or is_deleting(job) else last_failures(job, pods, tally)
    kept_uids = {uid_of(pod) for pod in kept.values()}
    indexes: list[int] = []
    released: list[Obj] = []
    for pod in pods:
        uid = uid_of(pod)
        if (
            not is_tracked(pod)
            or len(indexes) + len(uncounted["succeeded"]) + len(uncounted["failed"]) >= UNCOUNTED_MAX
        ):
            continue
        # What once was listed as failed stays so, whatever the kubelet says of it later.
        if phase_of(pod) == "Succeeded" and uid not in uncounted["failed"]:
            index = index_of(pod)
            if is_indexed(job):
                if index is not None and has_own_place(pod, job) and index not in before:
                    indexes.append(index)
            elif uid not in uncounted["succeeded"]:
                uncounted["succeeded"].append(uid)
            released.append(pod)
        elif has_failed(pod, job) and uid not in kept_uids:
            counts = has_own_place(pod, job) and failure_verdict(pod, job).counts
            if counts and uid not in uncounted["failed"]:
                uncounted["failed"].append(uid)
            released.append(pod)
    # Uids listed in an earlier step whose pods wait for their finalizer to go.
    known = {uid_of(pod) for pod in released}
    waiting = {uid for uids in tally.uncounted.values() for uid in uids} - known
    released += [pod for pod in pods if uid_of(pod) in waiting]
    return _Count({end: tuple(uids) for end, uids in uncounted.items()}, tuple(indexes), tuple(released))


def _suspension(job: Obj, conditions: Sequence[Obj], stamp: str) -> Sequence[Obj]:
    if is_suspended(job):
        new = make_condition("Suspended", True, "JobSuspended", "Job suspended")
    else:
        if not _has(conditions, "Suspended"):
            return conditions
        new = make_condition("Suspended", False, "JobResumed", "Job resumed")
    return _with(conditions, new, stamp)


def _with(conditions: Sequence[Obj], condition: Obj, stamp: str) -> Sequence[Obj]:
    """The conditions with that one; themselves when it is there with that status already."""
    if any(old["type"] == condition["type"] and old["status"] == condition["status"] for old in conditions):
        return conditions
    return set_condition(conditions, {**condition, "lastProbeTime": stamp}, stamp)


def _has(conditions: Sequence[Obj], kind: str) -> bool:
    return any(condition.get("type") == kind for condition in conditions)


def _ending(outcome: Obj) -> Note:
    if outcome["type"] == MET:
        return Note("Normal", "Completed", "Job completed")
    return Note("Warning", outcome.get("reason", ""), outcome.get("message", ""))


def _status(job: Obj, tally: Tally, count: _Count, scaling: Scaling, conditions: list[Obj]) -> dict[str, Any]:
    status: dict[str, Any] = dict(job.get("status") or {})
    if conditions:
        status["conditions"] = conditions
    status["uncountedTerminatedPods"] = {end: list(uids) for end, uids in count.uncounted.items() if uids}
    succeeded = tally.counted["succeeded"]
    if is_indexed(job):
        before = parse_indexes(status.get("completedIndexes", ""), completions_of(job) or 0)
        completed = before.including(count.indexes)
        succeeded = completed.total
        _set(status, "completedIndexes", str(completed))
    if field_of(job, "spec", "backoffLimitPerIndex") is not None:
        status["failedIndexes"] = str(tally.failed_indexes)
    _set(status, "succeeded", succeeded)
    _set(status, "failed", tally.counted["failed"])
    active = len(tally.active) + len(scaling.creates) - len(scaling.deletes)
    gone = {write.key.name for write in scaling.deletes}
    ready = tally.ready if not gone else min(tally.ready, active)
    return _numbers(status, active, tally.terminating + len(scaling.deletes), ready)


def _numbers(status: dict[str, Any], active: int, terminating: int, ready: int) -> dict[str, Any]:
    numbered = {**status, "terminating": terminating, "ready": ready}
    _set(numbered, "active", active)
    return numbered


def _set(status: dict[str, Any], field: str, value: Any) -> None:
    """Zero and empty are left out, as upstream serialises these fields."""
    if value:
        status[field] = value
    else:
        status.pop(field, None)
