"""Carries out the starting half of a plan: sandbox, address, volumes, files, image, container, postStart hook.

Everything may be repeated: what exists is found, not made twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loguru import logger

from cluster.base.clock import Clock
from cluster.client.cache import Cache
from cluster.client.controller import Recorder
from cluster.client.events import NORMAL, WARNING
from cluster.kubelet import checkpoint
from cluster.kubelet.containers import Inputs, container_spec_of, sandbox_needs_of, sub_path_of
from cluster.kubelet.downward import Placement
from cluster.kubelet.environment import ConfigError, environment_of
from cluster.kubelet.host_ports import HostPorts
from cluster.kubelet.identity import Identity, spec_hash_of
from cluster.kubelet.images import Images
from cluster.kubelet.observe import observe
from cluster.kubelet.plan import StartContainer
from cluster.kubelet.pod_files import hosts_text, parse_resolver, resolver_of
from cluster.kubelet.podspec import (
    PodContainer,
    grace_s_of,
    hostname_of,
    is_host_network,
    spec_of,
)
from cluster.kubelet.probe_runners import BadHandler, ProbeRunner, Target
from cluster.kubelet.probes import Outcome
from cluster.kubelet.runtime.api import ContainerEngine, PodNetwork, Sandbox, Sandboxes
from cluster.kubelet.settings import KubeletSettings
from cluster.kubelet.sources import SourceReader, Sources
from cluster.kubelet.volumes.content import VolumeError
from cluster.kubelet.volumes.setup import MountedVolume, PodVolumes, pod_directory
from cluster.machinery.errors import ApiError
from cluster.machinery.objects import Key, Obj, key_of, name_of, namespace_of, uid_of
from cluster.resources.builtin import SERVICES
from cluster.resources.enforcement import findings_of

HOOK_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What pods may learn of their node."""

    host_ip: str
    cpu_millicores: int
    memory_bytes: int


class HookFailed(Exception):
    """A postStart hook failed: the container must be killed."""


