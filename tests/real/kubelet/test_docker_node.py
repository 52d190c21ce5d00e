"""A Pod becomes a container of the machine's own Docker engine, and everything a pod is promised is true inside it."""

from __future__ import annotations

import base64

import pytest

from cluster.kubelet.runtime.api import State
from cluster.machinery.objects import uid_of
from cluster.resources.builtin import CONFIG_MAPS, SECRETS
from tests.real.kubelet.conftest import DockerNode, ref
from tests.real.kubelet.shapes import phase, ready, restarted, script

pytestmark = pytest.mark.needs("docker", "root", "busybox")


async def test_a_pod_runs_with_its_name_address_and_files(node: DockerNode) -> None:
    env = [
        {"name": "MY_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "GREETING", "value": "hello from $(MY_IP)"},
    ]
    await node.create("web", script("hostname; sleep 1d", env=env))
    pod = await node.until("web", ready)
    address = pod["status"]["podIP"]
    (container,) = await node.containers()
    await node.says(pod, "web\n")
    assert pod["status"]["containerStatuses"][0]["containerID"] == f"docker://{container.id}"
    assert address in await node.run(pod, "ip", "addr")
    assert f"{address}\tweb" in await node.run(pod, "cat", "/etc/hosts")
    assert "default.svc.cluster.local" in await node.run(pod, "cat", "/etc/resolv.conf")
    assert f"GREETING=hello from {address}" in await node.run(pod, "env")


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
    await node.until("web", ready)
    await node.delete("web")
    assert not await node.containers()


async def test_init_containers_run_first_and_share_volumes(node: DockerNode) -> None:
    mount = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    init = {"name": "prepare", "image": node.image, **script("echo made by init > /shared/file", **mount)}
    volumes = [{"name": "shared", "emptyDir": {}}]
    await node.create("web", script("cat /shared/file; sleep 1d", **mount), initContainers=[init], volumes=volumes)
    pod = await node.until("web", ready)
    await node.says(pod, "made by init\n")


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
    assert await node.run(pod, "cat", "/config/paint/color", "/secret/key", "/one.txt") == "bluehunter2x"
    secrets = node.root / "kubelet" / "pods" / uid_of(pod) / "volumes" / "secret" / "secret"
    assert secrets.is_mount()
    assert "tmpfs" in await node.run(pod, "grep", " /secret ", "/proc/mounts")


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
    stream = await node.channel.connect(ref(pod), 8080)
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
    assert await node.logs(pod, previous=True) == "run 0\n"
    await node.says(pod, "run 1\n")
