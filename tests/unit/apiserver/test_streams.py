"""Logs and sessions: from a node's channel to the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import orjson
import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, Ping, Pong, TextMessage

from cluster.apiserver.apiserver import ApiServer
from cluster.apiserver.http import ApiRequest, RawConnection, Reply
from cluster.client.node_channel import ByteStream, Chunk, ContainerRef, ExecSession, LogOptions, NodeChannel
from cluster.machinery.errors import BadRequest, NotFound
from cluster.machinery.objects import with_field
from cluster.resources.builtin import PODS
from tests.apiservers import ADMIN, running
from tests.contract.transport_suite import pod


class Echo:
    """A process that writes back what it reads, then ends with 3 when its input does."""

    def __init__(self) -> None:
        self._input: asyncio.Queue[bytes] = asyncio.Queue(8)
        self.size = (0, 0)

    async def send(self, data: bytes) -> None:
        await self._input.put(data)

    async def close_stdin(self) -> None:
        await self._input.put(b"")

    async def resize(self, width: int, height: int) -> None:
        self.size = (width, height)

    async def output(self) -> AsyncIterator[Chunk]:
        while data := await self._input.get():
            yield Chunk(1, data)

    async def wait(self) -> int:
        return 3

    async def close(self) -> None:
        return None


class Loopback:
    """A port of a pod that shouts back what it hears, once."""

    def __init__(self) -> None:
        self._heard: asyncio.Queue[bytes] = asyncio.Queue()
        self._answered = False

    async def read(self) -> bytes:
        if self._answered:
            return b""
        self._answered = True
        return (await self._heard.get()).upper()

    async def write(self, data: bytes) -> None:
        await self._heard.put(data)

    async def close(self) -> None:
        return None


class EchoNode:
    def __init__(self) -> None:
        self.session = Echo()

    def channel(self, node: str) -> NodeChannel:
        return self

    async def logs(self, container: ContainerRef, options: LogOptions) -> AsyncIterator[bytes]:
        if options.previous:
            raise BadRequest("previous terminated container not found")
        yield f"{container.container} of {container.pod}\n".encode()
        yield b"second\n"

    async def exec(
        self, container: ContainerRef, command: Sequence[str], *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> ExecSession:
        if command == ["absent"]:
            raise NotFound("no such program")
        return self.session

    async def attach(
        self, container: ContainerRef, *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> ExecSession:
        return self.session

    async def connect(self, container: ContainerRef, port: int) -> ByteStream:
        if port != 80:
            raise NotFound(f"nothing listens on {port}")
        return Loopback()


class Peer:
    """The client's end of an upgraded connection: a RawConnection for the server, messages for the test."""

    def __init__(self) -> None:
        self._to_server: asyncio.Queue[bytes] = asyncio.Queue()
        self._frames = Connection(ConnectionType.CLIENT)
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()
        self.pongs = 0
        self.closed = False

    async def read(self) -> bytes:
        return await self._to_server.get()

    async def write(self, data: bytes) -> None:
        self._frames.receive_data(data)
        for event in self._frames.events():
            if isinstance(event, BytesMessage):
                await self.messages.put(bytes(event.data))
            elif isinstance(event, TextMessage):
                await self.messages.put(event.data.encode())
            elif isinstance(event, Pong):
                self.pongs += 1

    def close(self) -> None:
        self.closed = True

    def send(self, message: bytes) -> None:
        self._to_server.put_nowait(self._frames.send(BytesMessage(message)))

    def ping(self) -> None:
        self._to_server.put_nowait(self._frames.send(Ping()))


@pytest.fixture
def node() -> EchoNode:
    return EchoNode()


@pytest.fixture
async def server(node: EchoNode) -> AsyncIterator[ApiServer]:
    async with running(node_channels=node) as server:
        await server.transport(ADMIN).create(PODS, with_field(pod("p"), ("spec", "nodeName"), "n1"))
        yield server


def handshake(protocols: str) -> dict[str, str]:
    return {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-protocol": protocols,
    }


async def ask(server: ApiServer, subresource: str, protocols: str = "", **query: str | list[str]) -> Reply:
    parameters = {name: value if isinstance(value, list) else [value] for name, value in query.items()}
    headers = handshake(protocols) if protocols else {}
    return await server(
        ApiRequest("GET", f"/api/v1/namespaces/default/pods/p/{subresource}", ADMIN, parameters, headers)
    )


