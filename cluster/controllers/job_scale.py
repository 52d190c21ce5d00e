"""Which pods a job that goes on needs more, or has too many.  Pure.

Upstream: pkg/controller/job/job_controller.go manageJob, backoff_utils.go, indexed_job_utils.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cluster.client.writes import Create, Delete
from cluster.controllers.job_outcome import is_suspended
from cluster.controllers.job_pods import (
    INDEX_IGNORED,
    ended_at,
    has_failed,
    index_failures,
    index_of,
    is_indexed,
    is_tracked,
    job_pod,
    latest_per_index,
)
from cluster.controllers.job_tally import Tally, completions_of
from cluster.controllers.pods import least_useful_first, phase_of
from cluster.machinery.objects import Obj, field_of, is_deleting, key_of, uid_of
from cluster.resources.builtin import PODS

BURST_MAX = 500
"""Pods created or deleted by one reconcile."""
BACKOFF_BASE_S = 10.0
BACKOFF_MAX_S = 600.0
_DOUBLINGS_MAX = 16


@dataclass(frozen=True, slots=True)
class Scaling:
    """Either pods to delete or pods to create; `wait_s` when a creation has to wait for its back-off."""

    deletes: tuple[Delete, ...] = ()
    creates: tuple[Create, ...] = ()
    wait_s: float | None = None


def stop(pods: Iterable[Obj]) -> Scaling:
    """All of them go, as many as one reconcile may delete."""
    return Scaling(deletes=tuple(Delete(PODS, key_of(pod), uid=uid_of(pod)) for pod in list(pods)[:BURST_MAX]))


def plan_scaling(job: Obj, pods: Sequence[Obj], tally: Tally, *, now: datetime) -> Scaling:
    active = tally.active
    if is_suspended(job):
        return stop(active)
    wanted = wanted_active(job, tally)
    surplus = _surplus(job, active, max(0, len(active) - wanted))
    if surplus:
        # As upstream: a step either deletes or creates.
        return stop(surplus)
    terminating = tally.terminating if field_of(job, "spec", "podReplacementPolicy") == "Failed" else 0
    missing = min(wanted - terminating - len(active), BURST_MAX)
    if missing <= 0:
        return Scaling()
    if field_of(job, "spec", "backoffLimitPerIndex") is not None:
        return _scaling_per_index(job, pods, tally, missing, now)
    wait_s = backoff_left_s(job, pods, now=now)
    if wait_s > 0:
        return Scaling(wait_s=wait_s)
    if not is_indexed(job):
        return Scaling(creates=tuple(Create(PODS, job_pod(job)) for _ in range(missing)))
    indexes = pending_indexes(job, pods, tally)[:missing]
    return Scaling(creates=tuple(Create(PODS, job_pod(job, index)) for index in indexes))


def wanted_active(job: Obj, tally: Tally) -> int:
    parallelism = int(field_of(job, "spec", "parallelism", default=1))
    completions = completions_of(job)
    if completions is None:
        # A work queue: once one pod has succeeded the others finish, and none is added.
        return len(tally.active) if tally.succeeded else parallelism
    left = completions - tally.succeeded
    if field_of(job, "spec", "backoffLimitPerIndex") is not None:
        left -= tally.failed_indexes.total
    return max(0, min(left, parallelism))


def backoff_left_s(job: Obj, pods: Sequence[Obj], *, now: datetime) -> float:
    """Seconds until the next pod may be created: ten after one failure, doubling with each until a pod succeeds.

    Reckoned from the pods that are there, so that a restart forgets nothing (upstream keeps the record in memory).
    """
    successes = [end for pod in pods if phase_of(pod) == "Succeeded" and (end := ended_at(pod)) is not None]
    since = max(successes, default=None)
    failures = [
        end
        for pod in pods
        if has_failed(pod, job) and (end := ended_at(pod)) is not None and (since is None or end > since)
    ]
    return _left_s(len(failures), max(failures, default=None), now)


def _left_s(failures: int, last: datetime | None, now: datetime) -> float:
    if not failures or last is None:
        return 0.0
    delay_s: float = min(BACKOFF_BASE_S * 2.0 ** min(failures - 1, _DOUBLINGS_MAX), BACKOFF_MAX_S)
    # A deletion's timestamp lies ahead: a pod on its way out waits no longer than one that is gone.
    return max(0.0, delay_s - max(0.0, (now - last).total_seconds()))


def pending_indexes(job: Obj, pods: Sequence[Obj], tally: Tally) -> list[int]:
    """Indexes without a pod, a success or a failure for good, in rising order; as many as a reconcile may need."""
    taken = {index_of(pod) for pod in tally.active}
    if field_of(job, "spec", "podReplacementPolicy") == "Failed":
        taken |= {index_of(pod) for pod in pods if is_deleting(pod) and phase_of(pod) not in ("Succeeded", "Failed")}
    done = {*tally.succeeded_indexes, *tally.failed_indexes}
    return [index for index in range(completions_of(job) or 0) if index not in taken and index not in done]


def last_failures(job: Obj, pods: Sequence[Obj], tally: Tally) -> dict[int, Obj]:
    """Per index that has neither a pod nor an end: the failed pod that its next pod follows.

    It stays tracked until that next pod is there, because it alone knows how often the index failed.
    """
    if field_of(job, "spec", "backoffLimitPerIndex") is None:
        return {}
    taken = {index_of(pod) for pod in tally.active}
    failed = [
        pod
        for pod in pods
        if is_tracked(pod)
        and has_failed(pod, job)
        and (index := index_of(pod)) is not None
        and index < (completions_of(job) or 0)
        and index not in taken
        and index not in tally.succeeded_indexes
        and index not in tally.failed_indexes
    ]
    return latest_per_index(failed)


def _scaling_per_index(job: Obj, pods: Sequence[Obj], tally: Tally, missing: int, now: datetime) -> Scaling:
    before = last_failures(job, pods, tally)
    creates: list[Create] = []
    waits: list[float] = []
    for index in pending_indexes(job, pods, tally):
        predecessor = before.get(index)
        wait_s = 0.0
        if predecessor is not None:
            failures = 1 + index_failures(predecessor) + index_failures(predecessor, INDEX_IGNORED)
            wait_s = _left_s(failures, ended_at(predecessor), now)
        if wait_s > 0:
            waits.append(wait_s)
        elif len(creates) < missing:
            creates.append(Create(PODS, job_pod(job, index, predecessor)))
    return Scaling(creates=tuple(creates), wait_s=min(waits, default=None))


def _surplus(job: Obj, active: Sequence[Obj], least: int) -> list[Obj]:
    """Pods to delete: those with no index of the job, all but the best of each index, then the least useful, `least` in all."""
    doomed: list[Obj] = []
    if is_indexed(job):
        kept: set[int] = set()
        for pod in reversed(least_useful_first(active, active)):
            index = index_of(pod)
            if index is None or index >= (completions_of(job) or 0) or index in kept:
                doomed.append(pod)
            else:
                kept.add(index)
    rest = [pod for pod in active if not any(pod is other for other in doomed)]
    more = max(0, least - len(doomed))
    return [*doomed, *least_useful_first(rest, active)[:more]]
