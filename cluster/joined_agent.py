"""The agent role as a process of its own: a node of an API server that is reached over HTTPS with the node's identity.

Knows no store and no API server; `compose` has both roles in one process instead.
"""

from __future__ import annotations

from pathlib import Path

from loguru import logger

from cluster.base.tasks import Supervisor
from cluster.client.certificate_renewal import CertificateRenewal
from cluster.client.informer import Informer
from cluster.client.kept_state import KeptState
from cluster.client.node_channel_agent import keep_connected
from cluster.client.node_frames import PATH, PROTOCOL
from cluster.client.rest import HttpTransport
from cluster.client.transport import Query
from cluster.config import Settings
from cluster.kubelet.checkpoint import read_pods
from cluster.node_agent import NodeAgent
from cluster.ports import Ports
from cluster.resources.builtin import ENDPOINT_SLICES, NODES, PODS, SERVICES

RETRY_MAX_S = 5.0
"""Between two attempts at a server that is away, doubled by jitter: when it is back, its node follows within ten seconds."""


ANSWER_WAIT_S = 3.0
"""How long a starting agent waits for the server before it goes on with the pods it knew."""


class JoinedAgent:
    """A NodeAgent with a transport and a cache of its own.

    `start` waits for the server only where nothing was kept from an earlier run; `stop` may be called while it does.
    """

    def __init__(self, settings: Settings, ports: Ports, *, transport: HttpTransport, kubeconfig: Path) -> None:
        self._renewal = CertificateRenewal(transport, kubeconfig, ports.clock)
        self._supervisor = Supervisor(ports.clock)
        self.node_name = own = settings.node_name
        self._cache = Informer(
            transport,
            (SERVICES, ENDPOINT_SLICES, NODES, PODS),
            ports.clock,
            ports.entropy,
            # A node may read no other node, and only its own pods.
            queries={
                NODES: Query(field_selector=f"metadata.name={own}"),
                PODS: Query(field_selector=f"spec.nodeName={own}"),
            },
            retry_max_s=RETRY_MAX_S,
        )
        # Pods are kept by the kubelet, each in its directory for as long as it is here.
        self._kept = KeptState(
            settings.state_dir / "kept", self._cache, (SERVICES, ENDPOINT_SLICES, NODES), ports.clock
        )
        self._kubelet_dir = settings.kubelet_dir
        self._agent = NodeAgent(settings, ports, transport=transport, cache=self._cache)
        self._transport = transport
        self._ports = ports

    async def start(self) -> None:
        """Raises EngineError when the engine does not answer or the network cannot be made."""
        self._kept.load()
        self._supervisor.start("informer", self._cache.run)
        self._supervisor.start("kept-state", self._kept.run)
        self._supervisor.start("kept-pods", self._go_on_with_kept_pods)
        self._supervisor.start("certificate", self._renewal.run)
        await self._agent.start()
        self._supervisor.start("node-channel", self._keep_connected)

    async def _go_on_with_kept_pods(self) -> None:
        """A server that does not answer soon is away: what ran here goes on, and starts again where the host did.

        Not at once: a pod that was deleted meanwhile must not be started by an agent that only had to ask.
        """
        await self._ports.clock.sleep(ANSWER_WAIT_S)
        if not self._cache.is_synced(PODS):
            pods = read_pods(self._kubelet_dir)
            self._cache.preload(PODS, pods)
            logger.warning("the server is away, going on with what is known", node=self.node_name, count=len(pods))

    async def _keep_connected(self) -> None:
        """Logs, exec and port-forward come to the node through a connection that it makes itself."""
        await keep_connected(
            lambda: self._transport.upgrade(f"{PATH}{self.node_name}", protocol=PROTOCOL),
            self._agent.channel,
            node=self.node_name,
            clock=self._ports.clock,
            entropy=self._ports.entropy,
        )

    async def stop(self) -> None:
        """Containers and rules stay."""
        await self._agent.stop()
        await self._supervisor.stop()
