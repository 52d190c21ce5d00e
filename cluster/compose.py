"""Builds the roles from settings: the only module that sees everything.

`ControlPlane` is the server role (API, store, controllers, scheduler): no root, no Docker.  `NodeAgent` is the agent role
(kubelet, engine, network, proxy, DNS).  `Cluster` runs both in one process.
"""

from __future__ import annotations

import asyncio
import os
import platform
import socket
from collections.abc import Sequence
from ipaddress import IPv4Network

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from loguru import logger

from cluster.apiserver.allocators import ServicePools
from cluster.apiserver.apiserver import ApiServer, ApiServerSettings
from cluster.apiserver.bootstrap import Address
from cluster.apiserver.credentials import Credentials, ensure_credentials, write_admin_kubeconfig
from cluster.apiserver.http import Identity
from cluster.apiserver.server import HttpsServer, serving_context
from cluster.base.clock import Clock
from cluster.base.entropy import Entropy, SystemEntropy
from cluster.base.http_client import HttpClient
from cluster.base.tasks import Supervisor
from cluster.client.cache import Cache
from cluster.client.events import EventRecorder
from cluster.client.node_channel import NodeChannel
from cluster.client.transport import Transport
from cluster.config import Settings
from cluster.controllers.run import Controllers
from cluster.dns.forwarder import Forwarder, host_resolvers
from cluster.dns.server import DnsServer
from cluster.kubelet.host import Host, SystemHost
from cluster.kubelet.kubelet import Kubelet
from cluster.kubelet.network.addresses import choose_cidr
from cluster.kubelet.network.bridge import BridgeNetwork, BridgeSettings
from cluster.kubelet.network.netlink import open_netlink
from cluster.kubelet.node import default_address
from cluster.kubelet.probe_runners import NetworkProbeRunner, ProbeRunner
from cluster.kubelet.runtime import namespaces
from cluster.kubelet.runtime.api import Container, ContainerEngine, ContainerStreams, ImageStore, PodNetwork, Sandboxes
from cluster.kubelet.runtime.docker import DockerEngine
from cluster.kubelet.runtime.docker_api import DockerApi
from cluster.kubelet.runtime.docker_host import HostCredentials, docker_connector
from cluster.kubelet.runtime.docker_images import DockerImages
from cluster.kubelet.runtime.docker_streams import DockerStreams
from cluster.kubelet.runtime.sandbox import PoolSettings, SandboxPool
from cluster.kubelet.security import PodPolicy
from cluster.kubelet.settings import KubeletSettings
from cluster.kubelet.volumes.mounts import Mounter, NoMounter, SystemMounter, mounts_below
from cluster.machinery.errors import ServiceUnavailable
from cluster.machinery.resource import Resource
from cluster.proxy.commands import Commands
from cluster.proxy.docker_user import DockerForwarding
from cluster.proxy.nft import NftApplier
from cluster.proxy.proxy import Proxy
from cluster.proxy.proxy import purge as purge_rules
from cluster.proxy.ruleset import NodeNetwork
from cluster.resources.builtin import PODS, SERVICES
from cluster.resources.catalog import Catalog, builtin_catalog
from cluster.scheduler.scheduler import Scheduler
from cluster.simulation.engine import SimulatedEngine, SimulatedNetwork, SimulatedSandboxes
from cluster.simulation.host import SimulatedHost
from cluster.simulation.mounts import SimulatedMounter
from cluster.simulation.probes import SimulatedProbeRunner
from cluster.store.compactor import Compactor
from cluster.store.sqlite import SqliteStore

DNS_PORT = 53
PURGE_PARALLEL = 8
"""Containers removed at the same time."""


def identity_of(user: str) -> Identity:
    """Who a component is, with the groups its kind of name brings.  Upstream: serviceaccount.UserInfo, NodeUserInfo."""
    groups = ["system:authenticated"]
    if user.startswith("system:serviceaccount:"):
        namespace = user.split(":")[2]
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", *groups]
    elif user.startswith("system:node:"):
        groups = ["system:nodes", *groups]
    return Identity(user, tuple(groups))


def served_resources(catalog: Catalog) -> Sequence[Resource]:
    """Each stored resource once, in the version it is stored in."""
    return [
        descriptor.resource
        for descriptor in catalog
        if "list" in descriptor.resource.verbs and descriptor.storage == descriptor.resource
    ]


