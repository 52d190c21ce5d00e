"""CronJobs: when they are due, what they start, stop and forget."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.controllers.cronjob_plan import SCHEDULED, CronJobPlan, plan_cron_job, started
from cluster.controllers.cronjob_schedule import due_of
from cluster.controllers.ttl_after_finished import expires_at
from cluster.machinery.cron import parse_schedule
from cluster.machinery.objects import field_of, name_of
from cluster.resources.builtin import CRON_JOBS, JOBS
from tests.unit.controllers.cluster import cluster

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CREATED = "2026-01-02T03:00:30Z"


def cron_job(schedule: str = "* * * * *", *, status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [
        {"name": "c", "image": "i"}]}}}}  # fmt: skip
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"namespace": "d", "name": "tick", "uid": "uid-tick", "creationTimestamp": CREATED},
        "spec": {"schedule": schedule, "concurrencyPolicy": "Allow", "jobTemplate": template, **spec},
        "status": {} if status is None else status,
    }


def job(name: str, *, ended: str = "", at: str = "", start: str = CREATED) -> dict[str, Any]:
    conditions = [{"type": ended, "status": "True", "lastTransitionTime": CREATED}] if ended else []
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "namespace": "d",
            "name": name,
            "uid": f"uid-{name}",
            "annotations": {SCHEDULED: at} if at else {},
        },
        "spec": {},
        "status": {"startTime": start, "conditions": conditions}
        | ({"completionTime": "2026-01-02T03:02:00Z"} if ended == "Complete" else {}),
    }


def reference(name: str) -> dict[str, Any]:
    return {"name": name, "uid": f"uid-{name}"}


def reasons(plan: CronJobPlan) -> list[str]:
    return [note.reason for note in plan.notes]


def test_the_newest_missed_time_is_served_under_a_name_of_its_minutes() -> None:
    plan = plan_cron_job(cron_job(), [], now=NOW)
    assert plan.create is not None
    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    assert name_of(plan.create.obj) == f"tick-{int(at.timestamp()) // 60}"
    assert plan.create.obj["metadata"]["annotations"][SCHEDULED] == "2026-01-02T03:04:00Z"
    assert plan.create.obj["metadata"]["labels"] == {"a": "b"}
    assert plan.again_after_s == pytest.approx(55.1)
    made = {**plan.create.obj, "metadata": {**plan.create.obj["metadata"], "uid": "u"}}
    status = started(plan.status, made, at, ())
    assert status["lastScheduleTime"] == "2026-01-02T03:04:00Z"
    assert plan_cron_job(cron_job(status=status), [made], now=NOW).create is None


def test_a_start_that_was_not_recorded_is_recorded_and_not_repeated() -> None:
    forgotten = job("tick-1", at="2026-01-02T03:04:00Z")
    plan = plan_cron_job(cron_job(), [forgotten], now=NOW)
    assert plan.create is None
    assert plan.status["lastScheduleTime"] == "2026-01-02T03:04:00Z"
    assert [ref["name"] for ref in plan.status["active"]] == ["tick-1"]


def test_zones_move_the_times_and_an_unknown_one_is_reported() -> None:
    daily = cron_job("30 4 * * *", timeZone="Europe/Berlin")
    assert due_of(daily, now=NOW).next_at == datetime(2026, 1, 2, 3, 30, tzinfo=UTC)
    assert reasons(plan_cron_job(cron_job(timeZone="No/Where"), [], now=NOW)) == ["UnknownTimeZone"]
    older = cron_job("TZ=Asia/Tokyo 30 13 * * *")
    assert due_of(older, now=NOW).next_at == datetime(2026, 1, 2, 4, 30, tzinfo=UTC)


def test_a_time_past_its_deadline_is_given_up() -> None:
    plan = plan_cron_job(cron_job("1 * * * *", startingDeadlineSeconds=60), [], now=NOW)
    assert plan.create is None
    assert plan_cron_job(cron_job("1 * * * *", startingDeadlineSeconds=300), [], now=NOW).create is not None


def test_many_missed_times_start_one_job_and_a_warning() -> None:
    late = cron_job(status={"lastScheduleTime": "2025-12-30T00:00:00Z"})
    plan = plan_cron_job(late, [], now=NOW)
    assert plan.create is not None
    assert reasons(plan) == ["TooManyMissedTimes"]


def test_a_suspended_one_waits_for_a_change() -> None:
    plan = plan_cron_job(cron_job(suspend=True), [], now=NOW)
    assert (plan.create, plan.again_after_s) == (None, None)


@pytest.mark.parametrize(
    ("policy", "creates", "replaced"), [("Allow", True, []), ("Forbid", False, []), ("Replace", True, ["a"])]
)
def test_the_concurrency_policy_decides_while_a_job_runs(policy: str, creates: bool, replaced: list[str]) -> None:
    busy = cron_job(concurrencyPolicy=policy, status={"active": [reference("a")], "lastScheduleTime": CREATED})
    plan = plan_cron_job(busy, [job("a")], now=NOW)
    assert (plan.create is not None) == creates
    assert [write.key.name for write in plan.replaces] == replaced
    assert ("JobAlreadyActive" in reasons(plan)) == (policy == "Forbid")


def test_ended_and_missing_jobs_leave_the_active_list_and_say_so() -> None:
    status = {"active": [reference("a"), reference("b"), reference("c")], "lastScheduleTime": "2026-01-02T03:04:00Z"}
    plan = plan_cron_job(cron_job(status=status), [job("a", ended="Complete"), job("c")], now=NOW)
    assert [ref["name"] for ref in plan.status["active"]] == ["c"]
    assert reasons(plan) == ["SawCompletedJob", "MissingJob"]
    assert plan.status["lastSuccessfulTime"] == "2026-01-02T03:02:00Z"


def test_the_oldest_ended_jobs_above_the_limits_go() -> None:
    ended = [job(f"ok{n}", ended="Complete", start=f"2026-01-01T00:0{n}:00Z") for n in range(4)]
    ended += [job(f"bad{n}", ended="Failed", start=f"2026-01-01T00:0{n}:00Z") for n in range(2)]
    plan = plan_cron_job(cron_job(successfulJobsHistoryLimit=3, failedJobsHistoryLimit=0), ended, now=NOW)
    assert [write.key.name for write in plan.history] == ["ok0", "bad0", "bad1"]


def test_a_fixed_distance_is_counted_from_the_last_time() -> None:
    every = cron_job("@every 90s", status={"lastScheduleTime": "2026-01-02T03:00:00Z"})
    due = due_of(every, now=NOW)
    assert due.at == datetime(2026, 1, 2, 3, 3, tzinfo=UTC)
    assert due.next_at == datetime(2026, 1, 2, 3, 4, 30, tzinfo=UTC)


@given(
    st.sampled_from(["* * * * *", "*/7 * * * *", "5 3 * * *", "0 0 1 * *", "0 12 * * 1"]), st.integers(0, 90 * 86400)
)
def test_what_is_due_is_the_last_of_the_times_one_by_one(schedule: str, ago_s: int) -> None:
    """Against the plain definition, within bounds that keep the plain way short."""
    ago_s = ago_s if schedule[0] != "*" else ago_s % 7200
    last = NOW - timedelta(seconds=ago_s)
    tick = cron_job(schedule, status={"lastScheduleTime": last.strftime("%Y-%m-%dT%H:%M:%SZ")})
    parsed, newest, following = parse_schedule(schedule), None, last.replace(microsecond=0)
    while (found := parsed.next_after(following)) is not None and found <= NOW:
        newest = following = found
    assert due_of(tick, now=NOW).at == newest


def test_a_finished_job_expires_after_its_time_to_live() -> None:
    done = job("a", ended="Failed") | {"spec": {"ttlSecondsAfterFinished": 30}}
    assert expires_at(done) == datetime(2026, 1, 2, 3, 1, tzinfo=UTC)
    assert expires_at(job("a", ended="Failed")) is None
    assert expires_at(job("a") | {"spec": {"ttlSecondsAfterFinished": 30}}) is None


async def test_a_cron_job_fires_each_minute_and_its_jobs_follow_their_time_to_live() -> None:
    async with cluster() as world:
        tick = cron_job()
        tick["metadata"] = {"namespace": "default", "name": "tick"}
        tick["spec"]["jobTemplate"]["spec"] |= {"suspend": True}
        await world.api.create(CRON_JOBS, tick)
        active = await world.until(
            lambda: (
                len(found := field_of(world.get(CRON_JOBS, "tick") or {}, "status", "active", default=())) == 2
                and found
            ),
            step_s=2,
        )
        assert sorted(ref["name"] for ref in active) == [name_of(made) for made in world.list(JOBS)]
        done = dict(world.list(JOBS)[0])
        stamp = world.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        done["spec"] = {**done["spec"], "ttlSecondsAfterFinished": 5}
        done = dict(await world.api.update(JOBS, done))
        done["status"] = {"conditions": [
            {"type": kind, "status": "True", "lastTransitionTime": stamp, "lastProbeTime": stamp}
            for kind in ("FailureTarget", "Failed")
        ]}  # fmt: skip
        await world.api.update(JOBS, done, subresource="status")
        await world.until(lambda: name_of(done) not in [name_of(made) for made in world.list(JOBS)], step_s=0.5)
