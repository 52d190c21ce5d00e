from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cluster.client.node_channel import ContainerRef, LogOptions
from cluster.client.transport import DeleteOptions
from cluster.kubelet.runtime.api import ContainerSpec, State
from cluster.kubelet.streams import FOLLOWERS_MAX
from cluster.machinery.errors import NotFound, TooManyRequests
from cluster.machinery.objects import Key, Obj, uid_of
from cluster.resources.builtin import CONFIG_MAPS, LEASES, NODES, PODS
from cluster.simulation.engine import Behaviour
from tests.unit.kubelet.node import Blind, TestNode, node
from tests.unit.kubelet.shapes import container, pod


def phase(wanted: str) -> Any:
    return lambda seen: seen["status"].get("phase") == wanted


def ready(seen: Obj) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in seen["status"].get("conditions") or ())


def waits_for(reason: str) -> Any:
    return lambda seen: any(
        status["state"].get("waiting", {}).get("reason") == reason
        for status in seen["status"].get("containerStatuses") or ()
    )


async def gone(machine: TestNode, name: str = "web") -> None:
    for _ in range(120):
        try:
            await machine.pod(name)
        except NotFound:
            return
        await machine.step()
    raise AssertionError("the pod is still there")


async def test_a_pod_becomes_a_container_and_says_so(tmp_path: Path) -> None:
    async with node(tmp_path) as machine:
        await machine.create(pod(container(command=["sleep", "1d"])))
        seen = await machine.until(ready)
        (status,) = seen["status"]["containerStatuses"]
        spec = machine.engine.spec(status["containerID"].removeprefix("docker://"))
        assert spec.entrypoint == ["sleep", "1d"]
        assert {mount.target for mount in spec.mounts} >= {"/etc/hosts", "/etc/resolv.conf", "/dev/termination-log"}
        assert seen["status"]["podIP"] == "10.244.0.2"
        assert seen["status"]["hostIP"] == "192.0.2.1"
        assert machine.said.reasons == ["Pulling", "Pulled", "Created", "Started"]


async def test_a_node_registers_reports_and_renews_its_lease(tmp_path: Path) -> None:
    async with node(tmp_path) as machine:
        await machine.step()
        seen = await machine.api.get(NODES, Key("", "n1"))
        conditions = {c["type"]: c["status"] for c in seen["status"]["conditions"]}
        assert seen["metadata"]["labels"]["kubernetes.io/hostname"] == "n1"
        for _ in range(12):
            await machine.step()
        seen = await machine.api.get(NODES, Key("", "n1"))
        conditions = {c["type"]: c["status"] for c in seen["status"]["conditions"]}
        assert conditions["Ready"] == "True"
        assert seen["status"]["capacity"]["cpu"] == "4"
        first = await machine.api.get(LEASES, Key("kube-node-lease", "n1"))
        for _ in range(11):
            await machine.step()
        second = await machine.api.get(LEASES, Key("kube-node-lease", "n1"))
        assert second["spec"]["renewTime"] > first["spec"]["renewTime"]


