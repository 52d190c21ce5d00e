"""A Pod becomes a container of the machine's own Docker engine, and everything a pod is promised is true inside it."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any

import pytest

from cluster.client.node_channel import ContainerRef, LogOptions
from cluster.kubelet.runtime.api import State
from cluster.machinery.errors import NotFound
from cluster.machinery.objects import Key, Obj, uid_of
from cluster.resources.builtin import CONFIG_MAPS, PODS, SECRETS
from tests.real.kubelet.conftest import DockerNode

pytestmark = pytest.mark.needs("docker", "root", "busybox")


def ready(pod: Obj) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or ())


def phase(wanted: str) -> Any:
    return lambda pod: pod["status"].get("phase") == wanted


def restarted(times: int) -> Any:
    return lambda pod: ready(pod) and pod["status"]["containerStatuses"][0]["restartCount"] >= times


def script(text: str, **fields: Any) -> dict[str, Any]:
    return {"command": ["sh", "-c", text], **fields}


async def run(node: DockerNode, name: str, pod: Obj, *command: str) -> str:
    """What a command prints in the pod's first container."""
    assert node.kubelet is not None
    ref = ContainerRef("default", name, uid_of(pod), "app")
    session = await node.kubelet.channel().exec(ref, command, stdin=False, stdout=True, stderr=True, tty=False)
    output = b"".join([chunk.data async for chunk in session.output()])
    assert await session.wait() == 0, output
    await session.close()
    return output.decode()


async def test_a_pod_runs_with_its_name_address_and_files(node: DockerNode) -> None:
    env = [
        {"name": "MY_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "GREETING", "value": "hello from $(MY_IP)"},
    ]
    await node.create("web", script("hostname; sleep 1d", env=env))
    pod = await node.until("web", ready)
    address = pod["status"]["podIP"]
    (container,) = await node.containers()
    assert (await node.output(container.id)).splitlines() == ["web"]
    assert pod["status"]["containerStatuses"][0]["containerID"] == f"docker://{container.id}"
    assert address in await run(node, "web", pod, "ip", "addr")
    assert f"{address}\tweb" in await run(node, "web", pod, "cat", "/etc/hosts")
    assert "default.svc.cluster.local" in await run(node, "web", pod, "cat", "/etc/resolv.conf")
    assert f"GREETING=hello from {address}" in await run(node, "web", pod, "env")


async def test_an_agent_that_restarts_adopts_every_container(node: DockerNode) -> None:
    await node.create("one", script("sleep 1d"))
    await node.create("two", script("sleep 1d"))
    before = [await node.until(name, ready) for name in ("one", "two")]
    containers = [(c.id, c.pid) for c in await node.containers()]
    for _ in range(2):
        await node.stop()
        await node.start()
        await node.until("one", ready)
    await node.create("three", script("sleep 1d"))
    third = await node.until("three", ready)
    assert [(c.id, c.pid) for c in await node.containers() if "three" not in c.name] == containers
    assert [(await node.pod(name))["status"] for name in ("one", "two")] == [pod["status"] for pod in before]
    addresses = {pod["status"]["podIP"] for pod in (*before, third)}
    assert len(addresses) == 3


async def test_a_deleted_pod_leaves_nothing(node: DockerNode) -> None:
    await node.create("web", script("trap 'exit 0' TERM; while :; do sleep 0.1; done"))
    pod = await node.until("web", ready)
    await node.api.delete(PODS, Key("default", "web"))
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            await node.pod("web")
        except NotFound:
            if not await node.containers() and not (node.root / "kubelet" / "pods" / uid_of(pod)).exists():
                return
        await asyncio.sleep(0.05)
    raise AssertionError("something of the pod is left")


async def test_init_containers_run_first_and_share_volumes(node: DockerNode) -> None:
    mount = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    init = {"name": "prepare", "image": node.image, **script("echo made by init > /shared/file", **mount)}
    volumes = [{"name": "shared", "emptyDir": {}}]
    await node.create("web", script("cat /shared/file; sleep 1d", **mount), initContainers=[init], volumes=volumes)
    await node.until("web", ready)
    container = next(c for c in await node.containers() if c.labels["io.kubernetes.container.name"] == "app")
    assert await node.output(container.id) == "made by init\n"


async def test_a_failure_tells_its_exit_code_and_its_message(node: DockerNode) -> None:
    await node.create("bad", script("echo no luck > /dev/termination-log; exit 3"), restartPolicy="Never")
    pod = await node.until("bad", phase("Failed"))
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (3, "Error", "no luck\n")


async def test_config_maps_and_secrets_are_files_and_secrets_stay_off_the_disk(node: DockerNode) -> None:
    meta = {"name": "settings", "namespace": "default"}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"color": "blue", "deep.txt": "x"}}
    secret = base64.b64encode(b"hunter2").decode()
    await node.api.create(CONFIG_MAPS, config)
    await node.api.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": {"key": secret}})
    volumes = [
        {"name": "config", "configMap": {"name": "settings", "items": [{"key": "color", "path": "paint/color"}]}},
        {"name": "secret", "secret": {"secretName": "settings", "defaultMode": 0o400}},
        {"name": "whole", "configMap": {"name": "settings"}},
    ]
    mounts = [
        {"name": "config", "mountPath": "/config"},
        {"name": "secret", "mountPath": "/secret"},
        {"name": "whole", "mountPath": "/one.txt", "subPath": "deep.txt"},
    ]
    await node.create("web", script("sleep 1d", volumeMounts=mounts), volumes=volumes)
    pod = await node.until("web", ready)
    assert await run(node, "web", pod, "cat", "/config/paint/color", "/secret/key", "/one.txt") == "bluehunter2x"
    secrets = node.root / "kubelet" / "pods" / uid_of(pod) / "volumes" / "secret" / "secret"
    assert secrets.is_mount()
    assert "tmpfs" in await run(node, "web", pod, "grep", " /secret ", "/proc/mounts")


