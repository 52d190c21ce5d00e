"""How a job's pods stand: how many run, which ends are new, which were seen but not yet counted for good.  Pure.

A pod's end is counted once, in three steps that a crash may separate: its uid goes into `status.uncountedTerminatedPods`
(or its index into `completedIndexes`), then its finalizer goes, then the uid becomes part of the counter.
Upstream: pkg/controller/job/job_controller.go syncJob, trackJobStatusAndRemoveFinalizers, KEP-2307.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cluster.controllers.job_indexes import Indexes, parse_indexes
from cluster.controllers.job_pods import failure_verdict, has_failed, index_failures, index_of, is_indexed, is_tracked
from cluster.controllers.pods import is_active, is_finished, is_ready, phase_of
from cluster.machinery.objects import Obj, field_of, is_deleting, uid_of


@dataclass(frozen=True, slots=True)
class Tally:
    """`succeeded` and `failed` are as of now: what the status counted, what it still lists, and what is new.

    `counted` and `uncounted` are what the status says once uids without a tracked pod have become numbers.
    """

    active: tuple[Obj, ...]
    terminating: int
    ready: int
    succeeded: int
    failed: int
    counted: dict[str, int]
    uncounted: dict[str, tuple[str, ...]]
    succeeded_indexes: Indexes
    failed_indexes: Indexes


def completions_of(job: Obj) -> int | None:
    found = field_of(job, "spec", "completions")
    return None if found is None else int(found)


def has_own_place(pod: Obj, job: Obj) -> bool:
    """Whether its end can count: a pod of an indexed job needs an index that the job has."""
    if not is_indexed(job):
        return True
    index = index_of(pod)
    return index is not None and index < (completions_of(job) or 0)


def tally_of(job: Obj, pods: Sequence[Obj]) -> Tally:
    listed: dict[str, Any] = field_of(job, "status", "uncountedTerminatedPods", default={})
    tracked = {uid_of(pod) for pod in pods if is_tracked(pod)}
    counted: dict[str, int] = {}
    uncounted: dict[str, tuple[str, ...]] = {}
    for end in ("succeeded", "failed"):
        uids = listed.get(end) or ()
        uncounted[end] = tuple(uid for uid in uids if uid in tracked)
        counted[end] = field_of(job, "status", end, default=0) + len(uids) - len(uncounted[end])
    seen = {*uncounted["succeeded"], *uncounted["failed"]}
    new = [pod for pod in pods if is_tracked(pod) and uid_of(pod) not in seen and has_own_place(pod, job)]
    new_failed = [pod for pod in new if has_failed(pod, job) and failure_verdict(pod, job).counts]
    active = tuple(pod for pod in pods if is_active(pod))
    succeeded_indexes = _succeeded_indexes(job, pods)
    if is_indexed(job):
        succeeded = succeeded_indexes.total
    else:
        succeeded = counted["succeeded"] + len(uncounted["succeeded"])
        succeeded += sum(phase_of(pod) == "Succeeded" for pod in new)
    return Tally(
        active=active,
        terminating=sum(is_deleting(pod) and not is_finished(pod) for pod in pods),
        ready=sum(map(is_ready, active)),
        succeeded=succeeded,
        failed=counted["failed"] + len(uncounted["failed"]) + len(new_failed),
        counted=counted,
        uncounted=uncounted,
        succeeded_indexes=succeeded_indexes,
        failed_indexes=_failed_indexes(job, pods),
    )


def _succeeded_indexes(job: Obj, pods: Sequence[Obj]) -> Indexes:
    if not is_indexed(job):
        return Indexes()
    before = parse_indexes(field_of(job, "status", "completedIndexes", default=""), completions_of(job) or 0)
    done = [pod for pod in pods if phase_of(pod) == "Succeeded" and is_tracked(pod) and has_own_place(pod, job)]
    return before.including(index for pod in done if (index := index_of(pod)) is not None)


def _failed_indexes(job: Obj, pods: Sequence[Obj]) -> Indexes:
    limit = field_of(job, "spec", "backoffLimitPerIndex")
    if limit is None:
        return Indexes()
    before = parse_indexes(field_of(job, "status", "failedIndexes", default=""), completions_of(job) or 0)
    failed: list[int] = []
    for pod in pods:
        index = index_of(pod)
        if index is None or not is_tracked(pod) or not has_own_place(pod, job) or not has_failed(pod, job):
            continue
        verdict = failure_verdict(pod, job)
        if verdict.action == "FailIndex" or (verdict.counts and index_failures(pod) >= limit):
            failed.append(index)
    return before.including(failed)
