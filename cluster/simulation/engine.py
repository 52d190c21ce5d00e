"""A container engine, image store, sandboxes and pod network that exist only in memory, for `--runtime simulated` and tests.

Containers do what their image's `Behaviour` says: run for ever or for a time, ignore the stop signal, print, answer commands.
Nothing here is random and nothing waits except by the Clock.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from cluster.base.clock import Clock
from cluster.client.node_channel import Chunk, ExecSession
from cluster.kubelet.network.addresses import AddressPool, NoFreeAddress
from cluster.kubelet.runtime.api import (
    Container,
    ContainerSpec,
    EngineError,
    EngineEvent,
    EngineInfo,
    EngineUnavailable,
    Execution,
    Image,
    NoSuchContainer,
    PodAddress,
    RegistryAuth,
    Sandbox,
    SandboxNeeds,
    State,
)

MANAGED = "io.reconciler.managed"
SANDBOX_IMAGE = "reconciler.local/sandbox:simulated"

EVENTS_MAX = 1000
"""Events a slow listener may be behind; beyond it the stream breaks, as a real engine's connection would."""

KILLED = 137
TERMINATED = 143


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What an image's program does once started.

    `runs_s` None is for ever; `stop_s` is how long it takes to heed TERM; `ready_s` how long until its ports answer, None
    is never.
    """

    runs_s: float | None = None
    exit_code: int = 0
    stop_s: float = 0.0
    output: bytes = b""
    start_error: str = ""
    user: str = ""
    ready_s: float | None = 0.0


@dataclass(frozen=True, slots=True)
class ExecResult:
    exit_code: int = 0
    stdout: bytes = b""
    stderr: bytes = b""


def _nothing(spec: ContainerSpec, command: Sequence[str]) -> ExecResult:
    return ExecResult()


class SimulatedEngine:
    """ContainerEngine, ContainerStreams and ImageStore over dictionaries.

    `registry` names what can be pulled; None means every image can, and runs for ever as an ordinary user.
    `on_exec` answers commands run in containers.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        registry: Mapping[str, Behaviour] | None = None,
        on_exec: Callable[[ContainerSpec, Sequence[str]], ExecResult] = _nothing,
        cpu_count: int = 4,
        memory_bytes: int = 8 << 30,
    ) -> None:
        self._clock = clock
        self._registry = registry
        self._on_exec = on_exec
        self._cpu_count = cpu_count
        self._memory_bytes = memory_bytes
        self._containers: dict[str, Container] = {}
        self._specs: dict[str, ContainerSpec] = {}
        self._images: dict[str, Image] = {}
        self._listeners: list[asyncio.Queue[EngineEvent]] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._made = 0
        self.available = True
        self.delay_s = 0.0
        """How long every call takes."""
        self.calls: list[str] = []
        """Every change asked for, as `verb name`, in order."""

    # What tests and scenarios do to it.

    def add_image(self, name: str, *, user: str = "") -> Image:
        """Put an image into the local store."""
        image = Image(id=f"sha256:{_hex(name)}", tags=(name,), digests=(), size_bytes=1 << 20, user=user)
        self._images[name] = image
        return image

    def finish(self, container_id: str, exit_code: int = 0, *, oom_killed: bool = False) -> None:
        """The container's program ends by itself."""
        self._end(container_id, exit_code, oom_killed=oom_killed)

    def spec(self, container_id: str) -> ContainerSpec:
        return self._specs[self._known(container_id).id]

    def container(self, container_id: str) -> Container:
        return self._known(container_id)

    def behaviour(self, container_id: str) -> Behaviour:
        return self._behaviour(self._known(container_id).image)

    async def close(self) -> None:
        """End the timers of containers that run for a time."""
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ContainerEngine

    async def info(self) -> EngineInfo:
        await self._reach()
        return EngineInfo(
            name="simulated",
            version="1.0.0",
            cpu_count=self._cpu_count,
            memory_bytes=self._memory_bytes,
            kernel="simulated",
            operating_system="Simulated Linux",
            architecture="x86_64",
            data_root="/var/lib/simulated",
        )

    async def list(self) -> Sequence[Container]:
        await self._reach()
        return [self._containers[key] for key in sorted(self._containers)]

    async def create(self, spec: ContainerSpec) -> str:
        await self._reach()
        labels = {**spec.labels, MANAGED: "simulated"}
        for container in self._containers.values():
            if container.name == spec.name:
                if dict(container.labels) == labels:
                    return container.id
                raise EngineError("CreateContainerError", f"the name {spec.name!r} is in use")
        image = self._images.get(spec.image)
        if image is None:
            raise EngineError("CreateContainerError", f"no such image: {spec.image}")
        self._made += 1
        container_id = f"{self._made:08x}{_hex(spec.name)}"[:64]
        self._containers[container_id] = Container(
            id=container_id,
            name=spec.name,
            image=spec.image,
            image_id=image.id,
            labels=labels,
            state=State.CREATED,
            created_at=self._clock.now(),
        )
        self._specs[container_id] = spec
        self.calls.append(f"create {spec.name}")
        return container_id

    async def start(self, container_id: str) -> None:
        await self._reach()
        container = self._known(container_id)
        if container.state is State.RUNNING:
            return
        behaviour = self._behaviour(container.image)
        self.calls.append(f"start {container.name}")
        if behaviour.start_error:
            raise EngineError("RunContainerError", behaviour.start_error)
        self._containers[container_id] = replace(
            container, state=State.RUNNING, pid=1000 + self._made, started_at=self._clock.now(), finished_at=None
        )
        self._tell(container_id, "start")
        if behaviour.runs_s is not None:
            self._tasks[container_id] = asyncio.create_task(
                self._run_out(container_id, behaviour.runs_s, behaviour.exit_code), name=f"simulated {container.name}"
            )

    async def stop(self, container_id: str, *, grace_s: float) -> None:
        await self._reach()
        container = self._known(container_id)
        if container.state is not State.RUNNING:
            return
        self.calls.append(f"stop {container.name}")
        stop_s = self._behaviour(container.image).stop_s
        if grace_s <= 0 or stop_s > grace_s:
            if grace_s > 0:
                await self._clock.sleep(grace_s)
            self._end(container_id, KILLED)
            return
        if stop_s > 0:
            await self._clock.sleep(stop_s)
        self._end(container_id, TERMINATED)

    async def remove(self, container_id: str) -> None:
        await self._reach()
        container = self._containers.get(container_id)
        if container is None:
            return
        if container.state is State.RUNNING:
            self._end(container_id, KILLED)
        self.calls.append(f"remove {container.name}")
        self._tell(container_id, "destroy")
        del self._containers[container_id], self._specs[container_id]

    async def rename(self, container_id: str, name: str) -> None:
        await self._reach()
        self._containers[container_id] = replace(self._known(container_id), name=name)

    async def events(self) -> AsyncIterator[EngineEvent]:
        self._check_available()
        queue: asyncio.Queue[EngineEvent] = asyncio.Queue(EVENTS_MAX + 1)
        self._listeners.append(queue)
        try:
            while True:
                event = await queue.get()
                if queue.qsize() >= EVENTS_MAX:
                    raise EngineUnavailable("the listener is too slow")
                yield event
        finally:
            self._listeners.remove(queue)

    # ContainerStreams

    async def logs(
        self, container_id: str, *, follow: bool, since: datetime | None, tail_lines: int | None, timestamps: bool
    ) -> AsyncIterator[Chunk]:
        container = self._known(container_id)
        started = container.started_at
        lines = self._behaviour(container.image).output.splitlines(keepends=True) if started else []
        if since is not None and started is not None and started < since:
            lines = []
        if tail_lines is not None:
            lines = lines[len(lines) - min(tail_lines, len(lines)) :]
        stamp = b"" if started is None or not timestamps else started.strftime("%Y-%m-%dT%H:%M:%S.%fZ ").encode()
        for line in lines:
            yield Chunk(1, stamp + line)
        while follow and (current := self._containers.get(container_id)) and current.state is State.RUNNING:
            await self._clock.sleep(1)

    async def exec(
        self, container_id: str, command: Sequence[str], *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> Execution:
        if self._known(container_id).state is not State.RUNNING:
            raise EngineError("ContainerNotRunning", "container not running")
        return _Finished(self._on_exec(self._specs[container_id], tuple(command)))

    async def attach(self, container_id: str, *, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> ExecSession:
        container = self._known(container_id)
        if container.state is not State.RUNNING:
            raise EngineError("ContainerNotRunning", "container not running")
        return _Finished(ExecResult(stdout=self._behaviour(container.image).output))

    # ImageStore

    async def find(self, image: str) -> Image | None:
        await self._reach()
        return self._images.get(image)

    async def pull(self, image: str, auth: Sequence[RegistryAuth]) -> Image:
        await self._reach()
        self.calls.append(f"pull {image}")
        if self._registry is not None and image not in self._registry:
            raise EngineError("ErrImagePull", f"manifest for {image} not found: manifest unknown")
        return self.add_image(image, user=self._behaviour(image).user)

    # Inside

    def _behaviour(self, image: str) -> Behaviour:
        return (self._registry or {}).get(image, _UNKNOWN)

    def _known(self, container_id: str) -> Container:
        if container_id not in self._containers:
            raise NoSuchContainer(container_id)
        return self._containers[container_id]

    def _check_available(self) -> None:
        if not self.available:
            raise EngineUnavailable("the simulated engine is switched off")

    async def _reach(self) -> None:
        """What every call does first: take its time, and find the engine there."""
        self._check_available()
        if self.delay_s > 0:
            await self._clock.sleep(self.delay_s)
            self._check_available()

    async def _run_out(self, container_id: str, runs_s: float, exit_code: int) -> None:
        await self._clock.sleep(runs_s)
        self._tasks.pop(container_id, None)
        self._end(container_id, exit_code)

    def _end(self, container_id: str, exit_code: int, *, oom_killed: bool = False) -> None:
        container = self._containers.get(container_id)
        if container is None or container.state is not State.RUNNING:
            return
        if timer := self._tasks.pop(container_id, None):
            timer.cancel()
        self._containers[container_id] = replace(
            container,
            state=State.EXITED,
            pid=0,
            exit_code=exit_code,
            oom_killed=oom_killed,
            finished_at=self._clock.now(),
        )
        self._tell(container_id, "die")

    def _tell(self, container_id: str, action: str) -> None:
        event = EngineEvent(container_id, action, self._containers[container_id].labels)
        for queue in self._listeners:
            if not queue.full():
                queue.put_nowait(event)


_UNKNOWN = Behaviour(user="65532:65532")
"""Of images nobody described: what is not there can harm nobody, so that pods that must not run as root do run."""


class SimulatedSandboxes:
    """Sandboxes as containers of a SimulatedEngine: they can be listed, stopped and lost like real ones."""

    def __init__(self, engine: SimulatedEngine) -> None:
        self._engine = engine
        self._claimed: dict[str, Sandbox] = {}
        self._attempts: dict[str, int] = {}

    async def adopt(self) -> Sequence[Sandbox]:
        for container in await self._engine.list():
            if container.image == SANDBOX_IMAGE and container.state is State.RUNNING:
                uid = container.labels.get("io.reconciler.sandbox.pod", "")
                self._claimed[uid] = Sandbox(container.id, container.name, uid, container.pid)
        return [self._claimed[uid] for uid in sorted(self._claimed)]

    async def acquire(
        self, pod_uid: str, pod_namespace: str, pod_name: str, *, hostname: str, needs: SandboxNeeds
    ) -> Sandbox:
        known = self._claimed.get(pod_uid)
        if known is not None:
            try:
                if self._engine.container(known.id).state is State.RUNNING:
                    return known
                await self._engine.remove(known.id)
            except NoSuchContainer:
                pass
        if await self._engine.find(SANDBOX_IMAGE) is None:
            self._engine.add_image(SANDBOX_IMAGE)
        attempt = self._attempts[pod_uid] = self._attempts.get(pod_uid, -1) + 1
        name = f"k8s_POD_{pod_name}_{pod_namespace}_{pod_uid}_{attempt}"
        labels = {"io.reconciler.sandbox.pod": pod_uid}
        container_id = await self._engine.create(
            ContainerSpec(
                name=name,
                image=SANDBOX_IMAGE,
                labels=labels,
                hostname=hostname,
                sysctls=needs.sysctls,
                host_network=needs.host_network,
                host_pid=needs.host_pid,
                host_ipc=needs.host_ipc,
            )
        )
        await self._engine.start(container_id)
        sandbox = Sandbox(container_id, name, pod_uid, self._engine.container(container_id).pid)
        self._claimed[pod_uid] = sandbox
        return sandbox

    def joining(self, spec: ContainerSpec, sandbox: Sandbox, image: Image) -> ContainerSpec:
        return replace(spec, sandbox_id=sandbox.id)

    async def release(self, pod_uid: str) -> None:
        if sandbox := self._claimed.pop(pod_uid, None):
            await self._engine.remove(sandbox.id)

    async def fill(self) -> None:
        """Nothing is made ahead: a simulated sandbox costs nothing."""

    async def purge(self) -> None:
        for uid in sorted(self._claimed):
            await self.release(uid)


class SimulatedNetwork:
    """Addresses as the bridge gives them; no packet moves."""

    def __init__(self, cidr: str = "10.244.0.0/24") -> None:
        self._pool = AddressPool(cidr)

    async def setup(self) -> None:
        """Nothing to make."""

    async def attach(self, pod_uid: str, *, pid: int) -> PodAddress:
        try:
            return PodAddress(self._pool.allocate(pod_uid))
        except NoFreeAddress as error:
            raise EngineError("CreatePodSandboxError", str(error)) from error

    async def connect(self, port: int, *, pid: int, address: str) -> socket.socket:
        raise ConnectionRefusedError(f"nothing listens in a simulated pod, on port {port} neither")

    async def adopt(self, addresses: Mapping[str, str]) -> None:
        self._pool.adopt(addresses)

    async def detach(self, pod_uid: str) -> None:
        self._pool.release(pod_uid)

    async def purge(self) -> None:
        """Nothing was made."""

    @property
    def gateway_ip(self) -> str:
        return self._pool.gateway_ip


class _Finished:
    """An ExecSession whose command has ended; what is sent to it is ignored."""

    def __init__(self, result: ExecResult) -> None:
        self._result = result

    async def send(self, data: bytes) -> None:
        return None

    async def close_stdin(self) -> None:
        return None

    async def resize(self, width: int, height: int) -> None:
        return None

    async def output(self) -> AsyncIterator[Chunk]:
        if self._result.stdout:
            yield Chunk(1, self._result.stdout)
        if self._result.stderr:
            yield Chunk(2, self._result.stderr)

    async def wait(self) -> int:
        return self._result.exit_code

    async def close(self) -> None:
        return None

    async def kill(self) -> None:
        return None


def _hex(text: str) -> str:
    """A stable 56-digit hexadecimal name for `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:56]
