from __future__ import annotations

from typing import Any

import pytest

from cluster.kubelet.observe import ObservedContainer, PodObservation
from cluster.kubelet.plan import Verdicts, Waiting
from cluster.kubelet.status import Ending, Facts, status_of
from cluster.kubelet.status_writer import status_patch
from tests.unit.kubelet.shapes import NOW, attempt, container, later, observed, pod

ALL_GOOD = Verdicts(started=frozenset({"app-0", "side-0"}), ready=frozenset({"app-0", "side-0"}))


def status(subject: dict[str, Any], seen: PodObservation, **facts: Any) -> dict[str, Any]:
    facts.setdefault("address", "10.244.0.5")
    return status_of(subject, seen, Facts(now=facts.pop("now", NOW), host_ip="192.0.2.1", **facts))


def condition(of: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(c for c in of["conditions"] if c["type"] == kind)


def ended(exit_code: int, **fields: Any) -> ObservedContainer:
    return attempt(state="exited", exit_code=exit_code, **fields)


def test_a_new_pod_is_pending_and_creating() -> None:
    made = status(pod(), observed(sandbox=None), address="")
    assert made["phase"] == "Pending"
    assert made["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert condition(made, "PodReadyToStartContainers")["status"] == "False"
    assert condition(made, "Initialized")["status"] == "True"
    assert condition(made, "Ready")["reason"] == "ContainersNotReady"
    assert condition(made, "Ready")["message"] == "containers with unready status: [app]"
    assert "podIP" not in made


def test_a_running_ready_pod_says_so_everywhere() -> None:
    made = status(pod(), observed(attempt()), verdicts=ALL_GOOD)
    assert made["phase"] == "Running"
    app = made["containerStatuses"][0]
    assert (app["ready"], app["started"], app["restartCount"]) == (True, True, 0)
    assert app["containerID"] == "docker://app-0"
    assert app["imageID"] == "docker://sha256:abc"
    assert app["state"] == {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    assert {c["status"] for c in made["conditions"]} == {"True"}
    assert made["podIPs"] == [{"ip": "10.244.0.5"}]
    assert made["qosClass"] == "BestEffort"


@pytest.mark.parametrize(
    ("policy", "codes", "phase"),
    [
        ("Never", (0, 0), "Succeeded"),
        ("Never", (0, 1), "Failed"),
        ("OnFailure", (0, 0), "Succeeded"),
        ("OnFailure", (0, 1), "Running"),
        ("Always", (0, 0), "Running"),
    ],
)
def test_the_phase_follows_exits_and_policy(policy: str, codes: tuple[int, int], phase: str) -> None:
    subject = pod(container("a"), container("b"), restartPolicy=policy)
    seen = observed(attempt("a", "exited", exit_code=codes[0]), attempt("b", "exited", exit_code=codes[1]))
    assert status(subject, seen)["phase"] == phase


def test_a_failed_init_container_fails_a_pod_that_never_restarts() -> None:
    subject = pod(initContainers=[container("i")], restartPolicy="Never")
    made = status(subject, observed(attempt("i", "exited", exit_code=2)), waiting={"app": Waiting("PodInitializing")})
    assert made["phase"] == "Failed"
    assert condition(made, "ContainersReady")["reason"] == "PodFailed"


def test_initialization_names_what_is_incomplete() -> None:
    subject = pod(initContainers=[container("i"), container("side", restartPolicy="Always")])
    made = status(subject, observed(attempt("i")))
    assert made["phase"] == "Pending"
    assert condition(made, "Initialized")["message"] == "containers with incomplete status: [i side]"


def test_a_crash_loop_shows_its_wait_and_how_it_last_ended() -> None:
    seen = observed(ended(3, number=4, oom_killed=True))
    waiting = {"app": Waiting("CrashLoopBackOff", "back-off 40s")}
    app = status(pod(), seen, waiting=waiting, messages={"app-4": "out of room"})["containerStatuses"][0]
    assert app["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}}
    assert app["lastState"]["terminated"]["reason"] == "OOMKilled"
    assert app["lastState"]["terminated"]["message"] == "out of room"
    assert app["restartCount"] == 4


@pytest.mark.parametrize(("code", "reason"), [(0, "Completed"), (1, "Error")])
def test_an_end_has_a_reason(code: int, reason: str) -> None:
    made = status(pod(restartPolicy="Never"), observed(ended(code)))
    assert made["containerStatuses"][0]["state"]["terminated"]["reason"] == reason


def test_a_restarted_container_keeps_its_last_end() -> None:
    made = status(pod(), observed(ended(1), attempt(number=1)))
    app = made["containerStatuses"][0]
    assert app["restartCount"] == 1
    assert app["lastState"]["terminated"]["containerID"] == "docker://app-0"


def test_readiness_gates_hold_the_pod_until_they_are_true() -> None:
    subject = pod(readinessGates=[{"conditionType": "example.com/lb"}])
    made = status(subject, observed(attempt()), verdicts=ALL_GOOD)
    assert condition(made, "ContainersReady")["status"] == "True"
    assert condition(made, "Ready")["reason"] == "ReadinessGatesNotReady"
    subject["status"]["conditions"] = [{"type": "example.com/lb", "status": "True"}]
    opened = status(subject, observed(attempt()), verdicts=ALL_GOOD)
    assert condition(opened, "Ready")["status"] == "True"
    assert condition(opened, "example.com/lb") == {"type": "example.com/lb", "status": "True"}


def test_a_pod_ended_by_the_kubelet_says_why() -> None:
    made = status(pod(), observed(attempt()), ending=Ending("DeadlineExceeded", "too long"))
    assert (made["phase"], made["reason"], made["message"]) == ("Failed", "DeadlineExceeded", "too long")


def test_an_ended_pod_never_lives_again() -> None:
    subject = pod()
    subject["status"] = {"phase": "Succeeded", "podIP": "10.244.0.9"}
    made = status(subject, observed(attempt()), address="")
    assert made["phase"] == "Succeeded"
    assert made["podIP"] == "10.244.0.9"


def test_times_of_unchanged_conditions_stay() -> None:
    subject = pod()
    subject["status"] = status(subject, observed(attempt()), verdicts=ALL_GOOD)
    again = status(subject, observed(attempt()), verdicts=ALL_GOOD, now=later(60))
    assert again == subject["status"]
    assert status_patch(subject, again) is None


def test_a_patch_names_the_pod_and_carries_only_what_changed() -> None:
    subject = pod()
    subject["status"] = status(subject, observed(attempt()), verdicts=ALL_GOOD)
    unready = status(subject, observed(attempt()), verdicts=Verdicts(started=ALL_GOOD.started), now=later(60))
    patch = status_patch(subject, unready)
    assert patch is not None
    assert patch["metadata"] == {"uid": "uid-1"}
    assert sorted(patch["status"]) == ["conditions", "containerStatuses"]
    assert [c["type"] for c in patch["status"]["conditions"]] == ["Ready", "ContainersReady"]
    back = status_patch({**subject, "status": unready}, subject["status"])
    assert back is not None
    assert back["status"]["conditions"][0]["reason"] is None
