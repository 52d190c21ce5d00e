"""From the first init container to the last signal: when containers start, are ready, are ended and come again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cluster.client.transport import DeleteOptions
from cluster.machinery.objects import Key
from cluster.resources.builtin import PODS
from tests.real.kubelet.conftest import DockerNode
from tests.real.kubelet.shapes import PATIENT, phase, ready, restarted, script, status_of, waits_for

pytestmark = [pytest.mark.needs("docker", "root", "busybox"), pytest.mark.asyncio(loop_scope="package")]

OFTEN = {"periodSeconds": 1, "failureThreshold": 1}
SHARED_VOLUME = {"volumes": [{"name": "v", "emptyDir": {}}]}
MOUNT = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}


def on_the_host(node: DockerNode, name: str) -> dict[str, Any]:
    """A volume on the host, where what a container writes can be read after its end."""
    path = node.root / "allowed" / name
    path.mkdir()
    return {"volumes": [{"name": "v", "hostPath": {"path": str(path)}}]}


async def test_init_containers_run_one_after_the_other_and_sidecars_stay(shared: DockerNode) -> None:
    def init(name: str, text: str, **fields: Any) -> dict[str, Any]:
        return {"name": name, "image": shared.image, **script(text, **fields), **MOUNT}

    probe = {"startupProbe": {"exec": {"command": ["cat", "/v/up"]}, **OFTEN, "failureThreshold": 30}}
    inits = [
        init("first", "sleep 0.3; echo first >> /v/order"),
        init("side", f"echo side >> /v/order; echo > /v/up; {PATIENT}", restartPolicy="Always", **probe),
        init("second", "echo second >> /v/order"),
    ]
    await shared.create(
        "inits", script("echo app >> /v/order; " + PATIENT, **MOUNT), initContainers=inits, **SHARED_VOLUME
    )
    pod = await shared.until("inits", ready)
    assert (await shared.run(pod, "cat", "/v/order")).split() == ["first", "side", "second", "app"]
    states = {name: next(iter(status_of(pod, name)["state"])) for name in ("first", "side", "second", "app")}
    assert states == {"first": "terminated", "side": "running", "second": "terminated", "app": "running"}
    assert status_of(pod, "side")["ready"]
    await shared.delete("inits")


async def test_a_failing_init_container_keeps_the_pod_from_starting(shared: DockerNode) -> None:
    bad = {"name": "bad", "image": shared.image, **script("exit 3")}
    await shared.create("never", script(PATIENT), initContainers=[bad], restartPolicy="Never")
    await shared.create("again", script(PATIENT), initContainers=[bad])
    pod = await shared.until("never", phase("Failed"))
    assert status_of(pod, "bad")["state"]["terminated"]["exitCode"] == 3
    assert "containerID" not in status_of(pod)
    pod = await shared.until("again", waits_for("CrashLoopBackOff", "bad"))
    assert pod["status"]["phase"] == "Pending"
    assert status_of(pod)["state"]["waiting"]["reason"] == "PodInitializing"
    await shared.delete("never")
    await shared.delete("again")


async def test_a_stop_is_the_hook_then_the_signal_then_the_end(shared: DockerNode) -> None:
    stop = {"preStop": {"exec": {"command": ["sh", "-c", "echo hook >> /v/f; sleep 0.3; echo hooked >> /v/f"]}}}
    text = "trap 'echo term >> /v/f; exit 0' TERM; echo up >> /v/f; while :; do sleep 0.1; done"
    await shared.create(
        "graceful",
        script(text, lifecycle=stop, **MOUNT),
        terminationGracePeriodSeconds=20,
        **on_the_host(shared, "graceful"),
    )
    await shared.until("graceful", ready)
    took_s = await shared.delete("graceful")
    assert (shared.root / "allowed" / "graceful" / "f").read_text().split() == ["up", "hook", "hooked", "term"]
    assert took_s < 15
    assert ("Killing", "Stopping container app") in shared.said.of("graceful")


async def test_who_does_not_heed_the_signal_is_killed_when_the_grace_is_over(shared: DockerNode) -> None:
    deaf = script("trap '' TERM; while :; do sleep 0.1; done")
    await shared.create("deaf", deaf, terminationGracePeriodSeconds=2)
    await shared.create("deafer", deaf, terminationGracePeriodSeconds=600)
    for name in ("deaf", "deafer"):
        await shared.until(name, ready)
    stubborn = asyncio.create_task(shared.api.delete(PODS, Key("default", "deafer")))
    assert 1.5 < await shared.delete("deaf") < 15
    await stubborn
    pod = await shared.pod("deafer")
    assert pod["metadata"]["deletionGracePeriodSeconds"] == 600
    await shared.api.delete(PODS, Key("default", "deafer"), DeleteOptions(grace_period_s=1))
    await shared.delete("deafer", within_s=20)


async def test_a_post_start_hook_comes_before_readiness_and_its_failure_is_the_containers_end(
    shared: DockerNode,
) -> None:
    def hook(text: str) -> dict[str, Any]:
        return {"lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", text]}}}}

    await shared.create("hooked", script(PATIENT, **hook("echo > /tmp/hooked")))
    await shared.create("unhooked", script(PATIENT, **hook("exit 1")))
    pod = await shared.until("hooked", ready)
    await shared.run(pod, "cat", "/tmp/hooked")
    await shared.until("unhooked", waits_for("CrashLoopBackOff"))
    assert "FailedPostStartHook" in [reason for reason, _ in shared.said.of("unhooked")]
    await shared.delete("hooked")
    await shared.delete("unhooked")


async def test_a_startup_probe_holds_the_others_back(shared: DockerNode) -> None:
    slow = script(
        "sleep 2.5; echo > /tmp/started; " + PATIENT,
        startupProbe={"exec": {"command": ["cat", "/tmp/started"]}, **OFTEN, "failureThreshold": 30},
        livenessProbe={"exec": {"command": ["cat", "/tmp/started"]}, **OFTEN},
    )
    never = script(PATIENT, startupProbe={"tcpSocket": {"port": 81}, **OFTEN, "failureThreshold": 2})
    await shared.create("slow", slow)
    await shared.create("stuck", never)
    first = await shared.until("slow", phase("Running"))
    assert status_of(first)["started"] is False
    pod = await shared.until("slow", ready)
    assert (status_of(pod)["started"], status_of(pod)["restartCount"]) == (True, 0)
    message = "Container app failed startup probe, will be restarted"
    await shared.until("stuck", lambda pod: ("Killing", message) in shared.said.of("stuck"))
    await shared.delete("slow")
    await shared.delete("stuck")


async def test_a_probe_that_takes_too_long_has_failed_and_nothing_of_it_is_left(shared: DockerNode) -> None:
    probe = {"exec": {"command": ["sleep", "777"]}, "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 1}
    await shared.create("slow-probe", script(PATIENT, readinessProbe=probe))
    words = "Readiness probe failed: command timed out"
    await shared.until("slow-probe", lambda pod: sum(m.startswith(words) for _, m in shared.said.of("slow-probe")) >= 2)
    pod = await shared.pod("slow-probe")
    assert (await shared.run(pod, "ps")).count("sleep 777") <= 1
    await shared.delete("slow-probe")


async def test_a_crash_is_told_waited_for_and_tried_again(shared: DockerNode) -> None:
    await shared.create("crash", script("echo dying; exit 7"))
    await shared.create("odd", {"command": ["/no/such/program"]}, restartPolicy="Never")
    pod = await shared.until("crash", waits_for("CrashLoopBackOff"))
    status = status_of(pod)
    assert status["restartCount"] == 1
    assert status["lastState"]["terminated"]["exitCode"] == 7
    assert status["state"]["waiting"]["message"].startswith("back-off 10s restarting failed container=app")
    odd = await shared.pod("odd")
    assert not ready(odd)
    await shared.delete("crash")
    await shared.delete("odd")


async def test_the_last_words_of_a_failure_are_its_message_if_it_left_none(shared: DockerNode) -> None:
    policy = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    await shared.create("words", script("echo first >&2; echo last words >&2; exit 1", **policy), restartPolicy="Never")
    await shared.create(
        "note",
        script("echo noise; echo note > /tmp/note; exit 1", terminationMessagePath="/tmp/note", **policy),
        restartPolicy="Never",
    )
    await shared.create("fine", script("echo noise", **policy), restartPolicy="Never")
    said = {}
    for name, end in (("words", "Failed"), ("note", "Failed"), ("fine", "Succeeded")):
        said[name] = status_of(await shared.until(name, phase(end)))["state"]["terminated"].get("message")
    assert said == {"words": "first\nlast words\n", "note": "note\n", "fine": None}
    for name in said:
        await shared.delete(name)


async def test_a_pod_past_its_deadline_is_ended(shared: DockerNode) -> None:
    await shared.create("late", script(PATIENT), activeDeadlineSeconds=1)
    pod = await shared.until("late", phase("Failed"))
    assert pod["status"]["reason"] == "DeadlineExceeded"
    await shared.delete("late")


async def test_a_container_killed_behind_us_comes_back(shared: DockerNode) -> None:
    await shared.create("killed", script(PATIENT))
    pod = await shared.until("killed", ready)
    await shared.engine.stop(status_of(pod)["containerID"].removeprefix("docker://"), grace_s=0)
    pod = await shared.until("killed", restarted(1))
    assert status_of(pod)["lastState"]["terminated"]["exitCode"] == 137
    await shared.delete("killed")
