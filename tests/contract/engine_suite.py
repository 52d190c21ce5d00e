"""What `cluster.kubelet.runtime.api` promises of an engine, as tests that every implementation passes.

A module of an engine defines the fixtures `engine` and `images`, and `image`, the name of an image in its store whose
program runs until it is told to stop; it inherits `EngineSuite`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from cluster.kubelet.runtime.api import (
    Container,
    ContainerEngine,
    ContainerSpec,
    ContainerStreams,
    EngineError,
    EngineEvent,
    ImageStore,
    NoSuchContainer,
    State,
)

TIMEOUT_S = 30.0


async def look(engine: ContainerEngine, container_id: str) -> Container:
    return next(one for one in await engine.list() if one.id == container_id)


async def running(engine: ContainerEngine, spec: ContainerSpec) -> str:
    container_id = await engine.create(spec)
    await engine.start(container_id)
    return container_id


@pytest.fixture
def spec(image: str, name: str) -> ContainerSpec:
    return ContainerSpec(name=name, image=image, labels={"test": "suite"})


@pytest.fixture
def name() -> str:
    """A container name nobody else uses."""
    return "suite"


class EngineSuite:
    async def test_a_container_is_created_then_running_then_exited(
        self, engine: ContainerEngine, spec: ContainerSpec
    ) -> None:
        container_id = await engine.create(spec)
        created = await look(engine, container_id)
        assert (created.state, created.pid, created.started_at) == (State.CREATED, 0, None)
        await engine.start(container_id)
        started = await look(engine, container_id)
        assert started.state is State.RUNNING
        assert started.pid > 0
        assert started.started_at is not None
        assert started.finished_at is None
        await engine.stop(container_id, grace_s=0)
        ended = await look(engine, container_id)
        assert (ended.state, ended.pid, ended.exit_code) == (State.EXITED, 0, 137)
        assert ended.finished_at is not None
        assert ended.finished_at >= started.started_at

    async def test_what_was_asked_for_can_be_read_back(self, engine: ContainerEngine, spec: ContainerSpec) -> None:
        container = await look(engine, await engine.create(spec))
        assert (container.name, container.image) == (spec.name, spec.image)
        assert container.labels["test"] == "suite"
        assert container.image_id
        assert container.created_at is not None

    async def test_creating_twice_is_creating_once(self, engine: ContainerEngine, spec: ContainerSpec) -> None:
        first = await engine.create(spec)
        assert await engine.create(spec) == first
        assert len(await engine.list()) == 1

    async def test_a_name_with_other_labels_is_refused(self, engine: ContainerEngine, spec: ContainerSpec) -> None:
        await engine.create(spec)
        other = ContainerSpec(name=spec.name, image=spec.image, labels={"test": "other"})
        with pytest.raises(EngineError) as caught:
            await engine.create(other)
        assert caught.value.reason == "CreateContainerError"

    async def test_an_absent_image_is_refused(self, engine: ContainerEngine, name: str) -> None:
        with pytest.raises(EngineError) as caught:
            await engine.create(ContainerSpec(name=name, image="reconciler.local/absent:1", labels={}))
        assert caught.value.reason == "CreateContainerError"
        assert await engine.list() == []

    async def test_starting_stopping_and_removing_can_be_repeated(
        self, engine: ContainerEngine, spec: ContainerSpec
    ) -> None:
        container_id = await running(engine, spec)
        pid = (await look(engine, container_id)).pid
        await engine.start(container_id)
        assert (await look(engine, container_id)).pid == pid
        await engine.stop(container_id, grace_s=10)
        await engine.stop(container_id, grace_s=10)
        await engine.stop(container_id, grace_s=0)
        await engine.remove(container_id)
        await engine.remove(container_id)
        assert await engine.list() == []

    async def test_removing_kills(self, engine: ContainerEngine, spec: ContainerSpec) -> None:
        await engine.remove(await running(engine, spec))
        assert await engine.list() == []

    async def test_an_unknown_container_is_said_to_be_unknown(self, engine: ContainerEngine) -> None:
        with pytest.raises(NoSuchContainer):
            await engine.start("0" * 64)
        with pytest.raises(NoSuchContainer):
            await engine.stop("0" * 64, grace_s=1)

    async def test_a_rename_is_seen(self, engine: ContainerEngine, spec: ContainerSpec) -> None:
        container_id = await engine.create(spec)
        await engine.rename(container_id, f"{spec.name}-2")
        assert (await look(engine, container_id)).name == f"{spec.name}-2"

    async def test_start_and_end_are_told(self, engine: ContainerEngine, spec: ContainerSpec) -> None:
        container_id = await engine.create(spec)
        seen: list[EngineEvent] = []

        async def listen() -> None:
            async for event in engine.events():
                seen.append(event)
                if event.action == "destroy":
                    return

        async with asyncio.timeout(TIMEOUT_S):
            task = asyncio.create_task(listen())
            await self._until_listening(engine)
            await engine.start(container_id)
            await engine.stop(container_id, grace_s=0)
            await engine.remove(container_id)
            await task
        assert [event.action for event in seen if event.container_id == container_id] == ["start", "die", "destroy"]
        assert all(event.labels["test"] == "suite" for event in seen)

    async def test_an_exited_container_cannot_be_entered(
        self, engine: ContainerEngine, streams: ContainerStreams, spec: ContainerSpec
    ) -> None:
        container_id = await engine.create(spec)
        with pytest.raises(EngineError) as caught:
            await streams.exec(container_id, ["x"], stdin=False, stdout=True, stderr=True, tty=False)
        assert caught.value.reason == "ContainerNotRunning"

    async def test_an_image_is_found_by_name_and_an_absent_one_is_none(self, images: ImageStore, image: str) -> None:
        found = await images.find(image)
        assert found is not None
        assert image in found.tags
        assert await images.find("reconciler.local/absent:1") is None

    async def test_the_machine_is_described(self, engine: ContainerEngine) -> None:
        info = await engine.info()
        assert info.cpu_count > 0
        assert info.memory_bytes > 0
        assert info.version

    async def _until_listening(self, engine: ContainerEngine) -> None:
        """Events come from now on only: give the listener's first request time to arrive."""
        for _ in range(3):
            await asyncio.sleep(0)
            await engine.info()


@contextlib.asynccontextmanager
async def emptied(engine: ContainerEngine) -> AsyncIterator[ContainerEngine]:
    """Leave no container behind."""
    try:
        yield engine
    finally:
        for container in await engine.list():
            await engine.remove(container.id)
