"""One node of this machine: a kubelet on its Docker engine and a bridge of its own, against an API server in this process."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import platform
import tarfile
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from loguru import logger

from cluster.apiserver.admission.pod_security import PodSecurity
from cluster.apiserver.apiserver import ApiServer
from cluster.apiserver.http import Identity
from cluster.base.clock import SystemClock
from cluster.base.entropy import SystemEntropy
from cluster.base.http_client import HttpClient, UnixConnector
from cluster.base.tasks import Supervisor
from cluster.client.node_channel import ContainerRef, LogOptions, NodeChannel
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
from cluster.kubelet.volumes.mounts import SystemMounter, mounts_below
from cluster.machinery.errors import NotFound
from cluster.machinery.objects import Key, Obj, name_of, uid_of
from cluster.resources.builtin import PODS
from tests.apiservers import ADMIN, running

APPLETS = (
    "sh", "hostname", "sleep", "cat", "echo", "ip", "nc", "httpd", "env", "id", "ls", "wget", "mount", "grep", "stat",
    "readlink", "tail", "dd", "kill", "ps", "stty", "ln", "mkdir", "touch", "tee",
)  # fmt: skip
SOCKET = "/var/run/docker.sock"
DEADLINE_S = 60.0
LENIENT = PodSecurity(exempt=("default",))
"""Admission lets everything through: what a node refuses, it refuses itself."""
SUBNET, SHARED_SUBNET = (f"10.{net}.{os.getpid() % 256}.0/24" for net in (252, 253))
"""Of this process only, as several may test on one machine."""


class Said:
    """A Recorder that keeps what it was told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self._by_pod: dict[str, list[tuple[str, str]]] = {}

    def event(self, obj: Obj, type_: str, reason: str, message: str) -> None:
        self.events.append((reason, message))
        self._by_pod.setdefault(name_of(obj), []).append((reason, message))

    def of(self, pod: str) -> list[tuple[str, str]]:
        """Reason and message of each event of one pod."""
        return self._by_pod.get(pod, [])


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
    subnet: str
    network: BridgeNetwork
    said: Said = field(default_factory=Said)
    supervisor: Supervisor = field(default_factory=lambda: Supervisor(SystemClock()))
    kubelet: Kubelet | None = None
    logged: list[str] = field(default_factory=list)

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
        self.network = BridgeNetwork(BridgeSettings(self.cluster_id, self.subnet))
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
                "containers": [{"name": "app", "image": self.image, **container} for container in containers or ({},)],
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

    async def delete(self, name: str, *, within_s: float = 30.0) -> float:
        """Delete the pod; the seconds until the API and the host have nothing of it left."""
        pod = await self.pod(name)
        began = time.monotonic()
        await self.api.delete(PODS, Key("default", name))
        while time.monotonic() - began < within_s:
            try:
                await self.pod(name)
            except NotFound:
                if not self.directory(pod).exists():
                    return time.monotonic() - began
            await asyncio.sleep(0.05)
        raise AssertionError(f"something of pod {name} is left: {self.said.of(name)}")

    def directory(self, pod: Obj) -> Path:
        """Where the pod's files lie on the host."""
        return self.root / "kubelet" / "pods" / uid_of(pod)

    @property
    def channel(self) -> NodeChannel:
        assert self.kubelet is not None
        return self.kubelet.channel()

    async def run(self, pod: Obj, *command: str, container: str = "app") -> str:
        """What a command prints in a container of the pod; it must succeed."""
        code, output = await self.outcome(pod, *command, container=container)
        assert code == 0, output
        return output

    async def sh(self, pod: Obj, script: str, *, container: str = "app") -> str:
        return await self.run(pod, "sh", "-c", script, container=container)

    async def outcome(self, pod: Obj, *command: str, container: str = "app") -> tuple[int, str]:
        """Exit code and output of a command in a container of the pod."""
        session = await self.channel.exec(
            ref(pod, container), command, stdin=False, stdout=True, stderr=True, tty=False
        )
        output = b"".join([chunk.data async for chunk in session.output()])
        code = await session.wait()
        await session.close()
        return code, output.decode()

    async def logs(self, pod: Obj, container: str = "app", **options: Any) -> str:
        chunks = self.channel.logs(ref(pod, container), LogOptions(**options))
        return b"".join([data async for data in chunks]).decode()

    async def says(self, pod: Obj, output: str, container: str = "app") -> None:
        """The container has printed exactly this, or soon will have: it may be ready before it has."""
        deadline = time.monotonic() + DEADLINE_S
        while (printed := await self.logs(pod, container)) != output:
            assert time.monotonic() < deadline, printed
            await asyncio.sleep(0.05)

    async def containers(self) -> list[Container]:
        """Pods' containers, sandboxes left out, by name."""
        found = [c for c in await self.engine.list() if "io.kubernetes.container.name" in c.labels]
        return sorted(found, key=lambda c: c.name)


def ref(pod: Obj, container: str = "app") -> ContainerRef:
    return ContainerRef("default", name_of(pod), uid_of(pod), container)


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


@asynccontextmanager
async def docker_node(root: Path, subnet: str, policy: PodPolicy, socket: str = SOCKET) -> AsyncIterator[DockerNode]:
    """A started node; nothing of it is left afterwards."""
    cluster_id = f"kl-{uuid.uuid4().hex[:10]}"
    client = HttpClient(UnixConnector(socket))
    docker = DockerApi(client)
    engine = DockerEngine(docker, cluster_id=cluster_id, set_hostname=namespaces.set_hostname)
    images = DockerImages(docker, credentials=NoCredentials())
    image = f"reconciler.local/{cluster_id}/busybox:1"
    await images.import_tar(image, busybox_tar(), changes=('CMD ["sleep", "1d"]',))
    streams = DockerStreams(docker)
    async with running(clock=SystemClock(), pod_security=LENIENT) as server:
        network = BridgeNetwork(BridgeSettings(cluster_id, subnet))
        api = server.transport(ADMIN)
        machine = DockerNode(cluster_id, root, server, api, engine, images, streams, image, subnet, network)
        sink = logger.add(lambda message: machine.logged.append(f"{message} {message.record['extra']}"), level=0)
        try:
            await machine.start(policy=policy)
            yield machine
        finally:
            await machine.stop()
            await machine.supervisor.stop()
            with contextlib.suppress(ValueError):  # tests of the log itself replace every sink
                logger.remove(sink)
            await asyncio.gather(*(engine.remove(container.id) for container in await engine.list()))
            await machine.pool().purge()
            await machine.network.purge()
            await images.remove(image)
            await client.close()
            for path in mounts_below(root):
                SystemMounter().unmount(path)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[DockerNode]:
    """A node for one test, that may stop and start it."""
    async with docker_node(tmp_path, SUBNET, PodPolicy()) as machine:
        yield machine


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DockerNode]:
    """One node for all tests that only add pods to it.  Of the host, pods may have `root/allowed`."""
    root = tmp_path_factory.mktemp("shared")
    (root / "allowed").mkdir()
    async with docker_node(root, SHARED_SUBNET, PodPolicy(host_paths=(str(root / "allowed"),))) as machine:
        yield machine