class PodStarter:
    """Shared by all pods of the node."""

    def __init__(
        self,
        *,
        settings: KubeletSettings,
        cache: Cache,
        engine: ContainerEngine,
        images: Images,
        sandboxes: Sandboxes,
        network: PodNetwork,
        host_ports: HostPorts,
        sources: SourceReader,
        volumes: PodVolumes,
        runner: ProbeRunner,
        clock: Clock,
        recorder: Recorder,
        claimed: dict[str, Sandbox],
        addresses: dict[str, str],
        facts: Callable[[], NodeFacts],
        sandbox_taken: Callable[[], None],
        slots: asyncio.Semaphore,
    ) -> None:
        self._settings = settings
        self._cache = cache
        self._engine = engine
        self._images = images
        self._sandboxes = sandboxes
        self._network = network
        self._host_ports = host_ports
        self._sources = sources
        self._volumes = volumes
        self._runner = runner
        self._clock = clock
        self._recorder = recorder
        self._claimed = claimed
        self._addresses = addresses
        self._facts = facts
        self._sandbox_taken = sandbox_taken
        self._slots = slots

    async def start_sandbox(self, pod: Obj) -> None:
        """Host ports, volumes, sandbox, address and files.

        Raises ConfigError, HostPortTaken, VolumeError, EngineError, ApiError.
        """
        uid = uid_of(pod)
        needs = sandbox_needs_of(pod, self._settings.policy)
        for path in findings_of(pod).warned:
            self._recorder.event(pod, WARNING, "UnenforcedField", f"{path} has no effect on this node")
        self._host_ports.claim(pod)
        await self.refresh_volumes(pod)
        checkpoint.write_pod(self._settings.root_dir, pod)
        async with self._slots:
            sandbox = await self._sandboxes.acquire(
                uid, namespace_of(pod), name_of(pod), hostname=hostname_of(pod), needs=needs
            )
            if is_host_network(pod):
                address = self._facts().host_ip
            else:
                address = (await self._network.attach(uid, pid=sandbox.pid)).ip
                checkpoint.write_address(self._settings.root_dir, uid, address)
        self._addresses[uid] = address
        self._claimed[uid] = sandbox
        self._sandbox_taken()

    async def refresh_volumes(self, pod: Obj) -> Mapping[str, MountedVolume]:
        """Every volume made or brought up to date.  What was made before serves on when its source cannot be read now.

        Raises VolumeError, ApiError.
        """
        stamp = self._clock.now().strftime("%Y_%m_%d_%H_%M_%S")
        try:
            sources = await self._sources.read(pod)
            return await self._volumes.set_up(pod, sources, self._placement(pod), stamp=stamp)
        except (ApiError, VolumeError) as error:
            made = self._volumes.made_before(pod)
            if made is None:
                raise
            logger.warning("volumes not refreshed", pod=str(key_of(pod)), reason=str(error))
            return made

    async def start_container(self, pod: Obj, container: PodContainer, action: StartContainer) -> None:
        """Pull, create and start one attempt, then run its postStart hook.

        Raises ImageError, ConfigError, VolumeError, EngineError, ApiError, and HookFailed once it runs.
        """
        uid = uid_of(pod)
        sandbox = self._claimed[uid]
        sources = await self._sources.read(pod, volumes=False)
        image = await self._images.ensure(pod, container.spec, sources)
        volumes = await self.refresh_volumes(pod)
        identity = Identity(
            pod_uid=uid,
            pod_namespace=namespace_of(pod),
            pod_name=name_of(pod),
            container=container.name,
            attempt=action.attempt,
            spec_hash=spec_hash_of(container.spec),
            sandbox_id=sandbox.id,
            back_off_s=action.back_off_s,
            grace_s=grace_s_of(pod),
        )
        services = self._services(namespace_of(pod))
        inputs = Inputs(
            image=image,
            sandbox=sandbox,
            sources=sources,
            where=self._placement(pod),
            policy=self._settings.policy,
            services=services,
            volumes={name: (str(volume.path), volume.read_only) for name, volume in volumes.items()},
            sub_paths=self._sub_paths(pod, container.spec, volumes, sources, services),
            files=self._files(pod),
            message_path=str(self._message_file(uid, container.name, action.attempt)),
            pid_target=await self._pid_target(pod, container, sandbox),
        )
        spec = container_spec_of(pod, container, identity, inputs)
        async with self._slots:
            container_id = await self._engine.create(self._sandboxes.joining(spec, sandbox, image))
            self._recorder.event(pod, NORMAL, "Created", f"Created container: {container.name}")
            await self._engine.start(container_id)
        self._recorder.event(pod, NORMAL, "Started", f"Started container {container.name}")
        await self._post_start(pod, container.spec, container_id)

    def message_of(self, uid: str, container: str, attempt: int) -> str:
        """What the container wrote to its termination message file, at most 4096 bytes."""
        try:
            with self._message_file(uid, container, attempt).open("rb") as file:
                return file.read(4096).decode("utf-8", "replace")
        except OSError:
            return ""

    def _placement(self, pod: Obj) -> Placement:
        facts = self._facts()
        return Placement(
            node_name=self._settings.node_name,
            host_ip=facts.host_ip,
            pod_ip=self._addresses.get(uid_of(pod), ""),
            cpu_millicores=facts.cpu_millicores,
            memory_bytes=facts.memory_bytes,
        )

    def _services(self, namespace: str) -> Sequence[Obj]:
        own = list(self._cache.list(SERVICES, namespace=namespace))
        kubernetes = self._cache.get(SERVICES, Key("default", "kubernetes"))
        return own if namespace == "default" or kubernetes is None else [*own, kubernetes]

    def _sub_paths(
        self,
        pod: Obj,
        container: Obj,
        volumes: Mapping[str, MountedVolume],
        sources: Sources,
        services: Sequence[Obj],
    ) -> dict[int, str]:
        mounts = container.get("volumeMounts") or ()
        if not any(mount.get("subPath") or mount.get("subPathExpr") for mount in mounts):
            return {}
        environment = environment_of(pod, container, sources=sources, where=self._placement(pod), services=services)
        bound: dict[int, str] = {}
        for place, mount in enumerate(mounts):
            sub_path = sub_path_of(mount, environment)
            volume = volumes.get(mount["name"])
            if sub_path and volume is not None:
                bound[place] = str(self._volumes.sub_path(pod, volume, mount, sub_path, str(container["name"]), place))
        return bound

    def _files(self, pod: Obj) -> dict[str, str]:
        """The managed files on the host, written now."""
        settings = self._settings
        uid = uid_of(pod)
        directory = pod_directory(settings.root_dir, uid)
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        host = parse_resolver(_text(settings.resolv_conf))
        resolver = resolver_of(pod, cluster_dns=settings.cluster_dns, cluster_domain=settings.cluster_domain, host=host)
        host_file = _text(settings.hosts_file) if is_host_network(pod) else ""
        address = self._addresses.get(uid, "")
        texts = {
            "/etc/hosts": hosts_text(pod, address=address, cluster_domain=settings.cluster_domain, host_file=host_file),
            "/etc/resolv.conf": resolver.text(),
        }
        if not is_host_network(pod):
            texts["/etc/hostname"] = f"{hostname_of(pod)}\n"
        files: dict[str, str] = {}
        for target, text in texts.items():
            path = directory / target.rpartition("/")[2]
            # Written in place: running containers have this very file mounted.
            if not path.exists() or path.read_text() != text:
                path.write_text(text)
                path.chmod(0o644)
            files[target] = str(path)
        return files

    def _message_file(self, uid: str, container: str, attempt: int) -> Path:
        path = pod_directory(self._settings.root_dir, uid) / "containers" / container / str(attempt)
        if not path.exists():
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            path.touch()
            path.chmod(0o666)
        return path

    async def _pid_target(self, pod: Obj, container: PodContainer, sandbox: Sandbox) -> str:
        """The container whose processes this one sees: the sandbox, an ephemeral container's target, or none."""
        if spec_of(pod).get("shareProcessNamespace"):
            return sandbox.id
        wanted = container.spec.get("targetContainerName")
        if not wanted:
            return ""
        observed = observe(await self._engine.list(), self._claimed)[uid_of(pod)].latest(str(wanted))
        if observed is None or not observed.running:
            raise ConfigError(f"unable to find target container {wanted}")
        return observed.id

    async def _post_start(self, pod: Obj, container: Obj, container_id: str) -> None:
        handler = (container.get("lifecycle") or {}).get("postStart")
        if not handler:
            return
        target = Target(container, container_id, self._addresses.get(uid_of(pod), ""))
        if message := await run_hook(self._runner, self._clock, target, handler, HOOK_TIMEOUT_S):
            self._recorder.event(pod, WARNING, "FailedPostStartHook", f"PostStartHook failed: {message}")
            raise HookFailed(message)


async def run_hook(runner: ProbeRunner, clock: Clock, target: Target, handler: Obj, timeout_s: float) -> str:
    """Run a lifecycle handler (exec, httpGet, sleep); the empty string when it went well, else why not."""
    if (sleep := handler.get("sleep")) is not None:
        await clock.sleep(min(float(sleep.get("seconds") or 0), timeout_s))
        return ""
    try:
        answer = await runner.call(target, handler, timeout_s=timeout_s)
    except BadHandler as error:
        return str(error)
    return "" if answer.outcome is Outcome.SUCCESS else answer.message or answer.outcome.value


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
