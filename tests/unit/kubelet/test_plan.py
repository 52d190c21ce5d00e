from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from cluster.kubelet.observe import PodObservation
from cluster.kubelet.plan import (
    KillContainer,
    PodPlan,
    RemoveContainer,
    StartContainer,
    StartFailure,
    StartSandbox,
    TearDown,
    Verdicts,
    Waiting,
    orphan_actions,
    plan_pod,
    plan_termination,
)
from tests.unit.kubelet.shapes import NOW, attempt, container, later, observed, pod

NO_VERDICTS = Verdicts()


def planned(
    subject: dict[str, Any],
    seen: PodObservation,
    *,
    now: datetime = NOW,
    verdicts: Verdicts = NO_VERDICTS,
    failures: dict[str, StartFailure] | None = None,
) -> PodPlan:
    return plan_pod(subject, seen, now=now, verdicts=verdicts, failures=failures or {})


def test_a_new_pod_gets_a_sandbox_before_anything_else() -> None:
    assert planned(pod(), observed(sandbox=None)).actions == (StartSandbox(),)


def test_containers_start_together_once_the_sandbox_runs() -> None:
    plan = planned(pod(container("a"), container("b")), observed())
    assert plan.actions == (StartContainer("a", 0), StartContainer("b", 0))
    assert plan.waiting["a"] == Waiting("ContainerCreating")


def test_a_running_pod_is_left_alone() -> None:
    assert planned(pod(), observed(attempt())).actions == ()


def test_init_containers_run_one_after_another_before_the_apps() -> None:
    subject = pod(initContainers=[container("i1"), container("i2")])
    assert planned(subject, observed()).actions == (StartContainer("i1", 0),)
    assert planned(subject, observed(attempt("i1"))).actions == ()
    after_first = observed(attempt("i1", "exited"))
    assert planned(subject, after_first).actions == (StartContainer("i2", 0),)
    assert planned(subject, after_first).waiting["app"] == Waiting("PodInitializing")
    after_both = observed(attempt("i1", "exited"), attempt("i2", "exited"))
    assert planned(subject, after_both).actions == (StartContainer("app", 0),)


def test_apps_wait_until_a_sidecar_has_started() -> None:
    subject = pod(initContainers=[container("side", restartPolicy="Always")])
    running = observed(attempt("side"))
    assert planned(subject, observed()).actions == (StartContainer("side", 0),)
    assert planned(subject, running).actions == ()
    assert planned(subject, running, verdicts=Verdicts(started=frozenset({"side-0"}))).actions == (
        StartContainer("app", 0),
    )


def test_a_sidecar_restarts_even_when_the_pod_never_does() -> None:
    subject = pod(initContainers=[container("side", restartPolicy="Always")], restartPolicy="Never")
    seen = observed(attempt("side", "exited"), attempt())
    assert planned(subject, seen, now=later(5)).actions == (StartContainer("side", 1, 10),)


def test_finished_init_containers_that_were_removed_do_not_run_again_under_a_running_app() -> None:
    assert planned(pod(initContainers=[container("i1")]), observed(attempt())).actions == ()


@pytest.mark.parametrize(
    ("policy", "exit_code", "restarted"),
    [("Always", 0, True), ("Always", 1, True), ("OnFailure", 1, True), ("OnFailure", 0, False), ("Never", 1, False)],
)
def test_the_restart_policy_decides_what_follows_an_exit(policy: str, exit_code: int, restarted: bool) -> None:
    plan = planned(pod(restartPolicy=policy), observed(attempt(state="exited", exit_code=exit_code)), now=later(2))
    assert (StartContainer("app", 1, 10) in plan.actions) is restarted
    assert plan.terminal is not restarted


def test_a_crash_loop_waits_its_back_off_and_says_so() -> None:
    crashed = observed(attempt(state="exited", number=1, exit_code=1, finished_s=10, back_off_s=10))
    waiting = planned(pod(), crashed, now=later(19))
    assert waiting.actions == ()
    assert waiting.again_at == later(20)
    assert waiting.waiting["app"] == Waiting(
        "CrashLoopBackOff", "back-off 10s restarting failed container=app pod=web_default(uid-1)"
    )
    assert planned(pod(), crashed, now=later(20)).actions == (StartContainer("app", 2, 20),)


def test_the_back_off_doubles_up_to_five_minutes() -> None:
    crashed = observed(attempt(state="exited", number=9, exit_code=1, finished_s=1, back_off_s=300))
    assert planned(pod(), crashed, now=later(400)).actions == (StartContainer("app", 10, 300),)


