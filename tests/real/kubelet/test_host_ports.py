"""A pod's port on the host: it answers there, and no program of the host loses its own to it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from cluster.base.clock import SystemClock
from cluster.base.entropy import SystemEntropy
from cluster.base.tasks import Supervisor
from cluster.kubelet.host import SystemHost
from cluster.proxy.commands import Commands
from cluster.proxy.conntrack import ConntrackFlows
from cluster.proxy.docker_user import DockerForwarding
from cluster.proxy.nft import NftApplier
from cluster.proxy.proxy import Proxy
from cluster.proxy.ruleset import NodeNetwork
from tests.real.kubelet.conftest import SHARED_SUBNET, DockerNode
from tests.real.kubelet.shapes import PATIENT, ready, script

pytestmark = [
    pytest.mark.needs("docker", "root", "busybox", "nft", "conntrack"),
    pytest.mark.asyncio(loop_scope="package"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def proxied(shared: DockerNode) -> AsyncIterator[DockerNode]:
    """The shared node with its packet rules."""
    network = NodeNetwork(shared.cluster_id, shared.network.bridge, SHARED_SUBNET, SHARED_SUBNET)
    supervisor = Supervisor(SystemClock())
    proxy = Proxy(
        network=network,
        node_name="n1",
        cache=shared.server.cache(),
        applier=NftApplier(network.table, commands=Commands()),
        forwarding=DockerForwarding(network, commands=Commands()),
        flows=ConntrackFlows(Commands()),
        clock=SystemClock(),
        entropy=SystemEntropy(),
        supervisor=supervisor,
    )
    await proxy.start()
    try:
        yield shared
    finally:
        await proxy.purge()
        await supervisor.stop()


async def answer(address: str, port: int) -> bytes:
    """What a page's request is answered; empty when nobody does."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(address, port)
            writer.write(b"GET /index.html HTTP/1.0\r\n\r\n")
            data = await reader.read()
            writer.close()
            return data
    return b""


async def answers(address: str, port: int, page: bytes) -> None:
    """The rules follow a pod's address in a moment: this page, or nobody at all for an empty one."""
    deadline = time.monotonic() + 10
    while (got := await answer(address, port)).rpartition(b"\r\n\r\n")[2] != page:
        assert time.monotonic() < deadline, got
        await asyncio.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return int(probe.getsockname()[1])


async def test_a_host_port_answers_on_every_address_of_the_host_while_its_pod_runs(proxied: DockerNode) -> None:
    number = free_port()
    serving = script(f"echo hi > /tmp/index.html; httpd -p 8080 -h /tmp; {PATIENT}")
    await proxied.create("on-host", {**serving, "ports": [{"containerPort": 8080, "hostPort": number}]})
    await proxied.until("on-host", ready)
    for address in ("127.0.0.1", proxied.network.gateway_ip, SystemHost().address()):
        await answers(address, number, b"hi\n")
    with socket.socket() as other, pytest.raises(OSError, match="Address already in use"):
        other.bind(("0.0.0.0", number))
    await proxied.delete("on-host")
    await answers("127.0.0.1", number, b"")
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("0.0.0.0", number))


async def test_a_port_of_the_hosts_own_programs_stays_theirs(proxied: DockerNode) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"the host's own")
        writer.close()

    program = await asyncio.start_server(serve, "127.0.0.1", 0)
    number = program.sockets[0].getsockname()[1]
    async with program:
        serving = script(f"echo hi > /tmp/index.html; httpd -p 8080 -h /tmp; {PATIENT}")
        await proxied.create("greedy-port", {**serving, "ports": [{"containerPort": 8080, "hostPort": number}]})
        words = f"cannot take host port {number}/TCP: Address already in use"
        await proxied.until(
            "greedy-port", lambda pod: ("FailedCreatePodSandBox", words) in proxied.said.of("greedy-port")
        )
        assert await answer("127.0.0.1", number) == b"the host's own"
        assert not ready(await proxied.pod("greedy-port"))
        await proxied.delete("greedy-port")
