"""What every NodeChannel promises, whatever lies between it and the containers.  A subclass gives `channel`."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from cluster.client.node_channel import Chunk, ContainerRef, ExecSession, LogOptions, NodeChannel
from cluster.client.node_stats import ContainerUse, NodeStats, Use
from cluster.kubelet.identity import Identity
from cluster.kubelet.observe import ObservedContainer, PodObservation
from cluster.kubelet.runtime.api import Container, Sandbox, State
from cluster.kubelet.streams import KubeletChannel
from cluster.machinery.errors import BadRequest, NotFound
from tests.clocks import SteppedClock

WEB = ContainerRef("default", "web", "uid-1", "web")
ABSENT = WEB._replace(container="absent")
STATS = NodeStats(
    "2026-01-01T00:00:00Z",
    15_000,
    Use(1_500_000_000, 2**33),
    tuple(ContainerUse("default", f"p{n}", f"uid-{n}", "c", Use(n, n)) for n in range(5000)),
)
"""More than any window on the way."""
LINES = (b"one\n", b"two\n")
FLOOD = bytes(range(256)) * 4096 * 3
"""Three megabytes: far more than any window on the way."""


class Program:
    """A process that does what its name says; an ExecSession."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.taken = 0
        self.closed = asyncio.Event()
        self.sizes: list[tuple[int, int]] = []
        self._input: asyncio.Queue[bytes] = asyncio.Queue()

    async def send(self, data: bytes) -> None:
        if self.name == "deaf":
            await asyncio.get_running_loop().create_future()
        self.taken += len(data)
        await self._input.put(data)

    async def close_stdin(self) -> None:
        await self._input.put(b"")

    async def resize(self, width: int, height: int) -> None:
        self.sizes.append((width, height))

    async def output(self) -> AsyncIterator[Chunk]:
        match self.name:
            case "cat":
                while data := await self._input.get():
                    yield Chunk(1, data)
            case "digest":
                digest = hashlib.sha256()
                while data := await self._input.get():
                    digest.update(data)
                yield Chunk(1, digest.hexdigest().encode())
            case "complain":
                yield Chunk(1, b"out")
                yield Chunk(2, b"err")
            case "flood":
                for start in range(0, len(FLOOD), 100_000):
                    yield Chunk(1, FLOOD[start : start + 100_000])
            case _:
                await asyncio.get_running_loop().create_future()

    async def wait(self) -> int:
        return 3 if self.name == "complain" else 0

    async def close(self) -> None:
        self.closed.set()

    async def kill(self) -> None:
        self.closed.set()


class Programs:
    """The engine's streams, and all else that a KubeletChannel asks for: one pod with one running container."""

    def __init__(self) -> None:
        self.started: list[Program] = []
        self.streams: list[dict[str, bool]] = []
        self.logs_left = asyncio.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)

    async def logs(
        self, container_id: str, *, follow: bool, since: Any, tail_lines: int | None, timestamps: bool
    ) -> AsyncIterator[Chunk]:
        try:
            for line in LINES[-tail_lines if tail_lines else 0 :]:
                yield Chunk(1, line)
            if follow:
                await asyncio.get_running_loop().create_future()
        finally:
            self.logs_left.set()

    async def exec(self, container_id: str, command: Sequence[str], **streams: bool) -> Program:
        return self._start(command[0], streams)

    async def attach(self, container_id: str, **streams: bool) -> Program:
        return self._start("cat", streams)

    def _start(self, name: str, streams: dict[str, bool]) -> Program:
        self.started.append(Program(name))
        self.streams.append(streams)
        return self.started[-1]

    async def pod(self, uid: str) -> PodObservation:
        identity = Identity(
            pod_uid="uid-1",
            pod_namespace="default",
            pod_name="web",
            container="web",
            attempt=0,
            spec_hash="x",
            sandbox_id="s1",
            back_off_s=0,
            grace_s=30,
        )
        container = Container(
            "c1", "web", "i", "i", {}, State.RUNNING, started_at=datetime.fromtimestamp(1_000_000, UTC)
        )
        if uid != WEB.uid:
            return PodObservation(uid)
        return PodObservation(uid, Sandbox("s1", "s", uid, 1), (ObservedContainer(identity, container),))

    async def connect(self, port: int, *, pid: int, address: str) -> socket.socket:
        if port != 80:
            raise ConnectionRefusedError
        sock = socket.socket()
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, self.listener.getsockname())
        return sock

    async def accepted(self) -> socket.socket:
        return (await asyncio.get_running_loop().sock_accept(self.listener))[0]

    def channel(self) -> KubeletChannel:
        parts: dict[str, Any] = {"view": self, "streams": self, "network": self, "stats": self}
        return KubeletChannel(**parts, clock=SteppedClock(), address_of=lambda uid: "192.0.2.9")

    async def stats(self) -> NodeStats:
        return STATS


async def run(channel: NodeChannel, name: str, *, stdin: bool = False) -> ExecSession:
    return await channel.exec(WEB, [name], stdin=stdin, stdout=True, stderr=True, tty=False)


async def output_of(session: ExecSession) -> bytes:
    return b"".join([chunk.data async for chunk in session.output()])