async def test_a_failing_liveness_probe_restarts_and_a_readiness_probe_gates(node: DockerNode) -> None:
    probe = {"periodSeconds": 1, "failureThreshold": 1}
    await node.create(
        "web",
        script(
            "sleep 1; echo ok > /tmp/ready; sleep 2; echo sick > /tmp/sick; sleep 1d",
            readinessProbe={"exec": {"command": ["cat", "/tmp/ready"]}, **probe},
            livenessProbe={"exec": {"command": ["sh", "-c", "! cat /tmp/sick"]}, **probe},
        ),
    )
    first = await node.until("web", lambda pod: pod["status"].get("phase") == "Running")
    assert not ready(first)
    await node.until("web", restarted(1))
    assert ("Killing", "Container app failed liveness probe, will be restarted") in node.said.events


async def test_an_http_probe_reaches_the_pod_from_the_host(node: DockerNode) -> None:
    probe = {"httpGet": {"path": "/index.html", "port": "web"}, "periodSeconds": 1}
    ports = [{"name": "web", "containerPort": 8080}]
    await node.create(
        "web",
        script("echo hi > /tmp/index.html; exec httpd -f -p 8080 -h /tmp", readinessProbe=probe, ports=ports),
    )
    pod = await node.until("web", ready)
    assert node.kubelet is not None
    stream = await node.kubelet.channel().connect(ContainerRef("default", "web", uid_of(pod), ""), 8080)
    await stream.write(b"GET /index.html HTTP/1.0\r\n\r\n")
    answer = b""
    while data := await stream.read():
        answer += data
    await stream.close()
    assert answer.endswith(b"hi\n")


async def test_a_container_and_a_sandbox_removed_behind_us_come_back(node: DockerNode) -> None:
    await node.create("web", script("sleep 1d"))
    await node.until("web", ready)
    (container,) = await node.containers()
    await node.engine.remove(container.id)
    pod = await node.until("web", lambda pod: ready(pod) and container.id not in str(pod["status"]))
    sandbox = next(c for c in await node.engine.list() if c.name.startswith("k8s_POD_web"))
    await node.engine.remove(sandbox.id)
    await node.until(
        "web", lambda now: ready(now) and now["status"]["containerStatuses"] != pod["status"]["containerStatuses"]
    )
    assert len([c for c in await node.containers() if c.state is State.RUNNING]) == 1


async def test_logs_are_those_of_the_run_asked_for(node: DockerNode) -> None:
    counter = "n=$(cat /data/n 2>/dev/null || echo 0); echo $((n+1)) > /data/n; echo run $n; [ $n = 0 ] || sleep 1d"
    mount = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    await node.create("web", script(counter, **mount), volumes=[{"name": "data", "emptyDir": {}}])
    pod = await node.until("web", restarted(1))
    assert node.kubelet is not None
    ref = ContainerRef("default", "web", uid_of(pod), "app")
    for previous, wanted in ((True, b"run 0\n"), (False, b"run 1\n")):
        logs = node.kubelet.channel().logs(ref, LogOptions(previous=previous))
        assert b"".join([data async for data in logs]) == wanted
