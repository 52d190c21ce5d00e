"""One node of this machine: a kubelet on its Docker engine and a bridge of its own, against an API server in this process."""

from __future__ import annotations

import asyncio
import io
import platform
import tarfile
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cluster.apiserver.apiserver import ApiServer
from cluster.apiserver.http import Identity
from cluster.base.clock import SystemClock
from cluster.base.entropy import SystemEntropy
from cluster.base.http_client import HttpClient, UnixConnector
from cluster.base.tasks import Supervisor
from cluster.client.transport import Transport
from cluster.kubelet.host import SystemHost
from cluster.kubelet.kubelet import Kubelet
from cluster.kubelet.network.bridge import BridgeNetwork, BridgeSettings
from cluster.kubelet.probe_runners import NetworkProbeRunner
from cluster.kubelet.runtime import namespaces
from cluster.kubelet.runtime.api import Container
from cluster.kubelet.runtime.docker import DockerEngine
from cluster.kubelet.runtime.docker_api import DockerApi
from cluster.kubelet.runtime.docker_images import DockerImages, NoCredentials
from cluster.kubelet.runtime.docker_streams import DockerStreams
from cluster.kubelet.runtime.sandbox import PoolSettings, SandboxPool
from cluster.kubelet.security import PodPolicy
from cluster.kubelet.settings import KubeletSettings
from cluster.kubelet.volumes.mounts import SystemMounter
from cluster.machinery.objects import Key, Obj
from cluster.resources.builtin import PODS
from tests.apiservers import ADMIN, running

APPLETS = ("sh", "hostname", "sleep", "cat", "echo", "ip", "nc", "httpd", "env", "id", "ls", "wget", "mount", "grep")
DEADLINE_S = 60.0
SUBNET = "10.253.77.0/24"


class Said:
    """A Recorder that keeps what it was told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def event(self, obj: Obj, type_: str, reason: str, message: str) -> None:
        self.events.append((reason, message))


@dataclass(slots=True)
class DockerNode:
    """The node under test.  `restart` is the agent's; containers go on."""

    cluster_id: str
    root: Path
    server: ApiServer
    api: Transport
    engine: DockerEngine
    images: DockerImages
    streams: DockerStreams
    image: str
    network: BridgeNetwork
    said: Said = field(default_factory=Said)
    supervisor: Supervisor = field(default_factory=lambda: Supervisor(SystemClock()))
    kubelet: Kubelet | None = None

    def pool(self) -> SandboxPool:
        return SandboxPool(
            PoolSettings(self.cluster_id, self.root, platform.machine()),
            engine=self.engine,
            images=self.images,
            host_names=namespaces,
            entropy=SystemEntropy(),
        )

    async def start(self, *, policy: PodPolicy | None = None) -> None:
        """Start a fresh agent on whatever is there."""
        self.network = BridgeNetwork(BridgeSettings(self.cluster_id, SUBNET))
        self.kubelet = Kubelet(
            settings=KubeletSettings(
                node_name="n1", root_dir=self.root / "kubelet", policy=policy or PodPolicy(), orphan_quarantine_s=0
            ),
            transport=self.server.transport(Identity("system:node:n1", ("system:nodes", "system:authenticated"))),
            cache=self.server.cache(),
            engine=self.engine,
            streams=self.streams,
            images=self.images,
            sandboxes=self.pool(),
            network=self.network,
            probe_runner=NetworkProbeRunner(self.streams),
            host=SystemHost(),
            mounter=SystemMounter(),
            clock=SystemClock(),
            entropy=SystemEntropy(),
            supervisor=self.supervisor,
            recorder=self.said,
        )
        await self.kubelet.start()

    async def stop(self) -> None:
        if self.kubelet is not None:
            await self.kubelet.stop()
            self.kubelet = None

    async def create(self, name: str, *containers: dict[str, Any], **spec: Any) -> Obj:
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
            "spec": {
                "nodeName": "n1",
                "terminationGracePeriodSeconds": 1,
                "automountServiceAccountToken": False,
                "containers": [{"name": "app", "image": self.image, **container} for container in containers],
                **spec,
            },
        }
        return await self.api.create(PODS, body)

    async def pod(self, name: str) -> Obj:
        return await self.api.get(PODS, Key("default", name))

    async def until(self, name: str, holds: Callable[[Obj], bool]) -> Obj:
        """The pod once it is as wanted.  Raises AssertionError after DEADLINE_S."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            pod = await self.pod(name)
            if holds(pod):
                return pod
            if time.monotonic() > deadline:
                raise AssertionError(f"it never came to that: {pod['status']} {self.said.events[-8:]}")
            await asyncio.sleep(0.05)

    async def containers(self) -> list[Container]:
        """Pods' containers, sandboxes left out, by name."""
        found = [c for c in await self.engine.list() if "io.kubernetes.container.name" in c.labels]
        return sorted(found, key=lambda c: c.name)

    async def output(self, container_id: str) -> str:
        chunks = self.streams.logs(container_id, follow=False, since=None, tail_lines=None, timestamps=False)
        return b"".join([chunk.data async for chunk in chunks]).decode()


def busybox_tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add("/bin/busybox", "bin/busybox")
        for name in APPLETS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        for name in ("tmp", "etc"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o777
            archive.addfile(directory)
    return buffer.getvalue()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[DockerNode]:
    cluster_id = f"kl-{uuid.uuid4().hex[:10]}"
    client = HttpClient(UnixConnector("/var/run/docker.sock"))
    docker = DockerApi(client)
    engine = DockerEngine(docker, cluster_id=cluster_id, set_hostname=namespaces.set_hostname)
    images = DockerImages(docker, credentials=NoCredentials())
    image = f"reconciler.local/{cluster_id}/busybox:1"
    await images.import_tar(image, busybox_tar(), changes=('CMD ["sleep", "1d"]',))
    async with running(clock=SystemClock()) as server:
        network = BridgeNetwork(BridgeSettings(cluster_id, SUBNET))
        machine = DockerNode(
            cluster_id, tmp_path, server, server.transport(ADMIN), engine, images, DockerStreams(docker), image, network
        )
        try:
            await machine.start()
            yield machine
        finally:
            await machine.stop()
            await machine.supervisor.stop()
            for container in await engine.list():
                await engine.remove(container.id)
            await machine.pool().purge()
            await machine.network.purge()
            await images.remove(image)
            await client.close()
            _unmount_all(tmp_path)


def _unmount_all(root: Path) -> None:
    """What a failed test left mounted."""
    from cluster.kubelet.volumes.mounts import SystemMounter

    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    for path in sorted((line.split(" ")[4] for line in lines), reverse=True):
        if path.startswith(f"{root}/"):
            SystemMounter().unmount(Path(path))
