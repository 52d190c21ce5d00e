"""This machine as the roles' ports: store file, credentials, HTTPS, Docker engine, bridge; and what is asked of it otherwise.

`compose` decides what runs; here is only what it runs on.  `--runtime simulated` replaces the containers and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import platform
import socket
from collections.abc import Sequence

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cluster.apiserver.apiserver import ApiServer
from cluster.apiserver.credentials import Credentials, ensure_credentials, write_admin_kubeconfig
from cluster.apiserver.server import HttpsServer, serving_context
from cluster.base.clock import Clock, SystemClock
from cluster.base.entropy import Entropy, SystemEntropy
from cluster.base.http_client import HttpClient
from cluster.config import Settings
from cluster.kubelet.host import SystemHost
from cluster.kubelet.network.addresses import choose_cidr
from cluster.kubelet.network.bridge import BridgeNetwork, BridgeSettings
from cluster.kubelet.network.netlink import open_netlink
from cluster.kubelet.node import default_address
from cluster.kubelet.probe_runners import NetworkProbeRunner
from cluster.kubelet.runtime import namespaces
from cluster.kubelet.runtime.api import Container
from cluster.kubelet.runtime.docker import DockerEngine
from cluster.kubelet.runtime.docker_api import DockerApi
from cluster.kubelet.runtime.docker_host import HostCredentials, docker_connector
from cluster.kubelet.runtime.docker_images import DockerImages
from cluster.kubelet.runtime.docker_streams import DockerStreams
from cluster.kubelet.runtime.sandbox import PoolSettings, SandboxPool
from cluster.kubelet.volumes.mounts import NoMounter, SystemMounter, mounts_below
from cluster.ports import Listener, Ports, Runtime, Trust
from cluster.proxy.commands import Commands
from cluster.proxy.docker_user import DockerForwarding
from cluster.proxy.nft import NftApplier
from cluster.proxy.proxy import purge as purge_rules
from cluster.proxy.ruleset import NodeNetwork
from cluster.simulation.engine import SimulatedEngine, SimulatedNetwork, SimulatedSandboxes
from cluster.simulation.host import SimulatedHost
from cluster.simulation.mounts import SimulatedMounter
from cluster.simulation.probes import SimulatedProbeRunner
from cluster.store.api import Store
from cluster.store.sqlite import SqliteStore

PURGE_PARALLEL = 8
"""Containers removed at the same time."""


def machine_ports(settings: Settings) -> Ports:
    """What this machine offers to a process that runs the roles.  Nothing is opened yet."""
    clock, entropy = SystemClock(), SystemEntropy()

    async def open_store() -> Store:
        return await SqliteStore.open(settings.store_file, clock=clock)

    def runtime() -> Runtime:
        if settings.runtime == "simulated":
            return simulated_runtime(settings, clock=clock)
        return docker_runtime(settings, entropy=entropy)

    def listener(api: ApiServer) -> Listener:
        return HttpsListener(api, settings, clock)

    return Ports(
        clock=clock,
        entropy=entropy,
        open_store=open_store,
        trust=lambda: trust_of(credentials_of(settings, clock)),
        listener=listener,
        port_in_use=host_port_in_use,
        runtime=runtime,
    )


def credentials_of(settings: Settings, clock: Clock) -> Credentials:
    """The files that make identities, with a serving certificate for every name this host is reached by."""
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
    return ensure_credentials(settings.pki_dir, list(dict.fromkeys(names)), now=clock.now())


def trust_of(credentials: Credentials) -> Trust:
    key = serialization.load_pem_private_key(credentials.token_key, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("the service account key is not an elliptic curve key")
    return Trust(token_key=key, ca_pem=credentials.ca.certificate.decode())


class HttpsListener:
    """TLS on this host's addresses.  The operator's kubeconfig is written once the first of them is served."""

    def __init__(self, api: ApiServer, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._credentials = credentials_of(settings, clock)
        self._server = HttpsServer(
            handler=api,
            authenticator=api.authenticator,
            tls=serving_context(
                str(self._credentials.serving_certificate_file),
                str(self._credentials.serving_key_file),
                str(self._credentials.ca_file),
            ),
            clock=clock,
        )

    def listen(self, host: str) -> None:
        settings = self._settings
        self._server.listen(host, settings.api_port)
        write_admin_kubeconfig(
            settings.kubeconfig,
            self._credentials,
            directory=settings.pki_dir,
            host=settings.api_host,
            port=settings.api_port,
            name="reconciler",
            now=self._clock.now(),
        )

    async def stop(self) -> None:
        await self._server.stop()


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
        close=client.close,
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
        close=engine.close,
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