class NodeChannelSuite:
    @pytest.fixture
    def programs(self) -> Any:
        made = Programs()
        yield made
        made.listener.close()

    async def test_logs_come_whole_and_end(self, channel: NodeChannel) -> None:
        assert b"".join([data async for data in channel.logs(WEB, LogOptions())]) == b"one\ntwo\n"

    async def test_the_options_of_logs_arrive(self, channel: NodeChannel) -> None:
        assert b"".join([data async for data in channel.logs(WEB, LogOptions(tail_lines=1))]) == b"two\n"
        assert b"".join([data async for data in channel.logs(WEB, LogOptions(limit_bytes=5))]) == b"one\nt"

    async def test_logs_of_what_is_not_there_are_refused(self, channel: NodeChannel) -> None:
        with pytest.raises(BadRequest, match="waiting to start"):
            _ = [data async for data in channel.logs(ABSENT, LogOptions())]

    async def test_who_stops_following_a_log_frees_the_engine(self, channel: NodeChannel, programs: Programs) -> None:
        logs = channel.logs(WEB, LogOptions(follow=True))
        assert await anext(logs)
        await logs.aclose()  # type: ignore[attr-defined]
        await programs.logs_left.wait()

    async def test_output_errors_and_exit_code_arrive(self, channel: NodeChannel) -> None:
        session = await run(channel, "complain")
        assert [chunk async for chunk in session.output()] == [Chunk(1, b"out"), Chunk(2, b"err")]
        assert await session.wait() == 3
        await session.close()

    async def test_the_streams_asked_for_are_the_engines(self, channel: NodeChannel, programs: Programs) -> None:
        session = await channel.exec(WEB, ["cat"], stdin=True, stdout=True, stderr=False, tty=True)
        await session.close()
        assert programs.streams == [{"stdin": True, "stdout": True, "stderr": False, "tty": True}]

    async def test_input_arrives_and_its_end_too(self, channel: NodeChannel) -> None:
        session = await run(channel, "cat", stdin=True)
        await session.send(b"typed")
        await session.close_stdin()
        assert await output_of(session) == b"typed"
        assert await session.wait() == 0
        await session.close()

    async def test_attaching_reaches_the_running_program(self, channel: NodeChannel) -> None:
        session = await channel.attach(WEB, stdin=True, stdout=True, stderr=True, tty=False)
        await session.send(b"hello")
        await session.close_stdin()
        assert await output_of(session) == b"hello"
        await session.close()

    async def test_nothing_is_lost_of_much_output(self, channel: NodeChannel) -> None:
        session = await run(channel, "flood")
        assert await output_of(session) == FLOOD
        await session.close()

    async def test_nothing_is_lost_of_much_input(self, channel: NodeChannel) -> None:
        session = await run(channel, "digest", stdin=True)
        await session.send(FLOOD)
        await session.close_stdin()
        assert await output_of(session) == hashlib.sha256(FLOOD).hexdigest().encode()
        await session.close()

    async def test_statistics_arrive_whole(self, channel: NodeChannel) -> None:
        assert await channel.stats() == STATS

    async def test_a_program_that_is_not_there_is_not_found(self, channel: NodeChannel) -> None:
        with pytest.raises(NotFound):
            await channel.exec(ABSENT, ["cat"], stdin=False, stdout=True, stderr=True, tty=False)

    async def test_who_does_not_read_holds_up_nobody_else(self, channel: NodeChannel) -> None:
        unread = await run(channel, "flood")
        session = await run(channel, "flood")
        assert await output_of(session) == FLOOD
        await session.close()
        await unread.close()

    async def test_a_program_that_does_not_read_makes_its_writer_wait(self, channel: NodeChannel) -> None:
        deaf = await run(channel, "deaf", stdin=True)
        writing = asyncio.create_task(deaf.send(FLOOD))
        session = await run(channel, "cat", stdin=True)
        await session.send(b"still here")
        await session.close_stdin()
        assert await output_of(session) == b"still here"
        assert not writing.done()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await deaf.close()

    async def test_closing_lets_go_of_the_process(self, channel: NodeChannel, programs: Programs) -> None:
        session = await run(channel, "sleep")
        await session.close()
        await programs.started[0].closed.wait()

    async def test_a_new_size_arrives(self, channel: NodeChannel, programs: Programs) -> None:
        session = await run(channel, "cat", stdin=True)
        await session.resize(120, 40)
        await session.send(b"x")
        assert (await anext(session.output())).data == b"x"
        assert programs.started[0].sizes == [(120, 40)]
        await session.close()

    async def test_a_port_is_a_byte_stream(self, channel: NodeChannel, programs: Programs) -> None:
        stream = await channel.connect(WEB, 80)
        loop = asyncio.get_running_loop()
        peer = await programs.accepted()
        await stream.write(b"question")
        assert await loop.sock_recv(peer, 100) == b"question"
        await loop.sock_sendall(peer, b"answer")
        assert await stream.read() == b"answer"
        peer.close()
        assert await stream.read() == b""
        await stream.close()

    async def test_closing_a_port_closes_the_connection(self, channel: NodeChannel, programs: Programs) -> None:
        stream = await channel.connect(WEB, 80)
        peer = await programs.accepted()
        await stream.close()
        assert await asyncio.get_running_loop().sock_recv(peer, 100) == b""
        peer.close()

    async def test_a_port_where_nobody_listens_is_refused(self, channel: NodeChannel) -> None:
        with pytest.raises(BadRequest, match="connection refused"):
            await channel.connect(WEB, 81)
