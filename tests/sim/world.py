"""One world: server, nodes, repository and their faults on virtual time, made from a seed.

The roles are the real ones (`cluster.control_plane`, `cluster.node_agent`) with the real GitOps daemon; only what
`cluster.ports` names is simulated.
`run` plays a scenario and fails when any invariant was broken, naming the seed.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric import ec

from cluster.apiserver.state import _split as split_path
from cluster.base.certificate_requests import BadRequestPem
from cluster.base.entropy import SeededEntropy
from cluster.base.tasks import Supervisor
from cluster.client.informer import Informer
from cluster.client.transport import Query, Transport
from cluster.config import Settings
from cluster.control_plane import ControlPlane
from cluster.machinery.objects import Key, Obj, field_of
from cluster.node_agent import NodeAgent
from cluster.ports import NoListener, Ports, Runtime, Trust
from cluster.resources.builtin import PODS, SERVICES
from cluster.simulation.engine import Behaviour, SimulatedNetwork, SimulatedSandboxes
from cluster.simulation.host import SimulatedHost
from cluster.simulation.loop import VirtualClock, run_virtual
from cluster.simulation.mounts import SimulatedMounter
from cluster.simulation.probes import SimulatedProbeRunner
from cluster.store.api import Operation, Store
from reconciler.cli.bootstrap import Gitops, start_gitops
from reconciler.config import SYSTEM_NAMESPACE, Bootstrap
from tests.sim.disk import Disk, StoreProcess, keys_of
from tests.sim.engine import WatchedEngine
from tests.sim.invariants.every import every_rule
from tests.sim.line import Line
from tests.sim.repository import Repository
from tests.sim.view import StoreChange, View

STEP_S = 0.1
QUIET_S = 25.0
"""Without a write other than heartbeats for this long, everything is at rest: longer than any retry or relist."""
BEATS = frozenset({"leases", "events"})


def _no_certificate(request: bytes, usages: Collection[str], lifetime: timedelta) -> bytes:
    """Signatures are drawn from the machine's chance: a world that made one could not be replayed."""
    raise BadRequestPem("the simulated authority signs nothing")


_TRUST = Trust(
    token_key=ec.derive_private_key(0x5EED, ec.SECP256R1()), ca_pem="a simulated authority\n", sign=_no_certificate
)


class Broken(AssertionError):
    """An invariant was broken, or what was waited for never came."""


