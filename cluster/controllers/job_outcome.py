"""Whether a job is at its end, and why.  Pure.

Upstream: pkg/controller/job/job_controller.go syncJob, success_policy.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cluster.controllers.instants import instant_of
from cluster.controllers.job_indexes import parse_indexes
from cluster.controllers.job_pods import failure_verdict, has_failed, is_indexed, restarts
from cluster.controllers.job_tally import Tally, completions_of
from cluster.controllers.pods import phase_of
from cluster.machinery.conditions import is_condition_true, make_condition
from cluster.machinery.objects import Obj, field_of

MET, TARGET = "SuccessCriteriaMet", "FailureTarget"
"""Said first, while pods are still being stopped and counted; `Complete` and `Failed` follow when none is left."""
FINAL = {MET: "Complete", TARGET: "Failed"}


def is_over(job: Obj) -> bool:
    return any(is_condition_true(job, kind) for kind in FINAL.values())


def is_suspended(job: Obj) -> bool:
    return bool(field_of(job, "spec", "suspend", default=False))


def deadline_in_s(job: Obj, now: datetime) -> float | None:
    """Seconds until `activeDeadlineSeconds` are over, at least 0; None while they are not counted."""
    limit_s = field_of(job, "spec", "activeDeadlineSeconds")
    if limit_s is None or is_suspended(job):
        return None
    started = instant_of(field_of(job, "status", "startTime")) or now
    return max(0.0, float(limit_s) - (now - started).total_seconds())


def decide_outcome(job: Obj, pods: Sequence[Obj], tally: Tally, *, now: datetime) -> dict[str, Any] | None:
    """The condition (MET or TARGET) that begins the job's end, whether reached now or before; None while it goes on.

    Reached completions are not decided here: they also need that no pod is active once missing ones are created.
    """
    for kind in (MET, TARGET):
        for condition in field_of(job, "status", "conditions", default=()):
            if condition.get("type") == kind and condition.get("status") == "True":
                return make_condition(kind, True, condition.get("reason", ""), condition.get("message", ""))
    return _failure(job, pods, tally, now) or _success(job, tally)


def reached(job: Obj, tally: Tally) -> dict[str, Any] | None:
    """The condition of a job with no active pods left that has the successes it wants."""
    completions = completions_of(job)
    if tally.succeeded > 0 if completions is None else tally.succeeded >= completions:
        return make_condition(MET, True, "CompletionsReached", "Reached expected number of succeeded pods")
    return None


def _failure(job: Obj, pods: Sequence[Obj], tally: Tally, now: datetime) -> dict[str, Any] | None:
    def because(reason: str, message: str) -> dict[str, Any]:
        return make_condition(TARGET, True, reason, message)

    for pod in pods:
        if has_failed(pod, job) and (verdict := failure_verdict(pod, job)).action == "FailJob":
            return because("PodFailurePolicy", verdict.message)
    if tally.failed > field_of(job, "spec", "backoffLimit", default=6) or _restarts_too_often(job, pods):
        return because("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    if deadline_in_s(job, now) == 0.0:
        return because("DeadlineExceeded", "Job was active longer than specified deadline")
    if is_indexed(job) and field_of(job, "spec", "backoffLimitPerIndex") is not None:
        failed_max = field_of(job, "spec", "maxFailedIndexes")
        failed = tally.failed_indexes.total
        if failed_max is not None and failed > failed_max:
            message = "Job has exceeded the specified maximal number of failed indexes"
            return because("MaxFailedIndexesExceeded", message)
        if failed and failed + tally.succeeded >= (completions_of(job) or 0):
            return because("FailedIndexes", "Job has failed indexes")
    return None


def _restarts_too_often(job: Obj, pods: Sequence[Obj]) -> bool:
    """Containers that restart in place are counted while their pods live."""
    if field_of(job, "spec", "template", "spec", "restartPolicy") != "OnFailure":
        return False
    limit = field_of(job, "spec", "backoffLimit", default=6)
    count = sum(restarts(pod) for pod in pods if phase_of(pod) in ("Running", "Pending"))
    return count > 0 if limit == 0 else count >= limit


def _success(job: Obj, tally: Tally) -> dict[str, Any] | None:
    completions = completions_of(job) or 0
    for number, rule in enumerate(field_of(job, "spec", "successPolicy", "rules", default=())):
        count, text = rule.get("succeededCount"), rule.get("succeededIndexes")
        have = tally.succeeded_indexes.total
        if text is not None:
            wanted = parse_indexes(text, completions)
            have = tally.succeeded_indexes.common(wanted)
            count = wanted.total if count is None else count
        if count is not None and have >= count:
            return make_condition(MET, True, "SuccessPolicy", f"Matched rules at index {number}")
    return None
