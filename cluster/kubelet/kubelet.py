"""The kubelet: one worker per pod of this node, fed by the API's changes, the engine's events and a regular look.

Composition and housekeeping only; what a pod needs is `plan`'s, how it is done `sync`'s.  Stopping it stops no container.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable

from loguru import logger

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.base.tasks import Supervisor
from cluster.client.cache import Cache, Change
from cluster.client.controller import Recorder
from cluster.client.node_channel import NodeChannel
from cluster.client.transport import Query, Transport, list_all
from cluster.kubelet import checkpoint
from cluster.kubelet.engine_view import EngineView
from cluster.kubelet.host import Host
from cluster.kubelet.host_ports import HostPorts, HostPortTaken
from cluster.kubelet.images import Images
from cluster.kubelet.node import NodeReporter, NodeState
from cluster.kubelet.pod_starter import NodeFacts, PodStarter
from cluster.kubelet.podspec import is_host_network, spec_of
from cluster.kubelet.probe_runners import ProbeRunner
from cluster.kubelet.prober import Prober
from cluster.kubelet.runtime.api import (
    ContainerEngine,
    ContainerStreams,
    EngineError,
    EngineInfo,
    EngineUnavailable,
    ImageStore,
    PodNetwork,
    Sandbox,
    Sandboxes,
)
from cluster.kubelet.settings import KubeletSettings
from cluster.kubelet.sources import SourceReader
from cluster.kubelet.stats import NodeStatsReader
from cluster.kubelet.status_writer import StatusWriter
from cluster.kubelet.streams import KubeletChannel
from cluster.kubelet.sync import PodTools, PodWorker
from cluster.kubelet.volumes import claims
from cluster.kubelet.volumes.mounts import Mounter
from cluster.kubelet.volumes.setup import PodVolumes
from cluster.kubelet.volumes.tokens import TokenSource
from cluster.machinery.errors import ApiError
from cluster.machinery.objects import Obj, key_of, uid_of
from cluster.resources.builtin import PODS, SERVICES

TICK_S = 1.0
RELIST_S = 10.0
EVENTS_RETRY_S = 1.0
"""Between two attempts at the events of an engine that is away; the regular look says that it is."""
REFILL_DELAY_S = 0.5
REFILL_DELAYS_MAX = 20
"""How long after the last pod took a sandbox the pool is filled, and how often a burst may put it off: pods come first."""
FIRST_REPORT_WAIT_S = 5.0


class Kubelet:
    """`start` returns at once; readiness shows in the Node's status.  The cache must hold pods and services."""

    def __init__(
        self,
        *,
        settings: KubeletSettings,
        transport: Transport,
        cache: Cache,
        engine: ContainerEngine,
        streams: ContainerStreams,
        images: ImageStore,
        sandboxes: Sandboxes,
        network: PodNetwork,
        probe_runner: ProbeRunner,
        host: Host,
        mounter: Mounter,
        clock: Clock,
        entropy: Entropy,
        supervisor: Supervisor,
        recorder: Recorder,
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._cache = cache
        self._engine = engine
        self._sandboxes = sandboxes
        self._network = network
        self._clock = clock
        self._entropy = entropy
        self._supervisor = supervisor
        self._recorder = recorder
        self._info: EngineInfo | None = None
        self._host_ip = settings.node_ip
        self._claimed: dict[str, Sandbox] = {}
        self._addresses: dict[str, str] = {}
        self._workers: dict[str, PodWorker] = {}
        self._orphans_since: dict[str, float] = {}
        self._adopted = asyncio.Event()
        self._taken = asyncio.Event()
        self._synced = False
        self._unsubscribe = _nothing
        self._host = host
        self._host_ports = HostPorts(host)
        self._tasks = (
            "kubelet pods",
            "kubelet engine events",
            "kubelet housekeeping",
            "kubelet sandboxes",
            "kubelet node",
        )
        self._view = EngineView(engine, self._claimed)
        self._runner = probe_runner
        self._sources = SourceReader(transport, clock)
        self._volumes = PodVolumes(
            settings.root_dir, mounter=mounter, tokens=TokenSource(transport, clock), policy=settings.policy
        )
        self._writer = StatusWriter(transport)
        self._tools = self._make_tools(streams, images)
        self._channel = KubeletChannel(
            view=self._view,
            streams=streams,
            network=network,
            clock=clock,
            address_of=lambda uid: self._addresses.get(uid, ""),
            stats=NodeStatsReader(view=self._view, host=host, clock=clock),
        )
        self._reporter = NodeReporter(settings=settings, transport=transport, clock=clock, look=self._node_state)

    async def start(self) -> None:
        """Begin, under the supervisor."""
        self._settings.root_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        if not self._host_ip:
            self._host_ip = self._host.address()
        self._supervisor.start("kubelet pods", self._run_pods)
        self._supervisor.start("kubelet engine events", self._run_events)
        self._supervisor.start("kubelet housekeeping", self._run_housekeeping)
        self._supervisor.start("kubelet sandboxes", self._run_refill)
        self._supervisor.start("kubelet node", self._run_node)

    async def stop(self) -> None:
        """Stop looking; containers keep running and are adopted by the next start."""
        self._unsubscribe()
        self._unsubscribe = _nothing
        for name in reversed(self._tasks):
            await self._supervisor.cancel(name)
        for uid in sorted(self._workers):
            await self._supervisor.cancel(_task_name(uid))
        self._workers.clear()
        self._host_ports.release_all()

    def channel(self) -> NodeChannel:
        """Entry to this node's containers."""
        return self._channel

    # What runs

    async def _run_pods(self) -> None:
        """Adopt what runs, then follow the API.  Failures restart it from the beginning: every step may be repeated."""
        self._info = await self._engine.info()
        await self._network.setup()
        self._claimed.clear()
        self._claimed.update({sandbox.pod_uid: sandbox for sandbox in await self._sandboxes.adopt()})
        remembered = self._remembered_addresses()
        self._addresses.update(remembered)
        await self._network.adopt(remembered)
        for uid in sorted(self._claimed):
            pod = checkpoint.read_pod(self._settings.root_dir, uid)
            if pod is not None and is_host_network(pod):
                self._addresses[uid] = self._host_ip
            elif uid not in remembered:
                await self._finish_sandbox(uid, pod)
            if pod is not None:
                self._hold_ports(pod)
            if pod is not None and uid not in self._workers:
                # Known from the last run: probed and restarted even while the API is away.
                self._worker(uid).update(pod)
        self._adopted.set()
        if self._claimed:
            logger.info("sandboxes adopted", node=self._settings.node_name, count=len(self._claimed))
        await self._cache.sync((PODS, SERVICES))
        self._unsubscribe()
        self._unsubscribe = self._cache.subscribe(PODS, self._changed)
        self._synced = True
        await self._find_orphans()
        await self._sandboxes.fill()

    async def _finish_sandbox(self, uid: str, pod: Obj | None) -> None:
        """The last agent ended between making the sandbox and giving it an address: it has its address now.

        Where that fails, or no remembered pod says which network it is to have, its worker begins again with it.
        """
        sandbox = self._claimed.pop(uid)
        if pod is None:
            return
        try:
            address = (await self._network.attach(uid, pid=sandbox.pid)).ip
        except EngineError as error:
            logger.warning("sandbox has no address yet", pod=uid, reason=error.message)
            return
        self._claimed[uid] = sandbox
        checkpoint.write_address(self._settings.root_dir, uid, address)
        self._addresses[uid] = address

    async def _run_events(self) -> None:
        """The engine's events are hints to look again; when they break off, everything is looked at."""
        await self._adopted.wait()
        while True:
            try:
                async for event in self._engine.events():
                    for uid, worker in self._workers.items():
                        sandbox = self._claimed.get(uid)
                        own = event.labels.get("io.kubernetes.pod.uid") == uid
                        if own or (sandbox is not None and sandbox.id == event.container_id):
                            worker.wake()
            except EngineUnavailable as error:
                await self._engine_is(None, error.message)
            await self._clock.sleep(EVENTS_RETRY_S)
            with contextlib.suppress(EngineError):
                await self._engine_is(await self._engine.info())
            for worker in self._workers.values():
                worker.wake()

    async def _engine_is(self, info: EngineInfo | None, reason: str = "") -> None:
        """Keep what is known of the engine (None: it does not answer); the Node says it at once when that turns."""
        turned = (self._info is None) != (info is None)
        self._info = info
        if not turned:
            return
        if info is None:
            logger.warning("container engine does not answer", node=self._settings.node_name, reason=reason)
        else:
            logger.info("container engine answers again", node=self._settings.node_name)
        try:
            await self._reporter.beat()
        except ApiError as error:
            logger.warning("node status not reported", node=self._settings.node_name, reason=error.message)

    async def _run_housekeeping(self) -> None:
        await self._adopted.wait()
        relist_at = self._clock.monotonic() + RELIST_S
        while True:
            await self._clock.sleep(TICK_S)
            now = self._clock.now()
            for worker in list(self._workers.values()):
                worker.tick(now)
            if self._clock.monotonic() >= relist_at:
                relist_at = self._clock.monotonic() + RELIST_S
                try:
                    await self._relist()
                except EngineError as error:
                    logger.warning("containers not listed", node=self._settings.node_name, reason=error.message)

    async def _run_refill(self) -> None:
        await self._adopted.wait()
        while True:
            await self._taken.wait()
            for _ in range(REFILL_DELAYS_MAX):
                self._taken.clear()
                await self._clock.sleep(REFILL_DELAY_S)
                if not self._taken.is_set():
                    break
            try:
                await self._sandboxes.fill()
            except EngineError as error:
                # Pods start without; the next regular look tries again.
                logger.warning("no sandboxes made ahead", node=self._settings.node_name, reason=error.message)

    async def _run_node(self) -> None:
        # The first report waits a moment for the engine, so that a node that is well does not start out NotReady.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_REPORT_WAIT_S):
                await self._adopted.wait()
        await self._reporter.run()

    # Pods

    def _changed(self, change: Change) -> None:
        """An API change of any pod; ours are those bound to this node."""
        new, old = change.new, change.old
        if new is not None and spec_of(new).get("nodeName") == self._settings.node_name:
            uid = uid_of(new)
            if uid:
                self._orphans_since.pop(uid, None)
                self._worker(uid).update(new)
        if old is not None and (new is None or uid_of(new) != uid_of(old)):
            worker = self._workers.get(uid_of(old))
            if worker is not None:
                worker.forget()

    def _worker(self, uid: str) -> PodWorker:
        worker = self._workers.get(uid)
        if worker is None or worker.finished:
            worker = PodWorker(uid, self._tools, self._make_prober)
            self._workers[uid] = worker
            self._supervisor.start(_task_name(uid), worker.run)
        return worker

    async def _relist(self) -> None:
        """Every pod is looked at again; workers of pods that ended are let go."""
        for uid in [uid for uid, worker in self._workers.items() if worker.finished]:
            del self._workers[uid]
            await self._supervisor.cancel(_task_name(uid))
        try:
            await self._engine_is(await self._engine.info())
        except EngineError as error:
            await self._engine_is(None, error.message)
            return
        for worker in list(self._workers.values()):
            worker.wake()
        self._sources.keep_only({uid: w.pod for uid, w in self._workers.items() if w.pod is not None})
        if self._synced:
            await self._find_orphans()
            await self._find_removed_volumes()
        await self._sandboxes.fill()

    async def _find_removed_volumes(self) -> None:
        """Directories of volumes that the API no longer has are set aside, and removed much later."""
        root, now = self._settings.root_dir, self._clock.now()
        try:
            for handle in claims.directories(root):
                if await self._sources.volume_is_gone(handle):
                    claims.set_aside(root, handle, now)
                    logger.info("volume set aside", node=self._settings.node_name, volume=handle)
            claims.remove_old(root, now)
        except (ApiError, OSError) as error:
            logger.warning("volumes not looked at", node=self._settings.node_name, reason=str(error))

    async def _find_orphans(self) -> None:
        """Containers, sandboxes and directories of pods that the API does not have.

        One that this agent saw deleted is ended at once (`_changed`).  One it never saw stays for the quarantine: an API
        restored from an older backup has forgotten pods that should go on.
        """
        bound = {uid_of(pod) for pod in self._cache.on_node(self._settings.node_name, PODS)}
        known = {*await self._view.look(), *self._volumes.known_pods()}
        now = self._clock.monotonic()
        for uid in sorted(known - bound):
            if uid not in self._orphans_since:
                self._orphans_since[uid] = now
                logger.warning("pod is not in the api", node=self._settings.node_name, pod=uid)
            if now - self._orphans_since[uid] >= self._settings.orphan_quarantine_s and await self._is_gone(uid):
                self._orphans_since.pop(uid, None)
                self._worker(uid).forget()
        for uid in [uid for uid in self._orphans_since if uid not in known]:
            del self._orphans_since[uid]

    async def _is_gone(self, uid: str) -> bool:
        """Ask the API itself, not the cache, before anything is ended; False when it cannot be asked."""
        bound = Query(field_selector=f"spec.nodeName={self._settings.node_name}")
        try:
            live = await list_all(self._transport, PODS, bound)
        except ApiError:
            return False
        return all(uid_of(pod) != uid for pod in live.items)

    def _hold_ports(self, pod: Obj) -> None:
        try:
            self._host_ports.claim(pod)
        except HostPortTaken as error:
            # While no agent ran somebody took it; the pod goes on, and the proxy still sends it what comes.
            logger.warning("host port of a running pod is in use", pod=str(key_of(pod)), reason=str(error))

    def _remembered_addresses(self) -> dict[str, str]:
        found = {uid: checkpoint.read_address(self._settings.root_dir, uid) for uid in sorted(self._claimed)}
        return {uid: address for uid, address in found.items() if address}

    # Parts

    def _node_facts(self) -> NodeFacts:
        info = self._info
        return NodeFacts(
            host_ip=self._host_ip,
            cpu_millicores=info.cpu_count * 1000 - self._settings.reserved_cpu_millicores if info else 0,
            memory_bytes=info.memory_bytes - self._settings.reserved_memory_bytes if info else 0,
        )

    def _node_state(self) -> NodeState:
        root, identity = self._settings.root_dir, self._host.identity()
        return NodeState(
            info=self._info,
            address=self._host_ip,
            pressure=self._host.pressure(root),
            disk_bytes=self._host.disk_bytes(root),
            machine_id=identity.machine_id,
            boot_id=identity.boot_id,
        )

    def _make_prober(self, changed: Callable[[], None]) -> Prober:
        return Prober(
            runner=self._runner,
            clock=self._clock,
            supervisor=self._supervisor,
            recorder=self._recorder,
            changed=changed,
        )

    def _make_tools(self, streams: ContainerStreams, images: ImageStore) -> PodTools:
        settings = self._settings
        starter = PodStarter(
            settings=settings,
            cache=self._cache,
            engine=self._engine,
            images=Images(images, self._clock, self._recorder),
            sandboxes=self._sandboxes,
            network=self._network,
            host_ports=self._host_ports,
            sources=self._sources,
            volumes=self._volumes,
            runner=self._runner,
            clock=self._clock,
            recorder=self._recorder,
            claimed=self._claimed,
            addresses=self._addresses,
            facts=self._node_facts,
            sandbox_taken=self._taken.set,
            slots=asyncio.Semaphore(max(1, settings.starts_per_core * (os.cpu_count() or 1))),
        )
        return PodTools(
            settings=settings,
            transport=self._transport,
            engine=self._engine,
            streams=streams,
            view=self._view,
            starter=starter,
            runner=self._runner,
            sandboxes=self._sandboxes,
            network=self._network,
            host_ports=self._host_ports,
            volumes=self._volumes,
            writer=self._writer,
            clock=self._clock,
            recorder=self._recorder,
            claimed=self._claimed,
            addresses=self._addresses,
            facts=self._node_facts,
        )


def _task_name(uid: str) -> str:
    return f"pod {uid}"


def _nothing() -> None:
    """Nothing to undo yet."""
