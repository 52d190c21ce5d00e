"""Both roles in one process: `dev up`, `reconciler serve`, small hosts.

`control_plane` is the server role, `node_agent` the agent role; the agent's transport and cache are the server's own here.
"""

from __future__ import annotations

from cluster.config import Settings
from cluster.control_plane import ControlPlane, identity_of
from cluster.node_agent import NodeAgent
from cluster.ports import Ports


class Cluster:
    """Control plane and one node in one process."""

    def __init__(self, settings: Settings, ports: Ports) -> None:
        self.settings = settings
        self.plane = ControlPlane(settings, ports)
        self._ports = ports
        self._agent: NodeAgent | None = None

    async def start(self) -> None:
        await self.plane.start()
        settings, api = self.settings, self.plane.api
        agent = NodeAgent(
            settings,
            self._ports,
            transport=api.transport(identity_of(f"system:node:{settings.node_name}")),
            cache=api.cache(),
        )
        self._agent = agent
        await agent.start()
        self.plane.channels.connect(settings.node_name, agent.channel)

    async def stop(self) -> None:
        if self._agent is not None:
            await self._agent.stop()
        await self.plane.stop()
