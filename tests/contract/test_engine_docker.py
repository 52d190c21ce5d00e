"""A real Docker engine passes the suite; its image is the sandbox program, so that nothing else is needed."""

from __future__ import annotations

import asyncio
import platform
import uuid
from collections.abc import AsyncIterator

import pytest

from cluster.base.http_client import HttpClient, UnixConnector
from cluster.kubelet.runtime import namespaces
from cluster.kubelet.runtime.api import ContainerSpec
from cluster.kubelet.runtime.docker import DockerEngine
from cluster.kubelet.runtime.docker_api import DockerApi
from cluster.kubelet.runtime.docker_images import DockerImages, NoCredentials
from cluster.kubelet.runtime.docker_streams import DockerStreams
from cluster.kubelet.runtime.sandbox_image import CHANGES, sandbox_image
from tests.contract.engine_suite import EngineSuite, emptied, running, spec

__all__ = ["spec"]

pytestmark = pytest.mark.needs("docker")


@pytest.fixture
def name() -> str:
    return f"rt-suite-{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def api() -> AsyncIterator[DockerApi]:
    client = HttpClient(UnixConnector("/var/run/docker.sock"))
    yield DockerApi(client)
    await client.close()


@pytest.fixture
async def engine(api: DockerApi, name: str) -> AsyncIterator[DockerEngine]:
    async with emptied(DockerEngine(api, cluster_id=name, set_hostname=namespaces.set_hostname)) as engine:
        yield engine


@pytest.fixture
def streams(api: DockerApi) -> DockerStreams:
    return DockerStreams(api)


@pytest.fixture
def images(api: DockerApi) -> DockerImages:
    return DockerImages(api, credentials=NoCredentials())


@pytest.fixture
async def image(images: DockerImages, name: str, engine: DockerEngine) -> AsyncIterator[str]:
    made = sandbox_image(name, platform.machine())
    await images.import_tar(made.name, made.tar(), changes=CHANGES)
    yield made.name
    for container in await engine.list():
        await engine.remove(container.id)
    await images.remove(made.name)


class TestDocker(EngineSuite):
    async def test_a_command_is_run_with_its_output_and_exit_code(
        self, engine: DockerEngine, streams: DockerStreams, spec: ContainerSpec
    ) -> None:
        container_id = await running(engine, spec)
        container = await engine.inspect(container_id)
        command = ["/sandbox", container_id[:12], "no-such-program"]
        session = await streams.exec(container_id, command, stdin=False, stdout=True, stderr=True, tty=False)
        output = [chunk async for chunk in session.output()]
        assert await session.wait() == 127
        await session.close()
        assert {chunk.stream for chunk in output} == {2}
        assert b"no-such-program" in b"".join(chunk.data for chunk in output)
        assert container.error == ""

    async def test_the_containers_of_another_cluster_are_not_seen(
        self, engine: DockerEngine, api: DockerApi, spec: ContainerSpec
    ) -> None:
        await engine.create(spec)
        other = DockerEngine(api, cluster_id="rt-suite-other", set_hostname=namespaces.set_hostname)
        assert await other.list() == []

    async def test_pause_ends_with_zero_when_asked_to(self, engine: DockerEngine, spec: ContainerSpec) -> None:
        container_id = await running(engine, spec)
        await engine.stop(container_id, grace_s=10)
        assert (await engine.inspect(container_id)).exit_code == 0

    async def test_a_restart_by_others_is_seen_while_events_are_followed(
        self, engine: DockerEngine, api: DockerApi, spec: ContainerSpec
    ) -> None:
        container_id = await running(engine, spec)
        events = engine.events()
        listening = asyncio.ensure_future(anext(events))
        async with asyncio.timeout(30):
            while not engine._following:  # noqa: ASYNC110  there is no event for "now listening"
                await asyncio.sleep(0.005)
            before = await engine.list()
            assert await engine.list() == before
            await api.call("POST", f"/containers/{container_id}/restart", query={"t": "0"})
            event = await listening
            while event.action != "start":
                event = await anext(events)
            (after,) = await engine.list()
        await events.aclose()  # type: ignore[attr-defined]
        assert after.pid != before[0].pid
        assert after.started_at != before[0].started_at
