"""Pods' sandboxes: containers that hold a pod's namespaces, some made ahead of need so that a pod starts at once.

A warm sandbox becomes a pod's by a rename (labels cannot change) and by naming its UTS namespace; its name then says
whose it is, which is all that a restarted agent needs.  A joining container has a UTS namespace of its own, named after
the sandbox at creation: for a warm one it starts through the sandbox program, which waits until the engine has given it
the pod's name.  Pods that need anything special of their sandbox get one made for them (cold).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from loguru import logger

from cluster.base.entropy import Entropy
from cluster.kubelet.runtime.api import (
    Container,
    ContainerEngine,
    ContainerSpec,
    EngineError,
    Image,
    ImageStore,
    Mount,
    NoSuchContainer,
    Sandbox,
    SandboxNeeds,
    State,
)
from cluster.kubelet.runtime.docker_config import HOSTNAME
from cluster.kubelet.runtime.sandbox_image import CHANGES, install_program, sandbox_image

SANDBOX = "io.reconciler.sandbox"
"""Label of every sandbox: `warm` if it was made ahead, `cold` if for one pod."""
_CLAIMED_PREFIX = "k8s_POD_"
_START = "/.reconciler-start"
_PLAIN = SandboxNeeds()


class LocalImages(ImageStore, Protocol):
    async def import_tar(self, image: str, content: bytes, *, changes: Sequence[str]) -> None: ...
    async def remove(self, image: str) -> None: ...


class InspectingEngine(ContainerEngine, Protocol):
    async def inspect(self, container_id: str) -> Container: ...


class HostNames(Protocol):
    """Implementation: the module `runtime.namespaces`."""

    def set_hostname(self, pid: int, name: str) -> None: ...
    def hostname_of(self, pid: int) -> str: ...


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How many sandboxes are kept warm: `warm_min`, growing with demand to `warm_max`; `fill` makes `parallel` at once."""

    cluster_id: str
    program_directory: Path
    architecture: str  # as platform.machine() says
    warm_min: int = 2
    warm_max: int = 16
    parallel: int = 2


@dataclass(frozen=True, slots=True)
class _Claim:
    sandbox: Sandbox
    hostname: str
    is_warm: bool


