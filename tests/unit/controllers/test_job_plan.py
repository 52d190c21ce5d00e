"""Jobs step by step: what is created, deleted, counted and said."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.controllers.job_indexes import parse_indexes
from cluster.controllers.job_plan import JobPlan, plan_job
from cluster.machinery.objects import Obj, field_of, name_of
from tests.unit.controllers.jobs import LONG_AGO, indexed, job, job_pod_of

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
STAMP = "2026-01-02T03:04:05Z"


def created(plan: JobPlan) -> int:
    return len(plan.scaling.creates)


def deleted(plan: JobPlan) -> list[str]:
    return [write.key.name for write in plan.scaling.deletes]


def conditions(plan: JobPlan) -> list[tuple[str, str]]:
    return [(c["type"], c.get("reason", "")) for c in plan.status.get("conditions", ())]


def step(work: dict[str, Any], pods: list[Any], **at: Any) -> JobPlan:
    """Plan, and carry out what counting wants: the status, and pods that lose their finalizer."""
    plan = plan_job(work, pods, now=NOW)
    work["status"] = plan.status
    gone = {write.key.name for write in plan.releases}
    for pod in pods:
        if name_of(pod) in gone:
            pod["metadata"].pop("finalizers", None)
    return plan


def test_a_new_job_starts_and_creates_as_many_pods_as_run_at_once() -> None:
    plan = plan_job(job(parallelism=2, completions=3), [], now=NOW)
    assert created(plan) == 2
    assert plan.status == {
        "startTime": STAMP, "active": 2, "ready": 0, "terminating": 0, "uncountedTerminatedPods": {},
    }  # fmt: skip
    pod = plan.scaling.creates[0].obj
    assert pod["metadata"]["generateName"] == "work-"
    assert pod["metadata"]["finalizers"] == ["batch.kubernetes.io/job-tracking"]


def test_no_more_pods_than_completions_are_left() -> None:
    work = job(parallelism=5, completions=3, status={"startTime": LONG_AGO, "succeeded": 2})
    assert created(plan_job(work, [job_pod_of("a")], now=NOW)) == 0


def test_an_end_is_listed_then_released_then_counted_and_the_job_is_complete() -> None:
    work, pods = job(), [job_pod_of("a", "Succeeded")]
    first = step(work, pods)
    assert first.status["uncountedTerminatedPods"] == {"succeeded": ["uid-a"]}
    assert conditions(first) == [("SuccessCriteriaMet", "CompletionsReached")]
    assert "succeeded" not in first.status
    second = step(work, pods)
    assert second.status["succeeded"] == 1
    assert second.status["uncountedTerminatedPods"] == {}
    assert conditions(second)[-1] == ("Complete", "CompletionsReached")
    assert second.status["completionTime"] == STAMP
    assert [note.reason for note in second.notes] == ["Completed"]


def test_a_listed_end_that_is_still_tracked_is_released_again_and_not_counted_twice() -> None:
    work = job(completions=2, status={"startTime": LONG_AGO, "uncountedTerminatedPods": {"succeeded": ["uid-a"]}})
    plan = plan_job(work, [job_pod_of("a", "Succeeded")], now=NOW)
    assert plan.status["uncountedTerminatedPods"] == {"succeeded": ["uid-a"]}
    assert [write.key.name for write in plan.releases] == ["a"]


def test_failures_wait_ten_seconds_doubled_each_time() -> None:
    failed = [job_pod_of(f"p{n}", "Failed", ended="2026-01-02T03:04:00Z") for n in range(2)]
    plan = plan_job(job(status={"startTime": LONG_AGO}), failed, now=NOW)
    assert created(plan) == 0
    assert plan.again_after_s == 15.0
    later = plan_job(job(status={"startTime": LONG_AGO}), failed, now=NOW.replace(second=20))
    assert created(later) == 1


def test_a_success_ends_the_back_off() -> None:
    pods = [
        job_pod_of("a", "Failed", ended="2026-01-02T03:04:00Z"),
        job_pod_of("b", "Succeeded", ended="2026-01-02T03:04:01Z"),
    ]
    assert created(plan_job(job(completions=3, status={"startTime": LONG_AGO}), pods, now=NOW)) == 1


def test_too_many_failures_stop_what_runs_and_fail_the_job_when_it_is_gone() -> None:
    work = job(parallelism=2, completions=2, backoffLimit=0)
    pods = [job_pod_of("a", "Failed"), job_pod_of("b")]
    first = step(work, pods)
    assert deleted(first) == ["b"]
    assert conditions(first) == [("FailureTarget", "BackoffLimitExceeded")]
    pods[1] = job_pod_of("b", deleting=True)
    second = step(work, pods)
    assert ("Failed", "BackoffLimitExceeded") not in conditions(second)
    third = step(work, pods[:1])
    assert conditions(third)[-1] == ("Failed", "BackoffLimitExceeded")
    assert third.status["failed"] == 2
    assert "completionTime" not in third.status
    assert [(note.type, note.reason) for note in third.notes] == [("Warning", "BackoffLimitExceeded")]


def test_restarts_in_place_count_towards_the_limit() -> None:
    work = job(backoffLimit=2)
    work["spec"]["template"]["spec"]["restartPolicy"] = "OnFailure"
    pod = job_pod_of("a")
    pod["status"]["containerStatuses"][0]["restartCount"] = 1
    assert not conditions(plan_job(work, [pod], now=NOW))
    pod["status"]["containerStatuses"][0]["restartCount"] = 2
    assert conditions(plan_job(work, [pod], now=NOW)) == [("FailureTarget", "BackoffLimitExceeded")]


def test_a_deadline_is_waited_for_and_then_ends_the_job() -> None:
    work = job(activeDeadlineSeconds=10, status={"startTime": "2026-01-02T03:04:00Z"})
    assert plan_job(work, [job_pod_of("a")], now=NOW).again_after_s == 5.0
    late = plan_job(work, [job_pod_of("a")], now=NOW.replace(second=11))
    assert conditions(late) == [("FailureTarget", "DeadlineExceeded")]
    assert deleted(late) == ["a"]


def test_a_suspended_job_stops_its_pods_and_starts_anew_when_it_is_resumed() -> None:
    work = job(suspend=True, status={"startTime": LONG_AGO})
    plan = plan_job(work, [job_pod_of("a")], now=NOW)
    assert deleted(plan) == ["a"]
    assert conditions(plan) == [("Suspended", "JobSuspended")]
    assert [note.reason for note in plan.notes] == ["Suspended"]
    resumed = plan_job(job(status=plan.status), [], now=NOW)
    assert conditions(resumed) == [("Suspended", "JobResumed")]
    assert resumed.status["startTime"] == STAMP
    assert created(resumed) == 1


def test_a_job_born_suspended_has_no_start_time() -> None:
    plan = plan_job(job(suspend=True), [], now=NOW)
    assert "startTime" not in plan.status
    assert created(plan) == 0


def test_a_work_queue_is_complete_when_one_pod_succeeded_and_the_rest_ended() -> None:
    work = job(completions=None, parallelism=2)
    pods = [job_pod_of("a", "Succeeded"), job_pod_of("b")]
    assert not conditions(plan_job(work, pods, now=NOW))
    done = plan_job(work, [job_pod_of("a", "Succeeded"), job_pod_of("b", "Failed")], now=NOW)
    assert conditions(done) == [("SuccessCriteriaMet", "CompletionsReached")]


def test_indexed_pods_have_names_hosts_and_a_variable() -> None:
    plan = plan_job(indexed(2), [], now=NOW)
    pod = plan.scaling.creates[1].obj
    assert pod["metadata"]["generateName"] == "work-1-"
    assert pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] == "1"
    assert pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] == "1"
    assert pod["spec"]["hostname"] == "work-1"
    assert pod["spec"]["containers"][0]["env"][0]["name"] == "JOB_COMPLETION_INDEX"


def test_completed_indexes_are_intervals_and_the_missing_ones_are_created() -> None:
    work = indexed(6, status={"startTime": LONG_AGO, "completedIndexes": "0,2", "succeeded": 2})
    pods = [job_pod_of("a", "Succeeded", index=3), job_pod_of("b", index=5)]
    plan = plan_job(work, pods, now=NOW)
    assert plan.status["completedIndexes"] == "0,2,3"
    assert plan.status["succeeded"] == 3
    made = [write.obj["metadata"]["generateName"] for write in plan.scaling.creates]
    assert made == ["work-1-", "work-4-"]


def test_a_second_pod_of_an_index_and_one_beyond_the_last_are_deleted() -> None:
    pods = [job_pod_of("a", index=0), job_pod_of("b", index=0), job_pod_of("c", index=7)]
    plan = plan_job(indexed(2, status={"startTime": LONG_AGO}), pods, now=NOW)
    assert len(deleted(plan)) == 2
    assert "c" in deleted(plan)


def per_index(**more: Any) -> dict[str, Any]:
    return indexed(2, backoffLimitPerIndex=1, backoffLimit=2**31 - 1, status={"startTime": LONG_AGO}, **more)


def test_an_index_is_tried_again_on_its_own_and_its_failures_are_carried_on() -> None:
    pods = [job_pod_of("a", "Failed", index=0, failures=0), job_pod_of("b", index=1)]
    plan = plan_job(per_index(), pods, now=NOW)
    meta = plan.scaling.creates[0].obj["metadata"]
    assert meta["annotations"]["batch.kubernetes.io/job-index-failure-count"] == "1"
    assert not plan.releases, "the failed pod stays until its successor is there"
    followed = plan_job(per_index(), [*pods, job_pod_of("c", index=0, failures=1)], now=NOW)
    assert [write.key.name for write in followed.releases] == ["a"]


def test_an_index_over_its_limit_fails_and_with_the_last_the_job() -> None:
    work = per_index()
    pods = [job_pod_of("a", "Failed", index=0, failures=1), job_pod_of("b", "Succeeded", index=1)]
    first = step(work, pods)
    assert first.status["failedIndexes"] == "0"
    assert first.status["completedIndexes"] == "1"
    assert conditions(first) == [("FailureTarget", "FailedIndexes")]
    assert conditions(step(work, pods))[-1] == ("Failed", "FailedIndexes")


def test_more_failed_indexes_than_allowed_end_the_job() -> None:
    work = per_index(maxFailedIndexes=0)
    pods = [job_pod_of("a", "Failed", index=0, failures=1), job_pod_of("b", index=1)]
    plan = plan_job(work, pods, now=NOW)
    assert conditions(plan) == [("FailureTarget", "MaxFailedIndexesExceeded")]
    assert deleted(plan) == ["b"]


def policy(action: str, **rule: Any) -> dict[str, Any]:
    return {"rules": [{"action": action, **rule}]}


CODE_42 = {"onExitCodes": {"operator": "In", "values": [42]}}


def test_a_failure_policy_fails_the_job_at_once_and_says_which_pod() -> None:
    work = job(podFailurePolicy=policy("FailJob", **CODE_42), podReplacementPolicy="Failed")
    plan = plan_job(work, [job_pod_of("a", "Failed", exit_code=42)], now=NOW)
    assert conditions(plan) == [("FailureTarget", "PodFailurePolicy")]
    message = "Container c for pod d/a failed with exit code 42 matching FailJob rule at index 0"
    assert plan.status["conditions"][0]["message"] == message


def test_an_ignored_failure_is_released_and_not_counted() -> None:
    disrupted = {"type": "DisruptionTarget", "status": "True"}
    rule = {"onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    work = job(podFailurePolicy=policy("Ignore", **rule), podReplacementPolicy="Failed", backoffLimit=0)
    plan = plan_job(work, [job_pod_of("a", "Failed", conditions=(disrupted,))], now=NOW)
    assert not conditions(plan)
    assert plan.status["uncountedTerminatedPods"] == {}
    assert [write.key.name for write in plan.releases] == ["a"]
    assert created(plan) == 1


def test_a_failure_policy_can_fail_one_index() -> None:
    work = per_index(podFailurePolicy=policy("FailIndex", **CODE_42), podReplacementPolicy="Failed")
    pods = [job_pod_of("a", "Failed", index=0, failures=0, exit_code=42), job_pod_of("b", index=1)]
    plan = plan_job(work, pods, now=NOW)
    assert plan.status["failedIndexes"] == "0"
    assert created(plan) == 0


def test_a_pod_on_its_way_out_is_replaced_at_once_or_when_it_has_ended() -> None:
    leaving = [job_pod_of("a", deleting=True)]
    at_once = plan_job(job(status={"startTime": LONG_AGO}), leaving, now=NOW.replace(hour=4))
    assert created(at_once) == 1
    work = job(podReplacementPolicy="Failed", status={"startTime": LONG_AGO})
    waiting = plan_job(work, leaving, now=NOW.replace(hour=4))
    assert created(waiting) == 0
    assert not waiting.releases


@pytest.mark.parametrize(
    ("rule", "is_met"),
    [
        ({"succeededCount": 1}, True),
        ({"succeededCount": 2}, False),
        ({"succeededIndexes": "0"}, True),
        ({"succeededIndexes": "0-1"}, False),
        ({"succeededIndexes": "0-2", "succeededCount": 1}, True),
    ],
)
def test_a_success_policy_ends_the_job_early(rule: dict[str, Any], is_met: bool) -> None:
    work = indexed(3, successPolicy={"rules": [rule]}, status={"startTime": LONG_AGO})
    pods = [job_pod_of("a", "Succeeded", index=0), job_pod_of("b", index=1), job_pod_of("c", index=2)]
    plan = plan_job(work, pods, now=NOW)
    assert conditions(plan) == ([("SuccessCriteriaMet", "SuccessPolicy")] if is_met else [])
    assert deleted(plan) == (["b", "c"] if is_met else [])


def test_a_job_that_is_deleted_creates_nothing_and_still_counts() -> None:
    work = job(completions=3)
    work["metadata"]["deletionTimestamp"] = STAMP
    plan = plan_job(work, [job_pod_of("a", "Succeeded")], now=NOW)
    assert created(plan) == 0
    assert [write.key.name for write in plan.releases] == ["a"]


PHASES = st.sampled_from(["Pending", "Running", "Succeeded", "Failed"])


@given(st.integers(1, 4), st.integers(1, 4), st.lists(st.tuples(PHASES, st.booleans()), max_size=6))
def test_every_end_is_counted_once_and_a_settled_job_is_left_alone(
    parallelism: int, completions: int, states: list[tuple[str, bool]]
) -> None:
    work = job(parallelism=parallelism, completions=completions, backoffLimit=100)
    pods: list[Any] = [job_pod_of(f"p{n}", phase, deleting=leaving) for n, (phase, leaving) in enumerate(states)]
    succeeded = sum(phase == "Succeeded" for phase, _ in states)
    failed = sum(phase == "Failed" or (leaving and phase != "Succeeded") for phase, leaving in states)
    for _ in range(3):
        step(work, pods)
    status: Obj = work["status"]
    assert (field_of(status, "succeeded", default=0), field_of(status, "failed", default=0)) == (succeeded, failed)
    assert status["uncountedTerminatedPods"] == {}
    assert plan_job(work, pods, now=NOW).status == status


@given(st.sets(st.integers(0, 60)))
def test_indexes_are_read_as_they_are_written(indexes: set[int]) -> None:
    written = str(parse_indexes("", 100).including(indexes))
    again = parse_indexes(written, 100)
    assert list(again) == sorted(indexes)
    assert (again.total, str(again)) == (len(indexes), written)
