"""A node for tests: the kubelet on a simulated engine, against the real API server over a memory store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cluster.apiserver.apiserver import ApiServer
from cluster.apiserver.http import Identity
from cluster.base.entropy import SeededEntropy
from cluster.base.tasks import Supervisor
from cluster.client.cache import Cache, Change
from cluster.client.transport import Transport
from cluster.kubelet.kubelet import Kubelet
from cluster.kubelet.probe_runners import NetworkProbeRunner
from cluster.kubelet.runtime.api import ContainerSpec
from cluster.kubelet.security import PodPolicy
from cluster.kubelet.settings import KubeletSettings
from cluster.kubelet.volumes.mounts import NoMounter
from cluster.machinery.errors import ServiceUnavailable
from cluster.machinery.objects import Key, Obj
from cluster.machinery.resource import Resource
from cluster.machinery.selectors import Selector
from cluster.resources.builtin import PODS
from cluster.simulation.engine import Behaviour, ExecResult, SimulatedEngine, SimulatedNetwork, SimulatedSandboxes
from cluster.simulation.host import SimulatedHost
from tests.apiservers import ADMIN, running
from tests.clocks import SteppedClock

STEPS_MAX = 400


class Said:
    """A Recorder that keeps what it was told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def event(self, obj: Obj, type_: str, reason: str, message: str) -> None:
        self.events.append((reason, message))

    @property
    def reasons(self) -> list[str]:
        return [reason for reason, _ in self.events]


class Line:
    """A Transport that can be cut: what is asked while it is, is answered like a server that cannot be reached."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.cut = False

    def __getattr__(self, verb: str) -> Any:
        real = getattr(self._transport, verb)

        async def call(*args: Any, **kwargs: Any) -> Any:
            if self.cut:
                raise ServiceUnavailable("the line is cut")
            return await real(*args, **kwargs)

        return call


class Blind:
    """A Cache that has not read anything yet, and never will."""

    async def sync(self, resources: Sequence[Resource]) -> None:
        await asyncio.get_running_loop().create_future()

    def get(self, resource: Resource, key: Key) -> Obj | None:
        return None

    def versions(self, resource: Resource, keys: Iterable[Key]) -> Sequence[str]:
        return ["" for _ in keys]

    def list(self, resource: Resource, *, namespace: str = "", selector: Selector | None = None) -> Sequence[Obj]:
        return ()

    def owned_by(self, owner: Obj, resource: Resource) -> Sequence[Obj]:
        return ()

    def on_node(self, node: str, resource: Resource) -> Sequence[Obj]:
        return ()

    def revision(self, resource: Resource) -> int:
        return 0

    def subscribe(self, resource: Resource, handler: Callable[[Change], None]) -> Callable[[], None]:
        return lambda: None


class TestNode:
    """One node.  `restart` is the agent's: the engine and its containers go on."""

    __test__ = False

    def __init__(self, server: ApiServer, clock: SteppedClock, root: Path, registry: dict[str, Behaviour]) -> None:
        self.clock = clock
        self.failing: set[str] = set()
        """Commands that fail in containers."""
        self.engine = SimulatedEngine(clock=clock, registry=registry, on_exec=self._answer)
        self.said = Said()
        self.api: Transport = server.transport(ADMIN)
        self._server = server
        self._root = root
        self._supervisor = Supervisor(clock)
        self.host = SimulatedHost("n1", "192.0.2.1")
        self.line = Line(server.transport(Identity("system:node:n1", ("system:nodes", "system:authenticated"))))
        self.kubelet = self._make(server.cache())

    def _make(self, cache: Cache) -> Kubelet:
        return Kubelet(
            settings=KubeletSettings(node_name="n1", root_dir=self._root, node_ip="192.0.2.1", policy=PodPolicy()),
            transport=self.line,
            cache=cache,
            engine=self.engine,
            streams=self.engine,
            images=self.engine,
            sandboxes=SimulatedSandboxes(self.engine),
            network=SimulatedNetwork(),
            probe_runner=NetworkProbeRunner(self.engine),
            host=self.host,
            mounter=NoMounter(),
            clock=self.clock,
            entropy=SeededEntropy(2),
            supervisor=self._supervisor,
            recorder=self.said,
        )

    def _answer(self, spec: ContainerSpec, command: Sequence[str]) -> ExecResult:
        return ExecResult(exit_code=1 if command[0] in self.failing else 0)

    async def restart(self, *, cache: Cache | None = None) -> None:
        await self.kubelet.stop()
        self.kubelet = self._make(cache or self._server.cache())
        await self.kubelet.start()

    async def stop(self) -> None:
        await self.kubelet.stop()
        await self._supervisor.stop()
        await self.engine.close()

    async def create(self, pod: dict[str, Any]) -> Obj:
        body = {name: value for name, value in pod.items() if name != "status"}
        body["metadata"] = {"name": pod["metadata"]["name"], "namespace": "default"}
        return await self.api.create(PODS, body)

    async def pod(self, name: str = "web") -> Obj:
        return await self.api.get(PODS, Key("default", name))

    async def until(self, holds: Callable[[Obj], bool], name: str = "web") -> Obj:
        """Step time until the pod is as wanted.  Raises AssertionError after STEPS_MAX seconds."""
        for _ in range(STEPS_MAX):
            pod = await self.pod(name)
            if holds(pod):
                return pod
            await self.step()
        raise AssertionError(
            f"it never came to that: {pod['status']}, {self.engine.calls[-20:]}, {self.said.events[-5:]}"
        )

    async def step(self, seconds: float = 1.0) -> None:
        await self.clock.step(seconds)
        for _ in range(30):
            await asyncio.sleep(0)


@asynccontextmanager
async def node(root: Path, **images: Behaviour) -> AsyncIterator[TestNode]:
    """A started node whose registry holds `busybox:1` and `images` (by name, tagged `:1`)."""
    clock = SteppedClock()
    clock.time = 1_000_000.0
    async with running(clock=clock) as server:
        registry = {"busybox:1": Behaviour()} | {f"{name}:1": behaviour for name, behaviour in images.items()}
        made = TestNode(server, clock, root, registry)
        await made.kubelet.start()
        try:
            yield made
        finally:
            await made.stop()