class Channels:
    """The streams to each node whose agent is connected."""

    def __init__(self) -> None:
        self._channels: dict[str, NodeChannel] = {}

    def connect(self, node: str, channel: NodeChannel) -> None:
        self._channels[node] = channel

    def channel(self, node: str) -> NodeChannel:
        if (found := self._channels.get(node)) is None:
            raise ServiceUnavailable(f'no agent of node "{node}" is connected')
        return found


class ControlPlane:
    """API server and everything that decides.  `stop` works in any state."""

    def __init__(self, settings: Settings, *, clock: Clock, entropy: Entropy) -> None:
        self.settings = settings
        self.channels = Channels()
        self._clock = clock
        self._entropy = entropy
        self._supervisor = Supervisor(clock)
        self._store: SqliteStore | None = None
        self._server: HttpsServer | None = None
        self._api: ApiServer | None = None

    @property
    def api(self) -> ApiServer:
        if self._api is None:
            raise RuntimeError("the control plane has not started")
        return self._api

    async def start(self) -> None:
        """Open the store, serve on loopback, run the controllers.  Raises OSError, StoreError."""
        settings, clock, entropy = self.settings, self._clock, self._entropy
        credentials = self._credentials()
        self._store = await SqliteStore.open(settings.store_file, clock=clock)
        key = serialization.load_pem_private_key(credentials.token_key, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("the service account key is not an elliptic curve key")
        catalog = builtin_catalog()
        self._api = ApiServer(
            store=self._store,
            catalog=catalog,
            clock=clock,
            entropy=entropy,
            node_channels=self.channels,
            settings=ApiServerSettings(
                service_account_key=key,
                issuer=f"https://kubernetes.default.svc.{settings.cluster_domain}",
                audiences=(f"https://kubernetes.default.svc.{settings.cluster_domain}",),
                address=Address(address=settings.gateway_ip, port=settings.api_port, service_ip=settings.kubernetes_ip),
                pools=ServicePools(network=IPv4Network(settings.service_cidr)),
                port_in_use=host_port_in_use,
                root_ca_pem=credentials.ca.certificate.decode(),
            ),
        )
        await self._api.start()
        self._server = HttpsServer(
            handler=self._api,
            authenticator=self._api.authenticator,
            tls=serving_context(
                str(credentials.serving_certificate_file), str(credentials.serving_key_file), str(credentials.ca_file)
            ),
            clock=clock,
        )
        self.listen(settings.api_host)
        write_admin_kubeconfig(
            settings.kubeconfig,
            credentials,
            directory=settings.pki_dir,
            host=settings.api_host,
            port=settings.api_port,
            name="reconciler",
            now=clock.now(),
        )
        self._supervisor.start("compactor", Compactor(self._store, clock).run)
        self._start_deciding(self._api, catalog, ca_pem=credentials.ca.certificate.decode())

    def _start_deciding(self, api: ApiServer, catalog: Catalog, *, ca_pem: str) -> None:
        clock, entropy, cache = self._clock, self._entropy, api.cache()
        controllers = Controllers(
            transport_of=lambda user: api.transport(identity_of(user)),
            cache=cache,
            clock=clock,
            entropy=entropy,
            served=lambda: served_resources(catalog),
            ca_pem=ca_pem,
        )
        self._supervisor.start("controllers", controllers.run)
        transport = api.transport(identity_of(Scheduler.identity))
        recorder = EventRecorder(transport, clock, entropy, component="default-scheduler")
        self._supervisor.start("events-scheduler", recorder.run)
        scheduler = Scheduler(transport=transport, cache=cache, clock=clock, entropy=entropy, recorder=recorder)
        self._supervisor.start("scheduler", scheduler.run)

    def listen(self, host: str) -> None:
        """Serve the API on one more address of this host.  Raises OSError."""
        if self._server is None:
            raise RuntimeError("the control plane has not started")
        self._server.listen(host, self.settings.api_port)
        logger.info("api serves", address=f"{host}:{self.settings.api_port}")

    async def stop(self) -> None:
        await self._supervisor.stop()
        if self._server is not None:
            await self._server.stop()
        if self._api is not None:
            await self._api.stop()
        if self._store is not None:
            await self._store.close()

    def _credentials(self) -> Credentials:
        settings = self.settings
        names = [
            settings.api_host,
            "localhost",
            "127.0.0.1",
            settings.gateway_ip,
            settings.kubernetes_ip,
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            f"kubernetes.default.svc.{settings.cluster_domain}",
            settings.node_name,
        ]
        return ensure_credentials(settings.pki_dir, list(dict.fromkeys(names)), now=self._clock.now())


class Runtime:
    """What runs pods on this host: engine, sandboxes, network, all named by the cluster's id."""

    def __init__(
        self,
        *,
        engine: ContainerEngine,
        streams: ContainerStreams,
        images: ImageStore,
        sandboxes: Sandboxes,
        network: PodNetwork,
        probe_runner: ProbeRunner,
        host: Host,
        mounter: Mounter,
        client: HttpClient | None,
    ) -> None:
        self.engine = engine
        self.streams = streams
        self.images = images
        self.sandboxes = sandboxes
        self.network = network
        self.probe_runner = probe_runner
        self.host = host
        self.mounter = mounter
        self._client = client

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


def docker_runtime(settings: Settings, *, entropy: Entropy) -> Runtime:
    """The engine the docker command would use, with our own sandboxes and bridge."""
    client = HttpClient(docker_connector(os.environ))
    api = DockerApi(client)
    engine = DockerEngine(api, cluster_id=settings.cluster_id, set_hostname=namespaces.set_hostname)
    images = DockerImages(api, credentials=HostCredentials(os.environ))
    streams = DockerStreams(api)
    return Runtime(
        engine=engine,
        streams=streams,
        images=images,
        sandboxes=SandboxPool(
            PoolSettings(
                cluster_id=settings.cluster_id,
                program_directory=settings.state_dir,
                architecture=platform.machine(),
            ),
            engine=engine,
            images=images,
            host_names=namespaces,
            entropy=entropy,
        ),
        network=BridgeNetwork(bridge_settings(settings)),
        probe_runner=NetworkProbeRunner(streams),
        host=SystemHost(),
        mounter=SystemMounter() if os.geteuid() == 0 else NoMounter(),
        client=client,
    )


def simulated_runtime(settings: Settings, *, clock: Clock) -> Runtime:
    """Pods that run in no container: everything else is real."""
    engine = SimulatedEngine(clock=clock)
    return Runtime(
        engine=engine,
        streams=engine,
        images=engine,
        sandboxes=SimulatedSandboxes(engine),
        network=SimulatedNetwork(settings.node_cidr),
        probe_runner=SimulatedProbeRunner(engine, clock),
        host=SimulatedHost(settings.node_name, default_address()),
        mounter=SimulatedMounter(),
        client=None,
    )


def bridge_settings(settings: Settings) -> BridgeSettings:
    return BridgeSettings(cluster_id=settings.cluster_id, cidr=settings.node_cidr, addresses=(settings.dns_ip,))


def node_network(settings: Settings) -> NodeNetwork:
    """What the packet rules of this node are made for."""
    return NodeNetwork(
        cluster_id=settings.cluster_id,
        bridge=bridge_settings(settings).bridge,
        pods=settings.pod_cidr,
        node_pods=settings.node_cidr,
    )


class NodeAgent:
    """This host as a node.  Keeps working, from what it last knew, while the API is away."""

    def __init__(
        self, settings: Settings, *, transport: Transport, cache: Cache, clock: Clock, entropy: Entropy
    ) -> None:
        self._settings = settings
        self._cache = cache
        self._clock = clock
        self._entropy = entropy
        self._supervisor = Supervisor(clock)
        self._simulated = settings.runtime == "simulated"
        self._runtime = (
            simulated_runtime(settings, clock=clock) if self._simulated else docker_runtime(settings, entropy=entropy)
        )
        recorder = EventRecorder(transport, clock, entropy, component="kubelet", host=settings.node_name)
        self._recorder = recorder
        self._kubelet = Kubelet(
            settings=KubeletSettings(
                node_name=settings.node_name,
                root_dir=settings.kubelet_dir,
                cluster_dns=(settings.dns_ip,),
                cluster_domain=settings.cluster_domain,
                pod_cidr=settings.node_cidr,
                policy=PodPolicy(
                    privileged=settings.allow_privileged,
                    host_namespaces=settings.allow_host_network,
                    host_paths=settings.allowed_host_paths,
                ),
            ),
            transport=transport,
            cache=cache,
            engine=self._runtime.engine,
            streams=self._runtime.streams,
            images=self._runtime.images,
            sandboxes=self._runtime.sandboxes,
            network=self._runtime.network,
            probe_runner=self._runtime.probe_runner,
            host=self._runtime.host,
            mounter=self._runtime.mounter,
            clock=clock,
            entropy=entropy,
            supervisor=self._supervisor,
            recorder=recorder,
        )
        self._dns: DnsServer | None = None
        self._proxy: Proxy | None = None
        if not self._simulated:
            rules = node_network(settings)
            self._proxy = Proxy(
                network=rules,
                node_name=settings.node_name,
                cache=cache,
                applier=NftApplier(rules.table, commands=Commands()),
                forwarding=DockerForwarding(rules, commands=Commands()),
                clock=clock,
                entropy=entropy,
                supervisor=self._supervisor,
            )

    async def start(self) -> None:
        """Raises EngineError when the engine does not answer or the network cannot be made."""
        self._settings.kubelet_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
        if self._simulated:
            logger.warning("containers are simulated: nothing runs", node=self._settings.node_name)
        await self._cache.sync((PODS, SERVICES))
        await self._runtime.network.setup()
        if self._proxy is not None:
            await self._proxy.start()
        self._supervisor.start("events-kubelet", self._recorder.run)
        await self._kubelet.start()
        if not self._simulated:
            self._dns = DnsServer(
                cache=self._cache,
                domain=self._settings.cluster_domain,
                forwarder=Forwarder(
                    host_resolvers(own=(self._settings.dns_ip,)), clock=self._clock, entropy=self._entropy
                ),
                listen=((self._settings.dns_ip, DNS_PORT),),
            )
            await self._dns.start()

    @property
    def channel(self) -> NodeChannel:
        return self._kubelet.channel()

    async def stop(self) -> None:
        """Containers and rules stay."""
        if self._dns is not None:
            await self._dns.stop()
        await self._kubelet.stop()
        if self._proxy is not None:
            await self._proxy.stop()
        await self._supervisor.stop()
        await self._runtime.close()


class Cluster:
    """Control plane and one node in one process."""

    def __init__(self, settings: Settings, *, clock: Clock, entropy: Entropy) -> None:
        self.settings = settings
        self.plane = ControlPlane(settings, clock=clock, entropy=entropy)
        self._clock = clock
        self._entropy = entropy
        self._agent: NodeAgent | None = None

    async def start(self) -> None:
        await self.plane.start()
        settings, api = self.settings, self.plane.api
        agent = NodeAgent(
            settings,
            transport=api.transport(identity_of(f"system:node:{settings.node_name}")),
            cache=api.cache(),
            clock=self._clock,
            entropy=self._entropy,
        )
        self._agent = agent
        await agent.start()
        self.plane.channels.connect(settings.node_name, agent.channel)
        if settings.runtime != "simulated":
            self.plane.listen(settings.gateway_ip)

    def transport(self, user: str, groups: Sequence[str] = ()) -> Transport:
        """The API as somebody: the groups are those the name brings, and these."""
        identity = identity_of(user)
        return self.plane.api.transport(Identity(user, (*identity.groups, *groups)))

    @property
    def cache(self) -> Cache:
        return self.plane.api.cache()

    async def stop(self) -> None:
        if self._agent is not None:
            await self._agent.stop()
        await self.plane.stop()


def host_port_in_use(port: int) -> bool:
    """Somebody on this host listens on a TCP or UDP port, on any address."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                return True
    return False


async def choose_ranges(pods: str, services: str) -> tuple[str, str]:
    """The pod and service ranges, moved where this host's routes or addresses already use them."""
    async with open_netlink() as netlink:
        taken = [
            *await netlink.routed_ranges(except_through=0),
            *[str(address) for link in await netlink.links() for address in await netlink.addresses(link.index)],
        ]
    chosen_pods = choose_cidr(pods, taken)
    return chosen_pods, choose_cidr(services, [*taken, chosen_pods])


async def purge_host(settings: Settings) -> Sequence[str]:
    """Remove what the cluster made on this host: containers, rules, network, mounts.  Returns what was done, in words."""
    if settings.runtime == "simulated":
        return ()
    lines: list[str] = []
    runtime = docker_runtime(settings, entropy=SystemEntropy())
    try:
        containers = await runtime.engine.list()
        slots = asyncio.Semaphore(PURGE_PARALLEL)

        async def remove(container: Container) -> None:
            async with slots:
                await runtime.engine.remove(container.id)

        await asyncio.gather(*(remove(container) for container in containers))
        await runtime.sandboxes.purge()
        lines.append(f"removed {len(containers)} containers")
    finally:
        await runtime.close()
    rules = node_network(settings)
    await purge_rules(NftApplier(rules.table, commands=Commands()), DockerForwarding(rules, commands=Commands()))
    await runtime.network.purge()
    # Before anybody removes the directory: through a bind mount that would remove the host's own files.
    mounter = SystemMounter()
    for mounted in mounts_below(settings.kubelet_dir):
        mounter.unmount(mounted)
    return lines
