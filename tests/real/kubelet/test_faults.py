"""What breaks around the agent while pods run: the engine, its images, the disk, the agent itself."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.kubelet.runtime.api import State
from cluster.kubelet.runtime.sandbox_image import sandbox_image
from cluster.kubelet.security import PodPolicy
from cluster.kubelet.volumes.mounts import SystemMounter
from cluster.machinery.objects import Key, Obj
from cluster.resources.builtin import CONFIG_MAPS, NODES
from tests.real.kubelet.conftest import SUBNET, DockerNode, busybox_tar, docker_node
from tests.real.kubelet.engines import Engine
from tests.real.kubelet.shapes import PATIENT, ready, restarted, script, status_of, waits_for

pytestmark = pytest.mark.needs("docker", "root", "busybox", "ip")


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine()
    try:
        made.start()
        yield made
    finally:
        made.close()


async def node_is(node: DockerNode, status: str) -> None:
    """The Node's Ready condition becomes this."""
    for _ in range(600):
        seen = await node.api.get(NODES, Key("", "n1"))
        if any(c["type"] == "Ready" and c["status"] == status for c in seen["status"].get("conditions") or ()):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"the node never was Ready={status}: {seen['status'].get('conditions')}")


@pytest.mark.parametrize("orderly", [True, False])
async def test_an_engine_that_restarts_gets_its_pods_back_and_keeps_its_other_containers(
    tmp_path: Path, engine: Engine, orderly: bool
) -> None:
    async with docker_node(tmp_path / "node", SUBNET, PodPolicy(), engine.socket) as node:
        engine.docker(
            "run",
            "-d",
            "--name",
            "neighbour",
            "--network",
            "none",
            "--restart",
            "always",
            node.image,
            "sh",
            "-c",
            PATIENT,
        )
        neighbour = engine.docker("inspect", "-f", "{{.Id}}", "neighbour")
        await node.create("one", script(PATIENT))
        await node.create("once", script(PATIENT), restartPolicy="Never")
        before = await node.until("one", ready)
        await node.until("once", ready)
        await asyncio.to_thread(engine.stop if orderly else engine.kill)
        await node_is(node, "False")
        # Nothing is concluded of what cannot be seen; an engine that ends in order ends its containers first.
        assert ready(await node.pod("one")) or orderly
        await asyncio.to_thread(engine.start)
        await node.until("once", lambda pod: pod["status"]["phase"] in ("Failed", "Succeeded"))
        after = await runs_again(node, "one", before)
        assert await node.sh(after, "echo fine") == "fine\n"
        await node_is(node, "True")
        assert engine.docker("inspect", "-f", "{{.Id}}", "neighbour") == neighbour
        await node.create("two", script(PATIENT))
        await node.until("two", ready)
        for name in ("one", "two", "once"):
            await node.delete(name)


async def runs_again(node: DockerNode, name: str, before: Obj) -> Obj:
    """The pod once another container of it runs: what the API says may be older than the engine's end."""
    deadline = time.monotonic() + 60
    while True:
        pod = await node.pod(name)
        running = {f"docker://{c.id}" for c in await node.containers() if c.state is State.RUNNING}
        if ready(pod) and _container(pod) in running - {_container(before)}:
            return pod
        assert time.monotonic() < deadline, pod["status"]
        await asyncio.sleep(0.1)


def _container(pod: Obj) -> str:
    return str(status_of(pod).get("containerID", ""))


async def test_an_agent_that_died_between_create_and_start_starts_what_it_created_once(
    node: DockerNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = asyncio.Event()
    start = node.engine.start

    async def die_at_the_pods_container(container_id: str) -> None:
        if "io.kubernetes.container.name" in (await node.engine.inspect(container_id)).labels:
            reached.set()
            await asyncio.get_running_loop().create_future()
        await start(container_id)

    monkeypatch.setattr(node.engine, "start", die_at_the_pods_container)
    await node.create("web", script(PATIENT))
    async with asyncio.timeout(30):
        await reached.wait()
    await node.stop()
    (created,) = await node.containers()
    assert created.state is State.CREATED
    monkeypatch.undo()
    await node.start()
    pod = await node.until("web", ready)
    (running,) = await node.containers()
    assert running.state is State.RUNNING
    assert status_of(pod)["restartCount"] == 0


async def test_a_sandbox_removed_while_no_agent_ran_is_made_again(node: DockerNode) -> None:
    await node.create("web", script(PATIENT))
    before = await node.until("web", ready)
    await node.stop()
    for container in await node.engine.list():
        if container.name.startswith("k8s_POD_"):
            await node.engine.remove(container.id)
    await node.start()
    after = await node.until("web", lambda pod: ready(pod) and _container(pod) != _container(before))
    assert await node.sh(after, "hostname") == "web\n"
    assert len([c for c in await node.containers() if c.state is State.RUNNING]) == 1


async def test_images_removed_behind_us_are_missed_only_when_they_are_needed(node: DockerNode) -> None:
    await node.create("web", script("sleep 2; exit 1"))
    await node.until("web", ready)
    await node.images.remove(sandbox_image(node.cluster_id, "x86_64").name)
    for container in await node.engine.list():
        if not container.name.startswith("k8s_"):
            await node.engine.remove(container.id)  # the warm sandboxes
    await node.create("next", script(PATIENT))
    await node.until("next", ready)
    remove = ("docker", "rmi", "-f", node.image)
    await asyncio.to_thread(subprocess.run, remove, check=True, capture_output=True)
    await node.until("web", waits_for("ErrImagePull"))
    assert ready(await node.pod("next"))
    await node.images.import_tar(node.image, busybox_tar(), changes=('CMD ["sleep", "1d"]',))
    await node.until("web", restarted(1))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "small"
    directory.mkdir()
    SystemMounter().tmpfs(directory, size_bytes=1 << 20, mode=0o755)
    yield directory
    SystemMounter().unmount(directory)


async def test_a_full_disk_is_told_and_harms_no_pod_that_runs(small_disk: Path) -> None:
    async with docker_node(small_disk, SUBNET, PodPolicy()) as node:
        meta = {"name": "config", "namespace": "default"}
        await node.api.create(
            CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"a": "1"}}
        )
        volume = {"volumes": [{"name": "c", "configMap": {"name": "config"}}]}
        mount = {"volumeMounts": [{"name": "c", "mountPath": "/c"}]}
        await node.create("before", script(PATIENT, **mount), **volume)
        before = await node.until("before", ready)
        with (small_disk / "filler").open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError:
                pass
        await node.create("during", script(PATIENT, **mount), **volume)
        await node.until("during", lambda pod: any("No space left" in m for _, m in node.said.of("during")))
        assert await node.sh(before, "cat /c/a; hostname") == "1before\n"
        assert "before" in await node.run(before, "cat", "/etc/hosts")
        (small_disk / "filler").unlink()
        during = await node.until("during", ready)
        assert await node.sh(during, "cat /c/a") == "1"
        for name in ("before", "during"):
            await node.delete(name)