class Server:
    """The server process: control plane and GitOps daemon."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.store: StoreProcess | None = None
        self.plane: ControlPlane | None = None
        self._gitops: Gitops | None = None

    @property
    def is_up(self) -> bool:
        return self.plane is not None

    async def start(self) -> None:
        world = self._world
        store = StoreProcess(world.disk, clock=world.clock, entropy=world.entropy, crashed=world.server_died)
        store.crash_after, world.crash_after = world.crash_after, None
        store.lag_s = world.feed_lag_s
        self.store = store

        async def open_store() -> Store:
            return store

        ports = Ports(
            clock=world.clock,
            entropy=world.entropy,
            open_store=open_store,
            trust=lambda: _TRUST,
            listener=lambda api: NoListener(),
            audit=lambda: None,
            port_in_use=lambda port: False,
            runtime=_no_runtime,
        )
        plane = ControlPlane(world.settings, ports)
        await plane.start()
        self._gitops = await start_gitops(
            plane,
            Bootstrap(path="/srv/repository"),
            state_dir=world.directory / "server",
            ports=ports,
            opener=world.repository,
        )
        self.plane = plane
        for name, agent in sorted(world.agents.items()):
            agent.connect(plane, name)

    async def crash(self) -> None:
        """The process is gone between two instructions; what it had acknowledged is on the disk."""
        plane, gitops, self.plane, self._gitops = self.plane, self._gitops, None, None
        if self.store is not None:
            self.store.die()
        for agent in self._world.agents.values():
            agent.line.break_connections()
        if gitops is not None:
            await gitops.stop()
        if plane is not None:
            await plane.stop()


class Agent:
    """The agent process of one node.  Its engine, with the containers, outlives it."""

    def __init__(self, world: World, name: str, number: int) -> None:
        self._world = world
        self.name = name
        self.engine = WatchedEngine(
            clock=world.clock,
            registry=world.images,
            started=lambda container: world.container_started(name, container),
            caller_died=lambda: world.agent_died(name),
        )
        self.line = Line(lambda: world.transport_of(name), clock=world.clock, entropy=world.entropy)
        self._settings = replace(
            world.settings,
            state_dir=world.directory / name,
            node_name=name,
            pod_cidr=f"10.244.{number}.0/24",
        )
        self._address = f"192.0.2.{number + 10}"
        self._supervisor: Supervisor | None = None
        self._agent: NodeAgent | None = None

    async def start(self) -> None:
        world = self._world
        supervisor = self._supervisor = Supervisor(world.clock)
        cache = Informer(
            self.line,
            (PODS, SERVICES),
            world.clock,
            world.entropy,
            queries={PODS: Query(field_selector=f"spec.nodeName={self.name}")},
        )
        supervisor.start("informer", cache.run)
        ports = Ports(
            clock=world.clock,
            entropy=world.entropy,
            open_store=_no_store,
            trust=lambda: _TRUST,
            listener=lambda api: NoListener(),
            audit=lambda: None,
            port_in_use=lambda port: False,
            runtime=self._runtime,
        )
        agent = NodeAgent(self._settings, ports, transport=self.line, cache=cache)
        self._agent = agent
        # Beside the world: an agent that cannot reach its server at first waits for it.
        supervisor.start("agent", agent.start)
        if world.server.plane is not None:
            self.connect(world.server.plane, self.name)

    def connect(self, plane: ControlPlane, name: str) -> None:
        if self._agent is not None:
            plane.channels.connect(name, self._agent.channel)

    async def crash(self) -> None:
        agent, supervisor, self._agent, self._supervisor = self._agent, self._supervisor, None, None
        cut, self.line.cut = self.line.cut, True
        self.line.break_connections()
        if supervisor is not None:
            await supervisor.stop()
        if agent is not None:
            await agent.stop()
        self.line.cut = cut

    def _runtime(self) -> Runtime:
        engine = self.engine
        return Runtime(
            engine=engine,
            streams=engine,
            images=engine,
            sandboxes=SimulatedSandboxes(engine),
            network=SimulatedNetwork(self._settings.node_cidr),
            probe_runner=SimulatedProbeRunner(engine, self._world.clock),
            host=SimulatedHost(self.name, self._address),
            mounter=SimulatedMounter(),
            close=_nothing,
        )


class World:
    """`nodes` agents, one server.  `log` has a line for every write of the store, the same for the same seed."""

    def __init__(
        self, seed: int, directory: Path, *, nodes: int = 1, images: Mapping[str, Behaviour] | None = None
    ) -> None:
        self.seed = seed
        self.directory = directory
        self.images = images
        self.clock = VirtualClock()
        self.entropy = SeededEntropy(seed)
        self.settings = Settings(
            state_dir=directory / "server", cluster_id="simulated", node_name="server", runtime="simulated"
        )
        self.repository = Repository(self.clock)
        self.disk = Disk(self.clock, self._written)
        self.view = View(self.clock)
        self.rules = every_rule()
        self.violations: list[str] = []
        self.log: list[str] = []
        self.creates: Counter[str] = Counter()
        self.deletes: Counter[str] = Counter()
        self.crash_after: int | None = None
        self.feed_lag_s = 0.0
        self._written_at = 0.0
        self._died = asyncio.Event()
        self._dead_agents: list[str] = []
        self._transports: dict[tuple[int, str], Transport] = {}
        self.server = Server(self)
        self.agents = {f"n{number}": Agent(self, f"n{number}", number) for number in range(1, nodes + 1)}
        self.view.engines = {name: agent.engine for name, agent in self.agents.items()}

    async def start(self) -> None:
        await self.server.start()
        for _, agent in sorted(self.agents.items()):
            await agent.start()

    async def stop(self) -> None:
        for _, agent in sorted(self.agents.items()):
            await agent.crash()
            await agent.engine.close()
        await self.server.crash()
        await self.disk.close()

    def transport_of(self, node: str) -> Transport | None:
        """The running server as an agent reaches it."""
        plane = self.server.plane
        if plane is None:
            return None
        transport = self._transports.get((id(plane), node))
        if transport is None:
            transport = self._transports[id(plane), node] = plane.transport(f"system:node:{node}")
        return transport

    @property
    def api(self) -> Transport:
        """The API as the operator."""
        plane = self.server.plane
        if plane is None:
            raise Broken("the server is down")
        return plane.transport("kubernetes-admin", ("system:masters",))

    # Faults

    def server_died(self) -> None:
        self._died.set()

    def agent_died(self, name: str) -> None:
        """It hears and says nothing any more; the next step ends what is left of it, and starts another."""
        self.agents[name].line.cut = True
        self._dead_agents.append(name)

    async def restart_server(self, *, away_s: float = 1.0) -> None:
        await self.server.crash()
        await self.clock.sleep(away_s)
        await self.server.start()

    async def restart_agent(self, name: str, *, away_s: float = 1.0) -> None:
        await self.agents[name].crash()
        await self.clock.sleep(away_s)
        await self.agents[name].start()

    # Waiting

    async def until(self, holds: Callable[[], bool], *, within_s: float, what: str) -> None:
        """Let time pass until it holds.  Raises Broken."""
        deadline = self.clock.monotonic() + within_s
        while not holds():
            await self._step()
            if self.clock.monotonic() > deadline:
                raise Broken(f"not within {within_s:g} s: {what}\n{self._story()}")

    async def rest(self, *, within_s: float = 300.0) -> None:
        """Until nothing but heartbeats has been written for QUIET_S; then ask every rule once more."""
        await self.until(
            lambda: self.clock.monotonic() - self._written_at > QUIET_S, within_s=within_s, what="writes end"
        )
        for rule in self.rules:
            self.violations += rule.at_rest(self.view)
        self.check()

    async def run_for(self, seconds: float) -> None:
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            await self._step()

    def check(self) -> None:
        if self.violations:
            raise Broken("\n".join([*self.violations[:5], self._story()]))

    async def _step(self) -> None:
        self.check()
        await self.clock.sleep(STEP_S)
        if self._died.is_set():
            self._died.clear()
            await self.restart_server()
        while self._dead_agents:
            name = self._dead_agents.pop(0)
            await self.agents[name].crash()
            self.agents[name].line.cut = False
            await self.agents[name].start()

    def _story(self) -> str:
        return "the last writes:\n" + "\n".join(self.log[-25:])

    # What the world is told

    def container_started(self, node: str, container_id: str) -> None:
        self.log.append(
            f"{self.clock.monotonic():.4f} {node} started {self.view.engines[node].container(container_id).name}"
        )
        for rule in self.rules:
            self.violations += rule.started(self.view, node, container_id)

    def _written(self, revision: int, operations: Sequence[Operation]) -> None:
        now = self.clock.monotonic()
        for path, value in keys_of(operations):
            split = split_path(path)
            if split is None:
                continue
            plural, key = split[0].plural, split[1]
            table = self.view.objects.setdefault(plural, {})
            old = table.get(key)
            new: Obj | None = None if value is None else orjson.loads(value)
            if new is None:
                table.pop(key, None)
                self.deletes[plural] += 1
            else:
                table[key] = new
                self.creates[plural] += old is None
            if plural not in BEATS and not _only_beats(old, new):
                self._written_at = now
            digest = "-" if value is None else hashlib.sha256(value).hexdigest()[:8]
            self.log.append(f"{now:.4f} {revision} {plural} {key} {digest}")
            change = StoreChange(plural, key, old, new, revision)
            for rule in self.rules:
                self.violations += rule.changed(self.view, change)

    # Looking

    def find(self, plural: str, name: str, namespace: str = "default") -> Obj | None:
        return self.view.all(plural).get(Key(namespace, name))

    def is_healthy(self, commit: str) -> bool:
        """The first application has that commit and is well."""
        application = self.find("applications", "bootstrap", SYSTEM_NAMESPACE)
        status: Obj = (application or {}).get("status") or {}
        return status.get("revision") == commit and status.get("sync") == "Synced" and status.get("health") == "Healthy"

    def ready_pods(self, app: str) -> list[Obj]:
        return [
            pod
            for pod in self.view.select(
                "pods", lambda pod: field_of(pod, "metadata", "labels", "app", default="") == app
            )
            if any(
                c["type"] == "Ready" and c["status"] == "True"
                for c in field_of(pod, "status", "conditions", default=())
            )
            and not field_of(pod, "metadata", "deletionTimestamp", default="")
        ]


def _only_beats(old: Obj | None, new: Obj | None) -> bool:
    """A node that says again what it said, only later."""
    if old is None or new is None or new.get("kind") != "Node":
        return False
    return _still(old) == _still(new)


def _still(node: Obj) -> Any:
    status = node.get("status") or {}
    conditions = [{**condition, "lastHeartbeatTime": ""} for condition in status.get("conditions") or ()]
    return {**status, "conditions": conditions}, node.get("spec"), node["metadata"].get("labels")


async def _nothing() -> None:
    return None


async def _no_store() -> Store:
    raise Broken("an agent opens no store")


def _no_runtime() -> Runtime:
    raise Broken("a server runs no pods")


def run(
    scenario: Callable[[World], Awaitable[None]],
    *,
    seed: int,
    directory: Path,
    nodes: int = 1,
    images: Mapping[str, Behaviour] | None = None,
) -> World:
    """Play `scenario` in a started world; every invariant must have held throughout.  Returns the world as it ended."""

    async def play() -> World:
        world = World(seed, directory, nodes=nodes, images=images)
        try:
            await world.start()
            await scenario(world)
            world.check()
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
        finally:
            await world.stop()
        return world

    return run_virtual(play())
