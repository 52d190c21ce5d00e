"""The agent role: kubelet, engine, network, proxy and DNS of one host, working from what it knows while the API is away.

Knows no store and no API server, only a Transport and a Cache.
"""

from __future__ import annotations

from loguru import logger

from cluster.base.tasks import Supervisor
from cluster.client.cache import Cache
from cluster.client.events import EventRecorder
from cluster.client.node_channel import NodeChannel
from cluster.client.transport import Transport
from cluster.config import Settings
from cluster.dns.forwarder import Forwarder, host_resolvers
from cluster.dns.server import DnsServer
from cluster.kubelet.kubelet import Kubelet
from cluster.kubelet.security import PodPolicy
from cluster.kubelet.settings import KubeletSettings
from cluster.node_runtime import node_network
from cluster.ports import Ports
from cluster.proxy.commands import Commands
from cluster.proxy.conntrack import ConntrackFlows
from cluster.proxy.docker_user import DockerForwarding
from cluster.proxy.nft import NftApplier
from cluster.proxy.proxy import Proxy
from cluster.resources.builtin import PODS, SERVICES

DNS_PORT = 53


class NodeAgent:
    """This host as a node.  Keeps working, from what it last knew, while the API is away."""

    def __init__(self, settings: Settings, ports: Ports, *, transport: Transport, cache: Cache) -> None:
        clock, entropy = ports.clock, ports.entropy
        self._settings = settings
        self._cache = cache
        self._ports = ports
        self._supervisor = Supervisor(clock)
        self._simulated = settings.runtime == "simulated"
        self._runtime = ports.runtime()
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
                flows=ConntrackFlows(Commands()),
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
                    host_resolvers(own=(self._settings.dns_ip,)), clock=self._ports.clock, entropy=self._ports.entropy
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