async def test_a_job_like_pod_succeeds_and_gives_its_sandbox_back(tmp_path: Path) -> None:
    async with node(tmp_path, once=Behaviour(runs_s=2)) as machine:
        await machine.create(pod(container(image="once:1"), restartPolicy="Never"))
        seen = await machine.until(phase("Succeeded"))
        assert seen["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] == "Completed"
        await machine.step(2)
        assert [c.state for c in await machine.engine.list()] == [State.EXITED]


async def test_a_crashing_container_backs_off_and_counts(tmp_path: Path) -> None:
    async with node(tmp_path, crash=Behaviour(runs_s=1, exit_code=3)) as machine:
        await machine.create(pod(container(image="crash:1")))
        seen = await machine.until(waits_for("CrashLoopBackOff"))
        (status,) = seen["status"]["containerStatuses"]
        assert status["restartCount"] == 1
        assert status["lastState"]["terminated"]["exitCode"] == 3
        before = machine.clock.time
        await machine.until(lambda now: now["status"]["containerStatuses"][0]["restartCount"] == 2)
        assert machine.clock.time - before >= 8


async def test_a_missing_image_is_told_and_tried_again(tmp_path: Path) -> None:
    async with node(tmp_path) as machine:
        await machine.create(pod(container(image="nowhere:1")))
        await machine.until(waits_for("ErrImagePull"))
        await machine.until(waits_for("ImagePullBackOff"))
        machine.engine.add_image("nowhere:1")
        await machine.until(ready)


async def test_a_deleted_pod_is_stopped_and_nothing_of_it_is_left(tmp_path: Path) -> None:
    async with node(tmp_path) as machine:
        made = await machine.create(pod())
        await machine.until(ready)
        await machine.api.delete(PODS, Key("default", "web"))
        await gone(machine)
        for _ in range(5):
            await machine.step()
        assert await machine.engine.list() == []
        assert not (tmp_path / "pods" / uid_of(made)).exists()
        assert "Killing" in machine.said.reasons


async def test_a_shorter_grace_interrupts_a_long_stop(tmp_path: Path) -> None:
    async with node(tmp_path, stubborn=Behaviour(stop_s=1e9)) as machine:
        await machine.create(pod(container(image="stubborn:1"), terminationGracePeriodSeconds=10_000))
        await machine.until(ready)
        await machine.api.delete(PODS, Key("default", "web"))
        for _ in range(5):
            await machine.step()
        assert (await machine.pod())["metadata"]["deletionGracePeriodSeconds"] == 10_000
        await machine.api.delete(PODS, Key("default", "web"), DeleteOptions(grace_period_s=1))
        await gone(machine)


async def test_an_agent_that_restarts_adopts_what_runs_and_restarts_nothing(tmp_path: Path) -> None:
    async with node(tmp_path) as machine:
        await machine.create(pod(container("a"), container("b")))
        before = await machine.until(ready)
        calls = list(machine.engine.calls)
        for _ in range(3):
            await machine.restart()
            for _ in range(15):
                await machine.step()
        assert machine.engine.calls == calls
        after = await machine.pod()
        assert after["status"] == before["status"]
        assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_a_container_that_dies_while_the_agent_is_away_is_started_again(tmp_path: Path) -> None:
    async with node(tmp_path) as machine:
        await machine.create(pod())
        seen = await machine.until(ready)
        await machine.kubelet.stop()
        machine.engine.finish(seen["status"]["containerStatuses"][0]["containerID"].removeprefix("docker://"), 1)
        await machine.restart()
        await machine.until(lambda now: ready(now) and now["status"]["containerStatuses"][0]["restartCount"] == 1)


async def test_a_container_removed_behind_our_back_comes_back(tmp_path: Path) -> None:
    async with node(tmp_path) as machine:
        await machine.create(pod())
        seen = await machine.until(ready)
        (status,) = seen["status"]["containerStatuses"]
        await machine.engine.remove(status["containerID"].removeprefix("docker://"))
        back = await machine.until(
            lambda now: ready(now) and now["status"]["containerStatuses"][0]["containerID"] != status["containerID"]
        )
        assert back["status"]["podIP"] == seen["status"]["podIP"]


async def test_a_lost_sandbox_is_replaced_with_all_that_ran_in_it(tmp_path: Path) -> None:
    async with node(tmp_path) as machine:
        await machine.create(pod())
        seen = await machine.until(ready)
        sandbox = next(c for c in await machine.engine.list() if c.name.startswith("k8s_POD"))
        machine.engine.finish(sandbox.id, 137)
        await machine.until(lambda now: ready(now) and now["status"] != seen["status"])
        assert len([c for c in await machine.engine.list() if c.state is State.RUNNING]) == 2


async def test_a_missing_config_map_holds_the_container_until_it_exists(tmp_path: Path) -> None:
    async with node(tmp_path) as machine:
        env = [{"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "palette", "key": "color"}}}]
        await machine.create(pod(container(env=env)))
        seen = await machine.until(waits_for("CreateContainerConfigError"))
        waiting = seen["status"]["containerStatuses"][0]["state"]["waiting"]
        assert waiting["message"] == 'configmap "palette" not found'
        palette = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "palette", "namespace": "default"},
            "data": {"color": "blue"},
        }
        await machine.api.create(CONFIG_MAPS, palette)
        seen = await machine.until(ready)
        spec = machine.engine.spec(seen["status"]["containerStatuses"][0]["containerID"].removeprefix("docker://"))
        assert "COLOR=blue" in spec.env


async def test_an_active_deadline_fails_the_pod(tmp_path: Path) -> None:
    async with node(tmp_path) as machine:
        await machine.create(pod(activeDeadlineSeconds=20, restartPolicy="Never"))
        await machine.until(ready)
        seen = await machine.until(phase("Failed"))
        assert seen["status"]["reason"] == "DeadlineExceeded"
        await machine.step(2)
        assert [c for c in await machine.engine.list() if c.state is State.RUNNING] == []


async def test_an_engine_that_goes_away_changes_nothing_and_shows_on_the_node(tmp_path: Path) -> None:
    async with node(tmp_path) as machine:
        await machine.create(pod())
        before = await machine.until(ready)
        machine.engine.available = False
        for _ in range(40):
            await machine.step()
        seen = await machine.api.get(NODES, Key("", "n1"))
        assert next(c for c in seen["status"]["conditions"] if c["type"] == "Ready")["status"] == "False"
        machine.engine.available = True
        for _ in range(40):
            await machine.step()
        assert (await machine.pod())["status"] == before["status"]


async def test_logs_are_read_through_the_channel(tmp_path: Path) -> None:
    async with node(tmp_path, chatty=Behaviour(output=b"one\ntwo\nthree\n")) as machine:
        made = await machine.create(pod(container(image="chatty:1")))
        await machine.until(ready)
        ref = ContainerRef("default", "web", uid_of(made), "app")
        channel = machine.kubelet.channel()
        assert b"".join([data async for data in channel.logs(ref, LogOptions(tail_lines=2))]) == b"two\nthree\n"
        assert b"".join([data async for data in channel.logs(ref, LogOptions(limit_bytes=5))]) == b"one\nt"


async def test_termination_takes_sidecars_last(tmp_path: Path) -> None:
    async with node(tmp_path) as machine:
        await machine.create(pod(initContainers=[container("side", restartPolicy="Always")]))
        await machine.until(ready)
        await machine.api.delete(PODS, Key("default", "web"))
        await gone(machine)
        stops = [call.split("_")[1] for call in machine.engine.calls if call.startswith("stop k8s_")]
        assert stops == ["app", "side"]


async def test_an_api_that_is_away_stops_no_restart_and_is_told_everything_after(tmp_path: Path) -> None:
    async with node(tmp_path) as machine:
        await machine.create(pod())
        seen = await machine.until(ready)
        machine.line.cut = True
        machine.engine.finish(seen["status"]["containerStatuses"][0]["containerID"].removeprefix("docker://"), 1)
        for _ in range(15):
            await machine.step()
        assert [c.state for c in await machine.engine.list() if "_app_" in c.name] == [State.EXITED, State.RUNNING]
        assert (await machine.pod())["status"] == seen["status"]
        machine.line.cut = False
        await machine.until(lambda now: ready(now) and now["status"]["containerStatuses"][0]["restartCount"] == 1)


async def test_an_agent_that_restarts_without_an_api_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    async with node(tmp_path) as machine:
        await machine.create(pod())
        seen = await machine.until(ready)
        machine.line.cut = True
        await machine.restart(cache=Blind())
        for _ in range(15):
            await machine.step()
        assert len([c for c in await machine.engine.list() if c.state is State.RUNNING]) == 2
        machine.engine.finish(seen["status"]["containerStatuses"][0]["containerID"].removeprefix("docker://"), 1)
        for _ in range(15):
            await machine.step()
        assert len([c for c in await machine.engine.list() if c.state is State.RUNNING]) == 2


async def test_containers_the_api_never_had_are_left_running_for_the_quarantine(tmp_path: Path) -> None:
    async with node(tmp_path) as machine:
        await machine.create(pod())
        await machine.until(ready)
        await machine.kubelet.stop()
        await machine.api.delete(PODS, Key("default", "web"), DeleteOptions(grace_period_s=0))
        await machine.restart()
        for _ in range(500):
            await machine.step()
        assert len([c for c in await machine.engine.list() if c.state is State.RUNNING]) == 2
        for _ in range(200):
            await machine.step()
        assert await machine.engine.list() == []


async def test_the_containers_of_others_are_never_touched(tmp_path: Path) -> None:
    async with node(tmp_path) as machine:
        machine.engine.add_image("theirs:1")
        foreign = await machine.engine.create(ContainerSpec(name="theirs", image="theirs:1", labels={"owner": "them"}))
        await machine.engine.start(foreign)
        for _ in range(30):
            await machine.step()
        assert machine.engine.container(foreign).state is State.RUNNING


async def test_a_refused_field_holds_the_pod_and_says_why(tmp_path: Path) -> None:
    async with node(tmp_path) as machine:
        volumes = [{"name": "data", "nfs": {"server": "192.0.2.9", "path": "/"}}]
        await machine.create(pod(volumes=volumes))
        for _ in range(3):
            await machine.step()
        assert ("FailedCreatePodSandBox", "spec.volumes[0].nfs: not supported on this node") in machine.said.events
        assert await machine.engine.list() == []


def probe(command: str, **fields: Any) -> dict[str, Any]:
    return {"exec": {"command": [command]}, "periodSeconds": 1, "failureThreshold": 2, **fields}


async def test_a_readiness_probe_gates_and_an_agents_restart_does_not_unready(tmp_path: Path) -> None:
    async with node(tmp_path) as machine:
        machine.failing = {"ask"}
        await machine.create(pod(container(readinessProbe=probe("ask"))))
        await machine.until(phase("Running"))
        for _ in range(5):
            await machine.step()
        assert not ready(await machine.pod())
        machine.failing = set()
        before = await machine.until(ready)
        await machine.restart()
        for _ in range(5):
            await machine.step()
        assert (await machine.pod())["status"] == before["status"]
        machine.failing = {"ask"}
        await machine.until(lambda now: not ready(now))


async def test_a_failed_liveness_probe_restarts_only_after_the_startup_probe_let_it_begin(tmp_path: Path) -> None:
    async with node(tmp_path) as machine:
        machine.failing = {"started", "alive"}
        startup = probe("started", failureThreshold=30)
        await machine.create(pod(container(startupProbe=startup, livenessProbe=probe("alive"))))
        await machine.until(phase("Running"))
        for _ in range(10):
            await machine.step()
        status = (await machine.pod())["status"]["containerStatuses"][0]
        assert (status["started"], status["restartCount"]) == (False, 0)
        machine.failing = {"alive"}
        await machine.until(lambda now: now["status"]["containerStatuses"][0]["restartCount"] == 1)
        assert ("Killing", "Container app failed liveness probe, will be restarted") in machine.said.events


async def test_hooks_run_after_the_start_and_before_the_stop(tmp_path: Path) -> None:
    async with node(tmp_path) as machine:
        machine.failing = {"goodbye"}
        lifecycle = {"postStart": {"exec": {"command": ["hello"]}}, "preStop": {"exec": {"command": ["goodbye"]}}}
        await machine.create(pod(container(lifecycle=lifecycle)))
        await machine.until(ready)
        assert "FailedPostStartHook" not in machine.said.reasons
        await machine.api.delete(PODS, Key("default", "web"))
        await gone(machine)
        assert "FailedPreStopHook" in machine.said.reasons


async def test_a_failed_post_start_hook_kills_the_container(tmp_path: Path) -> None:
    async with node(tmp_path) as machine:
        machine.failing = {"hello"}
        await machine.create(pod(container(lifecycle={"postStart": {"exec": {"command": ["hello"]}}})))
        await machine.until(waits_for("CrashLoopBackOff"))
        assert "FailedPostStartHook" in machine.said.reasons


async def test_a_changed_config_map_is_in_the_volumes_of_all_its_pods_within_a_minute(tmp_path: Path) -> None:
    async with node(tmp_path) as machine:
        meta = {"name": "config", "namespace": "default"}
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"a": "old"}}
        await machine.api.create(CONFIG_MAPS, config)
        volumes = [{"name": "c", "configMap": {"name": "config"}}]
        files: list[Path] = []
        for name in ("one", "two", "three"):
            made = await machine.create(pod(name=name, volumes=volumes))
            await machine.until(ready, name)
            files.append(tmp_path / "pods" / uid_of(made) / "volumes" / "configMap" / "c" / "a")
            for _ in range(11):
                await machine.step()  # so that each reads at another time, and some what another has just read
        for value in ("new", "newer", "newest"):
            live = await machine.api.get(CONFIG_MAPS, Key("default", "config"))
            await machine.api.update(CONFIG_MAPS, {**live, "data": {"a": value}})
            for _ in range(60):
                await machine.step()
            assert [file.read_text() for file in files] == [value] * 3
            for _ in range(7):
                await machine.step()


async def test_more_followers_than_the_bound_are_refused(tmp_path: Path) -> None:
    async with node(tmp_path) as machine:
        made = await machine.create(pod())
        await machine.until(ready)
        channel = machine.kubelet.channel()
        ref = ContainerRef("default", "web", uid_of(made), "app")
        options = LogOptions(follow=True)
        followers = [asyncio.ensure_future(anext(channel.logs(ref, options), b"")) for _ in range(FOLLOWERS_MAX)]
        await machine.step()
        with pytest.raises(TooManyRequests):
            await anext(channel.logs(ref, options))
        assert await anext(channel.logs(ref, LogOptions()), b"") == b""
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)
        again = asyncio.ensure_future(anext(channel.logs(ref, options), b""))
        await machine.step()
        assert not again.done()
        again.cancel()
        await asyncio.gather(again, return_exceptions=True)
