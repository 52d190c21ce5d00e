"""What runs pods on this machine: Docker engine, sandboxes, bridge, mounts; and its removal.

`--runtime simulated` replaces the containers and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Sequence

from cluster.base.clock import Clock
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
from cluster.ports import Runtime
from cluster.proxy.commands import Commands
from cluster.proxy.docker_user import DockerForwarding
from cluster.proxy.nft import NftApplier
from cluster.proxy.proxy import purge as purge_rules
from cluster.proxy.ruleset import NodeNetwork
from cluster.simulation.engine import SimulatedEngine, SimulatedNetwork, SimulatedSandboxes
from cluster.simulation.host import SimulatedHost
from cluster.simulation.mounts import SimulatedMounter
from cluster.simulation.probes import SimulatedProbeRunner

PURGE_PARALLEL = 8
"""Containers removed at the same time."""


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
