"""Where agents connect: `GET /node-channel/v1/NODE`, upgraded, keeps one connection through which the server reaches the node.

Only the agent of that very node may: its certificate says so, and no role can give that right to anybody else.
"""

from __future__ import annotations

from loguru import logger

from cluster.apiserver.http import ApiRequest, Identity, RawConnection, Reply
from cluster.apiserver.node_authorizer import node_name_of
from cluster.base.clock import Clock
from cluster.client.node_channel import NodeChannel, NodeChannels
from cluster.client.node_channel_server import RemoteNodeChannel
from cluster.client.node_frames import PATH, PROTOCOL
from cluster.machinery.errors import BadRequest, Forbidden, ServiceUnavailable


class ConnectedNodes:
    """The channels to nodes whose agents are connected.  Implements `NodeChannels`."""

    def __init__(self) -> None:
        self._channels: dict[str, NodeChannel] = {}

    def connect(self, node: str, channel: NodeChannel) -> None:
        """The newest connection of a node is the one that counts."""
        self._channels[node] = channel

    def disconnect(self, node: str, channel: NodeChannel) -> None:
        """That channel is gone; a newer one stays."""
        if self._channels.get(node) is channel:
            del self._channels[node]

    def channel(self, node: str) -> NodeChannel:
        if (found := self._channels.get(node)) is None:
            raise ServiceUnavailable(f'no agent of node "{node}" is connected')
        return found


class NodeChannelEndpoint:
    """One part of the API server's paths that are no resources."""

    def __init__(self, channels: NodeChannels, clock: Clock) -> None:
        self._channels = channels
        self._clock = clock
        self._connected: dict[str, RemoteNodeChannel] = {}

    def handle(self, request: ApiRequest, user: Identity) -> Reply | None:
        """None for another path.  Raises Forbidden, BadRequest."""
        if not request.path.startswith(PATH):
            return None
        node = request.path.removeprefix(PATH)
        if not node or node_name_of(user) != node:
            raise Forbidden(f'forbidden: User "{user.name}" is not the agent of node "{node}"')
        if request.method != "GET" or request.headers.get("upgrade", "").lower() != PROTOCOL:
            raise BadRequest(f"this path is only served as an upgrade to {PROTOCOL}")

        async def serve(connection: RawConnection) -> None:
            await self._serve(node, connection)

        return Reply(101, upgrade=serve, headers={"Upgrade": PROTOCOL, "Connection": "Upgrade"})

    async def _serve(self, node: str, connection: RawConnection) -> None:
        channel = RemoteNodeChannel(node, connection, self._clock)
        if (older := self._connected.get(node)) is not None:
            # The agent has begun anew; its former connection may not have noticed yet.
            older.close()
        self._connected[node] = channel
        self._channels.connect(node, channel)
        logger.info("agent connected", node=node)
        reason = "the server stops"
        try:
            reason = await channel.run()
        finally:
            self._channels.disconnect(node, channel)
            if self._connected.get(node) is channel:
                del self._connected[node]
            logger.info("agent disconnected", node=node, reason=reason)