async def test_a_log_is_streamed_to_its_end(server: ApiServer) -> None:
    answer = await server.transport(ADMIN).raw("GET", "/api/v1/namespaces/default/pods/p/log")
    assert answer.body == b"c of p\nsecond\n"


async def test_a_log_that_is_refused_is_a_status(server: ApiServer) -> None:
    reply = await ask(server, "log", previous="true")
    assert reply.status == 400
    assert b"previous terminated container not found" in (reply.body or b"")


async def test_a_container_that_the_pod_lacks_is_a_bad_request(server: ApiServer) -> None:
    reply = await ask(server, "log", container="other")
    assert (reply.status, b"container other is not valid for pod p" in (reply.body or b"")) == (400, True)


async def test_a_session_carries_input_output_and_how_it_ended(server: ApiServer, node: EchoNode) -> None:
    protocols = "v5.channel.k8s.io, v4.channel.k8s.io"
    reply = await ask(server, "exec", protocols, command=["cat"], stdin="true", stdout="true")
    assert reply.status == 101
    assert reply.headers["Sec-WebSocket-Protocol"] == "v5.channel.k8s.io"
    assert reply.headers["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert reply.upgrade is not None
    peer = Peer()
    connection: RawConnection = peer
    serving = asyncio.ensure_future(reply.upgrade(connection))
    async with asyncio.timeout(10):
        peer.ping()
        peer.send(b"\x04" + orjson.dumps({"Width": 80, "Height": 24}))
        peer.send(b"\x00hello")
        assert await peer.messages.get() == b"\x01hello"
        peer.send(b"\xff\x00")
        ending = await peer.messages.get()
        await serving
    assert ending[0] == 3
    status = orjson.loads(ending[1:])
    assert (status["reason"], status["details"]["causes"][0]["message"]) == ("NonZeroExitCode", "3")
    assert (node.session.size, peer.pongs, peer.closed) == ((80, 24), 1, True)


async def test_a_program_that_cannot_be_started_ends_the_session_with_its_reason(server: ApiServer) -> None:
    reply = await ask(server, "exec", "v4.channel.k8s.io", command=["absent"], stdout="true")
    assert reply.upgrade is not None
    peer = Peer()
    await reply.upgrade(peer)
    ending = await peer.messages.get()
    assert orjson.loads(ending[1:])["message"] == "no such program"


async def test_a_protocol_nobody_speaks_is_refused(server: ApiServer) -> None:
    assert (await ask(server, "exec", "v9.example.com", command=["cat"], stdout="true")).status == 400
    assert (await ask(server, "exec", command=["cat"], stdout="true")).status == 400


async def test_ports_are_forwarded_over_plain_channels(server: ApiServer) -> None:
    reply = await ask(server, "portforward", "v4.channel.k8s.io", ports="80")
    assert reply.upgrade is not None
    peer = Peer()
    serving = asyncio.ensure_future(reply.upgrade(peer))
    async with asyncio.timeout(10):
        assert [await peer.messages.get(), await peer.messages.get()] == [b"\x00\x50\x00", b"\x01\x50\x00"]
        peer.send(b"\x00hello")
        assert await peer.messages.get() == b"\x00HELLO"
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_a_port_nobody_listens_on_is_told_on_its_error_channel(server: ApiServer) -> None:
    reply = await ask(server, "portforward", "v4.channel.k8s.io", ports="81")
    assert reply.upgrade is not None
    peer = Peer()
    serving = asyncio.ensure_future(reply.upgrade(peer))
    async with asyncio.timeout(10):
        messages = [await peer.messages.get() for _ in range(3)]
    assert messages[2] == b"\x01nothing listens on 81"
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_a_session_in_base64_is_text(server: ApiServer) -> None:
    reply = await ask(server, "exec", "base64.channel.k8s.io", command=["cat"], stdin="true", stdout="true")
    assert reply.upgrade is not None
    peer = Peer()
    serving = asyncio.ensure_future(reply.upgrade(peer))
    async with asyncio.timeout(10):
        peer.send(b"0aGVsbG8=")
        assert await peer.messages.get() == b"1aGVsbG8="
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


@pytest.mark.parametrize(
    ("protocol", "first"), [("binary.k8s.io", b"c of p\n"), ("base64.binary.k8s.io", b"YyBvZiBwCg==")]
)
async def test_a_log_goes_over_a_websocket(server: ApiServer, protocol: str, first: bytes) -> None:
    reply = await ask(server, "log", protocol)
    assert reply.upgrade is not None
    peer = Peer()
    await reply.upgrade(peer)
    assert await peer.messages.get() == first
    assert peer.closed
