"""Where agents connect: who may, and what a second connection does to the first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from cluster.apiserver.apiserver import ApiServer
from cluster.apiserver.http import ApiRequest, Identity, Reply
from cluster.apiserver.node_channels import ConnectedNodes
from cluster.client.node_channel import LogOptions
from cluster.client.node_channel_agent import NodeChannelAgent
from cluster.client.node_frames import PATH, PROTOCOL
from cluster.machinery.errors import ServiceUnavailable
from tests.apiservers import ADMIN, running
from tests.clocks import SteppedClock
from tests.contract.node_channel_suite import WEB, Programs
from tests.pipes import PipeEnd, pipe

NODES_GROUPS = ("system:nodes", "system:authenticated")
N1 = Identity("system:node:n1", NODES_GROUPS)


@pytest.fixture
def nodes() -> ConnectedNodes:
    return ConnectedNodes()


@pytest.fixture
async def server(nodes: ConnectedNodes) -> AsyncIterator[ApiServer]:
    async with running(node_channels=nodes) as server:
        yield server


async def ask(server: ApiServer, user: Identity, path: str = f"{PATH}n1", *, upgrade: str = PROTOCOL) -> Reply:
    return await server(ApiRequest("GET", path, user, {}, {"connection": "Upgrade", "upgrade": upgrade}))


@pytest.mark.parametrize(
    "user",
    [
        ADMIN,
        Identity("system:node:n2", NODES_GROUPS),
        Identity("system:node:n1", ("system:authenticated",)),
        Identity("system:anonymous", ("system:unauthenticated",)),
        Identity("jane", NODES_GROUPS),
    ],
    ids=lambda user: f"{user.name}-{user.groups[0]}",
)
async def test_only_the_agent_of_that_node_may_connect(server: ApiServer, user: Identity) -> None:
    assert (await ask(server, user)).status == 403


async def test_no_other_path_of_the_kind_is_served(server: ApiServer) -> None:
    assert (await ask(server, N1, f"{PATH}n1/logs")).status == 403
    assert (await ask(server, N1, PATH)).status == 403
    assert (await ask(server, N1, "/metrics")).status == 403


async def test_without_an_upgrade_it_is_a_bad_request(server: ApiServer) -> None:
    assert (await ask(server, N1, upgrade="websocket")).status == 400


async def connected(server: ApiServer, programs: Programs) -> tuple[PipeEnd, list[asyncio.Future[object]]]:
    """An agent of n1, connected through the endpoint."""
    reply = await ask(server, N1)
    assert reply.upgrade is not None
    assert (reply.status, reply.headers["Upgrade"]) == (101, PROTOCOL)
    near, far = pipe()
    agent = NodeChannelAgent(programs.channel(), far, SteppedClock())
    tasks: list[asyncio.Future[object]] = [
        asyncio.ensure_future(reply.upgrade(near)),
        asyncio.ensure_future(agent.run()),
    ]
    await asyncio.sleep(0)
    return far, tasks


async def log_of(nodes: ConnectedNodes) -> bytes:
    return b"".join([data async for data in nodes.channel("n1").logs(WEB, LogOptions())])


async def test_a_node_is_reached_while_its_agent_is_connected(server: ApiServer, nodes: ConnectedNodes) -> None:
    programs = Programs()
    end, tasks = await connected(server, programs)
    assert await log_of(nodes) == b"one\ntwo\n"
    end.close()
    await asyncio.gather(*tasks)
    with pytest.raises(ServiceUnavailable, match="n1"):
        nodes.channel("n1")
    programs.listener.close()


async def test_a_second_connection_of_a_node_replaces_the_first(server: ApiServer, nodes: ConnectedNodes) -> None:
    programs = Programs()
    _, first = await connected(server, programs)
    end, second = await connected(server, programs)
    await asyncio.gather(*first)
    assert await log_of(nodes) == b"one\ntwo\n"
    end.close()
    await asyncio.gather(*second)
    programs.listener.close()
