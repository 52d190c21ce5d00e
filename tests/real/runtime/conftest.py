"""A Docker engine of this machine, seen as a cluster of its own, and an image made from the host's static busybox."""

from __future__ import annotations

import io
import platform
import tarfile
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cluster.base.entropy import SystemEntropy
from cluster.base.http_client import HttpClient, UnixConnector
from cluster.kubelet.runtime import namespaces
from cluster.kubelet.runtime.api import ContainerSpec, Sandbox
from cluster.kubelet.runtime.docker import DockerEngine
from cluster.kubelet.runtime.docker_api import DockerApi
from cluster.kubelet.runtime.docker_images import DockerImages, NoCredentials
from cluster.kubelet.runtime.docker_streams import DockerStreams
from cluster.kubelet.runtime.sandbox import PoolSettings, SandboxPool

APPLETS = ("sh", "hostname", "sleep", "cat", "echo", "ip", "ping", "stty", "touch", "nc")


@dataclass(slots=True)
class Host:
    """One installation's view of this machine; `cluster_id` is unique to the test."""

    cluster_id: str
    directory: Path
    engine: DockerEngine
    images: DockerImages
    streams: DockerStreams
    image: str
    made: list[str] = field(default_factory=list)

    def pool(self, **settings: int) -> SandboxPool:
        """A pool as an agent that has just started has it; several share what exists."""
        return SandboxPool(
            PoolSettings(self.cluster_id, self.directory, platform.machine(), **settings),
            engine=self.engine,
            images=self.images,
            host_names=namespaces,
            entropy=SystemEntropy(),
        )

    async def run(self, pool: SandboxPool, sandbox: Sandbox, script: str, **fields: object) -> str:
        """Start a shell script in the sandbox; its container's id."""
        spec = ContainerSpec(
            name=f"{self.cluster_id}-app-{len(self.made)}",
            image=self.image,
            labels={},
            entrypoint=("sh", "-c", script),
            **fields,  # type: ignore[arg-type]
        )
        image = await self.images.find(self.image)
        assert image is not None
        container_id = await self.engine.create(pool.joining(spec, sandbox, image))
        self.made.append(container_id)
        await self.engine.start(container_id)
        return container_id

    async def output(self, container_id: str, *, follow: bool = True) -> str:
        """What it wrote, until it ends."""
        chunks = self.streams.logs(container_id, follow=follow, since=None, tail_lines=None, timestamps=False)
        return b"".join([chunk.data async for chunk in chunks]).decode()


def busybox_tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add("/bin/busybox", "bin/busybox")
        for name in APPLETS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
    return buffer.getvalue()


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    cluster_id = f"rt-{uuid.uuid4().hex[:10]}"
    client = HttpClient(UnixConnector("/var/run/docker.sock"))
    api = DockerApi(client)
    engine = DockerEngine(api, cluster_id=cluster_id, set_hostname=namespaces.set_hostname)
    images = DockerImages(api, credentials=NoCredentials())
    image = f"reconciler.local/{cluster_id}/busybox:1"
    await images.import_tar(image, busybox_tar(), changes=('CMD ["sh"]', "ENV FROM_IMAGE=yes", "WORKDIR /bin"))
    host = Host(cluster_id, tmp_path, engine, images, DockerStreams(api), image)
    try:
        yield host
    finally:
        for container in await engine.list():
            await engine.remove(container.id)
        await host.pool().purge()
        await images.remove(image)
        await client.close()
