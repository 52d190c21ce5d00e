"""The pool's decisions, on a simulated engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.base.entropy import SeededEntropy
from cluster.kubelet.runtime.api import Container, ContainerSpec, EngineError, Image, RegistryAuth, SandboxNeeds
from cluster.kubelet.runtime.sandbox import SANDBOX, PoolSettings, SandboxPool
from cluster.simulation.engine import SimulatedEngine
from tests.clocks import SteppedClock

PLAIN = SandboxNeeds()
IMAGE = Image(id="1", tags=(), digests=(), size_bytes=0, command=("serve",))
SPEC = ContainerSpec(name="app", image="app:1", labels={})


class Engine(SimulatedEngine):
    """With the look at one container that the real engine offers."""

    fails_to_start = False

    async def inspect(self, container_id: str) -> Container:
        return self.container(container_id)

    async def start(self, container_id: str) -> None:
        if self.fails_to_start:
            raise EngineError("RunContainerError", "no room")
        await super().start(container_id)


class Images:
    """Local images that can be imported and removed."""

    def __init__(self, engine: SimulatedEngine) -> None:
        self._engine = engine
        self.removed: list[str] = []

    async def find(self, image: str) -> Image | None:
        return await self._engine.find(image)

    async def pull(self, image: str, auth: Sequence[RegistryAuth]) -> Image:
        raise AssertionError("the sandbox image is never pulled")

    async def import_tar(self, image: str, content: bytes, *, changes: Sequence[str]) -> None:
        self._engine.add_image(image)

    async def remove(self, image: str) -> None:
        self.removed.append(image)


class HostNames:
    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.fails = False

    def set_hostname(self, pid: int, name: str) -> None:
        if self.fails:
            raise OSError("no permission")
        self.names[pid] = name

    def hostname_of(self, pid: int) -> str:
        return self.names[pid]


@pytest.fixture
def engine() -> Engine:
    return Engine(clock=SteppedClock())


@pytest.fixture
def host_names() -> HostNames:
    return HostNames()


@pytest.fixture
def pool(engine: Engine, host_names: HostNames, tmp_path: Path) -> SandboxPool:
    return SandboxPool(
        PoolSettings("rt-unit", tmp_path, "x86_64", warm_min=1, warm_max=3),
        engine=engine,
        images=Images(engine),
        host_names=host_names,
        entropy=SeededEntropy(1),
    )


async def warm(engine: Engine) -> int:
    return sum("-warm-" in container.name for container in await engine.list())


async def acquire(pool: SandboxPool, number: int, needs: SandboxNeeds = PLAIN) -> str:
    sandbox = await pool.acquire(f"uid{number}", "ns", f"pod{number}", hostname=f"host{number}", needs=needs)
    return sandbox.id


async def test_the_pool_grows_with_demand_to_its_bound_and_shrinks_when_quiet(
    pool: SandboxPool, engine: Engine
) -> None:
    await pool.fill()
    assert await warm(engine) == 1
    for number in range(6):
        await acquire(pool, number)
    await pool.fill()
    assert await warm(engine) == 3
    for _ in range(5):
        await pool.fill()
    assert await warm(engine) == 3  # nothing is thrown away
    for number in range(6, 9):
        await acquire(pool, number)
    await pool.fill()
    assert await warm(engine) == 1


async def test_a_warm_sandbox_is_claimed_by_its_name(pool: SandboxPool, engine: Engine, host_names: HostNames) -> None:
    await pool.fill()
    container = engine.container(await acquire(pool, 1))
    assert container.name == "k8s_POD_pod1_ns_uid1_0"
    assert container.labels[SANDBOX] == "warm"
    assert host_names.names == {container.pid: "host1"}


@pytest.mark.parametrize(
    "needs",
    [
        SandboxNeeds(sysctls={"net.core.somaxconn": "5"}),
        SandboxNeeds(host_network=True),
        SandboxNeeds(host_pid=True),
        SandboxNeeds(host_ipc=True),
    ],
)
async def test_any_need_makes_a_sandbox_of_its_own(pool: SandboxPool, engine: Engine, needs: SandboxNeeds) -> None:
    await pool.fill()
    spec = engine.spec(await acquire(pool, 1, needs))
    assert (spec.sysctls, spec.host_network, spec.host_pid, spec.host_ipc) == (
        needs.sysctls,
        needs.host_network,
        needs.host_pid,
        needs.host_ipc,
    )
    assert spec.hostname == ("" if needs.host_network else "host1")
    assert await warm(engine) == 1


async def test_only_containers_that_join_a_warm_sandbox_wait_for_their_name(pool: SandboxPool) -> None:
    await pool.fill()
    first = await pool.acquire("u1", "ns", "a", hostname="h", needs=PLAIN)
    second = await pool.acquire("u2", "ns", "b", hostname="h", needs=PLAIN)
    waiting, plain = pool.joining(SPEC, first, IMAGE), pool.joining(SPEC, second, IMAGE)
    assert waiting.sandbox_id == first.id
    assert waiting.entrypoint == ("/dev/.reconciler-start", "h", "serve")
    assert waiting.mounts[-1].read_only
    assert (plain.sandbox_id, plain.entrypoint, plain.mounts, plain.hostname) == (second.id, None, (), "")


async def test_the_name_is_in_the_environment_too_unless_the_pod_says_otherwise(pool: SandboxPool) -> None:
    await pool.fill()
    sandbox = await pool.acquire("u1", "ns", "a", hostname="h", needs=PLAIN)
    assert pool.joining(replace(SPEC, env=("A=1",)), sandbox, IMAGE).env == ("HOSTNAME=h", "A=1")
    assert pool.joining(replace(SPEC, env=("HOSTNAME=mine",)), sandbox, IMAGE).env == ("HOSTNAME=mine",)


async def test_a_released_sandbox_cannot_be_joined(pool: SandboxPool) -> None:
    sandbox = await pool.acquire("u1", "ns", "a", hostname="h", needs=PLAIN)
    await pool.release("u1")
    with pytest.raises(EngineError, match="gone"):
        pool.joining(SPEC, sandbox, IMAGE)


async def test_a_sandbox_that_cannot_be_named_or_started_is_not_left_behind(
    pool: SandboxPool, engine: Engine, host_names: HostNames
) -> None:
    await pool.fill()
    host_names.fails = True
    with pytest.raises(EngineError) as caught:
        await acquire(pool, 1)
    assert caught.value.reason == "CreatePodSandboxError"
    engine.fails_to_start = True
    with pytest.raises(EngineError):
        await acquire(pool, 2)
    assert await engine.list() == []


async def test_purging_removes_sandboxes_image_and_program(pool: SandboxPool, engine: Engine, tmp_path: Path) -> None:
    await pool.fill()
    await acquire(pool, 1)
    await pool.purge()
    assert await engine.list() == []
    assert list(tmp_path.iterdir()) == []
