"""The kubelet itself as a NodeChannel, and the same at the other end of its agent's connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from cluster.client.node_channel import NodeChannel
from cluster.client.node_channel_agent import NodeChannelAgent
from cluster.client.node_channel_server import RemoteNodeChannel
from tests.clocks import SteppedClock
from tests.contract.node_channel_suite import NodeChannelSuite, Programs
from tests.pipes import pipe


class TestInProcess(NodeChannelSuite):
    @pytest.fixture
    def channel(self, programs: Programs) -> NodeChannel:
        return programs.channel()


class TestOverTheAgentsConnection(NodeChannelSuite):
    @pytest.fixture
    async def channel(self, programs: Programs) -> AsyncIterator[NodeChannel]:
        near, far = pipe()
        remote = RemoteNodeChannel("n1", near, SteppedClock())
        agent = NodeChannelAgent(programs.channel(), far, SteppedClock())
        running = [asyncio.create_task(remote.run()), asyncio.create_task(agent.run())]
        yield remote
        remote.close()
        assert not [problem for problem in await asyncio.gather(*running) if "protocol" in problem]