def test_ten_quiet_minutes_forgive_earlier_crashes() -> None:
    crashed = observed(attempt(state="exited", number=9, exit_code=1, finished_s=600, back_off_s=300))
    assert planned(pod(), crashed, now=later(601)).actions == (StartContainer("app", 10, 10),)


def test_a_lost_sandbox_stops_survivors_first_and_then_everything_starts_anew() -> None:
    subject = pod(initContainers=[container("i1")])
    survivors = planned(subject, observed(attempt(), attempt("i1", "exited"), sandbox=None))
    assert [type(action) for action in survivors.actions] == [KillContainer]
    stopped = observed(attempt(state="exited", sandbox="old"), attempt("i1", "exited", sandbox="old"))
    assert planned(subject, stopped).actions == (StartContainer("i1", 1, 10),)


def test_a_lost_sandbox_ends_a_pod_that_never_restarts() -> None:
    plan = planned(pod(restartPolicy="Never"), observed(attempt(state="exited"), sandbox=None))
    assert plan.terminal
    assert plan.actions == (TearDown(),)


def test_a_changed_image_replaces_the_container() -> None:
    seen = observed(attempt(spec=container(image="busybox:0")))
    (action,) = planned(pod(), seen).actions
    assert action == KillContainer("app-0", "app", 30, "Container app definition changed, will be restarted")


def test_a_failed_liveness_probe_kills_with_its_own_grace() -> None:
    verdicts = Verdicts(
        failed={"app-0": "Container app failed liveness probe, will be restarted"}, grace_s={"app-0": 3}
    )
    (action,) = planned(pod(), observed(attempt()), verdicts=verdicts).actions
    assert action == KillContainer("app-0", "app", 3, "Container app failed liveness probe, will be restarted")


def test_a_failed_start_is_tried_again_only_when_its_time_comes() -> None:
    failure = StartFailure(Waiting("ImagePullBackOff", "Back-off pulling image"), later(10))
    held = planned(pod(), observed(), failures={"app": failure})
    assert held.actions == ()
    assert held.waiting["app"].reason == "ImagePullBackOff"
    assert planned(pod(), observed(), now=later(10), failures={"app": failure}).actions == (StartContainer("app", 0),)


def test_a_container_created_but_never_started_is_made_anew_as_the_same_attempt() -> None:
    plan = planned(pod(), observed(attempt(state="created")))
    assert plan.actions == (RemoveContainer("app-0"), StartContainer("app", 0))


def test_only_the_last_two_attempts_are_kept() -> None:
    seen = observed(*(attempt(state="exited", number=n) for n in range(3)), attempt(number=3))
    assert planned(pod(), seen).actions == (RemoveContainer("app-1"), RemoveContainer("app-0"))


def test_an_ephemeral_container_starts_once_and_never_again() -> None:
    subject = pod(ephemeralContainers=[container("debug")])
    assert planned(subject, observed(attempt())).actions == (StartContainer("debug", 0),)
    assert planned(subject, observed(attempt(), attempt("debug", "exited"))).actions == ()


def test_termination_stops_apps_then_sidecars_in_reverse_then_tears_down() -> None:
    subject = pod(initContainers=[container("s1", restartPolicy="Always"), container("s2", restartPolicy="Always")])
    everything = [attempt(), attempt("s1"), attempt("s2")]
    steps = []
    while everything:
        actions = plan_termination(subject, observed(*everything))
        steps.append([action.name for action in actions if isinstance(action, KillContainer)])
        everything = [c for c in everything if c.name not in steps[-1]]
    assert steps == [["app"], ["s2"], ["s1"]]
    assert plan_termination(subject, observed()) == (TearDown(),)


def test_a_pod_the_api_forgot_ends_by_the_grace_its_containers_carry() -> None:
    (kill,) = orphan_actions(observed(attempt()))
    assert isinstance(kill, KillContainer)
    assert kill.grace_s == 30
    assert orphan_actions(observed(attempt(state="exited"))) == (RemoveContainer("app-0"), TearDown())


def test_a_container_removed_behind_us_counts_as_a_restart() -> None:
    subject = pod()
    subject["status"]["containerStatuses"] = [{"name": "app", "containerID": "docker://x", "restartCount": 3}]
    assert planned(subject, observed()).actions == (StartContainer("app", 4),)