class SandboxPool:
    """Sandboxes over a container engine.  One instance per agent; `adopt` first."""

    def __init__(
        self,
        settings: PoolSettings,
        *,
        engine: InspectingEngine,
        images: LocalImages,
        host_names: HostNames,
        entropy: Entropy,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._images = images
        self._host_names = host_names
        self._entropy = entropy
        self._image = sandbox_image(settings.cluster_id, settings.architecture)
        self._program: Path | None = None
        self._warm: list[str] = []  # container ids, oldest first
        self._claims: dict[str, _Claim] = {}
        self._target = settings.warm_min
        self._missed = 0
        self._filling = asyncio.Lock()
        self._preparing = asyncio.Lock()

    async def adopt(self) -> Sequence[Sandbox]:
        await self._prepare()
        self._claims.clear()
        self._warm.clear()
        for container in await self._engine.list():
            kind = container.labels.get(SANDBOX)
            if kind is None:
                self._name_host(container)
            elif container.state is not State.RUNNING:
                await self._engine.remove(container.id)
            elif not container.name.startswith(_CLAIMED_PREFIX):
                self._warm.append(container.id)
            else:
                uid = container.name.split("_")[4]
                sandbox = Sandbox(container.id, container.name, uid, container.pid)
                name = self._host_names.hostname_of(container.pid)
                self._claims[uid] = _Claim(sandbox, name, is_warm=kind == "warm")
        return [self._claims[uid].sandbox for uid in sorted(self._claims)]

    async def acquire(
        self, pod_uid: str, pod_namespace: str, pod_name: str, *, hostname: str, needs: SandboxNeeds
    ) -> Sandbox:
        attempt = 0
        claim = self._claims.get(pod_uid)
        if claim is not None:
            if await self._runs(claim.sandbox.id):
                return claim.sandbox
            attempt = int(claim.sandbox.name.rpartition("_")[2]) + 1
            await self.release(pod_uid)
        await self._prepare()
        name = f"{_CLAIMED_PREFIX}{pod_name}_{pod_namespace}_{pod_uid}_{attempt}"
        container = await self._claim_warm(name) if needs == _PLAIN else None
        is_warm = container is not None
        if container is None:
            container = await self._make(name, kind="cold", hostname=hostname, needs=needs)
        sandbox = Sandbox(container.id, name, pod_uid, container.pid)
        # recorded before its host is named, so that a failure leaves a sandbox that `release` finds
        self._claims[pod_uid] = _Claim(sandbox, hostname, is_warm=is_warm)
        if is_warm:
            try:
                self._host_names.set_hostname(container.pid, hostname)
            except OSError as error:
                await self.release(pod_uid)
                raise EngineError("CreatePodSandboxError", f"cannot name the sandbox's host: {error}") from error
        return sandbox

    def joining(self, spec: ContainerSpec, sandbox: Sandbox, image: Image) -> ContainerSpec:
        claim = self._claims.get(sandbox.pod_uid)
        if claim is None or claim.sandbox.id != sandbox.id or self._program is None:
            raise EngineError("CreateContainerError", f"the pod's sandbox {sandbox.name} is gone")
        command = command_of(spec, image)
        if not claim.is_warm or not command:  # without a command the engine itself says what is missing
            return replace(spec, sandbox_id=sandbox.id, hostname="")
        start = start_path(spec)
        return replace(
            spec,
            sandbox_id=sandbox.id,
            hostname=claim.hostname,
            entrypoint=(start, claim.hostname, *command),
            args=(),
            env=_with_hostname(spec.env, claim.hostname),
            mounts=(*spec.mounts, Mount(str(self._program), start, read_only=True)),
        )

    async def release(self, pod_uid: str) -> None:
        claim = self._claims.get(pod_uid)
        if claim is not None:
            await self._engine.remove(claim.sandbox.id)
            if self._claims.get(pod_uid) is claim:
                del self._claims[pod_uid]

    async def fill(self) -> None:
        """Each pod that found the pool empty raises the number kept by one; each quiet call lowers it by one."""
        async with self._filling:
            await self._prepare()
            wanted = self._target + self._missed if self._missed else self._target - 1
            self._missed = 0
            self._target = min(max(wanted, self._settings.warm_min), self._settings.warm_max)
            while (lacking := self._target - len(self._warm)) > 0:
                count = min(lacking, self._settings.parallel)
                made = await asyncio.gather(*(self._make_warm() for _ in range(count)), return_exceptions=True)
                for result in made:
                    if isinstance(result, BaseException):
                        raise result

    async def purge(self) -> None:
        for container in await self._engine.list():
            if SANDBOX in container.labels:
                await self._engine.remove(container.id)
        self._warm.clear()
        self._claims.clear()
        await self._images.remove(self._image.name)
        if self._program is not None:
            self._program.unlink(missing_ok=True)
            self._program = None

    async def _prepare(self) -> None:
        """The program on disk and the image in the engine; both are made again if somebody removed them."""
        async with self._preparing:
            if self._program is None or not self._program.exists():
                self._program = install_program(self._settings.program_directory, self._image)
            if await self._images.find(self._image.name) is None:
                await self._images.import_tar(self._image.name, self._image.tar(), changes=CHANGES)

    async def _claim_warm(self, name: str) -> Container | None:
        """Rename a running warm sandbox to `name`; None when there is none."""
        while self._warm:
            container_id = self._warm.pop(0)
            try:
                await self._engine.rename(container_id, name)
                container = await self._engine.inspect(container_id)
            except NoSuchContainer:
                continue
            except BaseException:
                self._warm.append(container_id)  # `_runs` finds out at the next claim whether it still serves
                raise
            if container.state is State.RUNNING:
                return container
            await self._engine.remove(container_id)
        self._missed += 1
        return None

    async def _make_warm(self) -> None:
        name = f"{self._settings.cluster_id}-warm-{self._entropy.suffix(10)}"
        self._warm.append((await self._make(name, kind="warm", hostname="warm", needs=_PLAIN)).id)

    async def _make(self, name: str, *, kind: str, hostname: str, needs: SandboxNeeds) -> Container:
        spec = ContainerSpec(
            name=name,
            image=self._image.name,
            labels={SANDBOX: kind},
            hostname="" if needs.host_network else hostname,
            sysctls=needs.sysctls,
            host_network=needs.host_network,
            host_pid=needs.host_pid,
            host_ipc=needs.host_ipc,
            capabilities_drop=("ALL",),
            no_new_privileges=True,
            read_only_root=True,
        )
        container_id = await self._engine.create(spec)
        try:
            await self._engine.start(container_id)
            return await self._engine.inspect(container_id)
        except EngineError as error:
            await self._engine.remove(container_id)
            raise EngineError("CreatePodSandboxError", error.message) from error

    async def _runs(self, container_id: str) -> bool:
        try:
            return (await self._engine.inspect(container_id)).state is State.RUNNING
        except NoSuchContainer:
            return False

    def _name_host(self, container: Container) -> None:
        """Give a waiting container its name: the agent may have died between its start and that."""
        if container.pid and HOSTNAME in container.labels:
            try:
                self._host_names.set_hostname(container.pid, container.labels[HOSTNAME])
            except OSError as error:
                logger.warning("cannot name a container's host", container=container.name, reason=str(error))


def _with_hostname(env: Sequence[str], hostname: str) -> Sequence[str]:
    """The engine would put the name there that the sandbox was made with; what the pod itself sets stays."""
    if any(entry.startswith("HOSTNAME=") for entry in env):
        return env
    return (f"HOSTNAME={hostname}", *env)


def command_of(spec: ContainerSpec, image: Image) -> tuple[str, ...]:
    """What the container runs.  An entrypoint given by the pod replaces the image's command too (Kubernetes, as Docker)."""
    if spec.entrypoint is not None:
        return (*spec.entrypoint, *(spec.args or ()))
    return (*image.entrypoint, *(image.command if spec.args is None else spec.args))


def start_path(spec: ContainerSpec) -> str:
    """Where the sandbox program is mounted: in /dev, a tmpfs, unless the pod brings its own /dev (it would leave a file)."""
    mounted = {mount.target.rstrip("/") for mount in spec.mounts} | {path.rstrip("/") for path in spec.tmpfs}
    return _START if "/dev" in mounted else f"/dev{_START}"
