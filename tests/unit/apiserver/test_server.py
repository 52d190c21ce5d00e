"""The HTTPS adapter on a real loopback socket: what is refused, what is streamed, who is asked."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime

import orjson
import pytest

from cluster.apiserver.http import ApiRequest, Identity, Reply
from cluster.apiserver.server import HttpsServer, serving_context
from cluster.base.clock import SystemClock
from cluster.base.pki import create_ca, issue_client, issue_serving

ALICE = Identity("alice")


class Authenticator:
    def __init__(self) -> None:
        self.asked = 0

    def is_current(self, identity):
        return True

    def authenticate(self, headers, peer_certificate):
        self.asked += 1
        if headers.get("authorization") == "Bearer bad":
            return None
        return Identity("from-certificate") if peer_certificate else ALICE


class Lines:
    """A byte source fed by the test."""

    def __init__(self) -> None:
        self.ready: list[bytes | None] = []
        self.closed = asyncio.Event()
        self._wake: Callable[[], None] = lambda: None

    def push(self, data: bytes | None) -> None:
        self.ready.append(data)
        self._wake()

    def take(self):
        return self.ready.pop(0) if self.ready else b""

    def on_ready(self, wake):
        self._wake = wake

    def close(self):
        self.closed.set()


@pytest.fixture
async def world(tmp_path):
    now = datetime.now(UTC)
    ca = create_ca("ca", now=now)
    pair = issue_serving(ca, "api", ["localhost", "127.0.0.1"], now=now)
    client = issue_client(ca, "bob", [], now=now)
    for name, data in {
        "ca": ca.certificate,
        "crt": pair.certificate,
        "key": pair.key,
        "client": client.certificate + client.key,
    }.items():
        (tmp_path / name).write_bytes(data)
    lines = Lines()

    async def handler(request: ApiRequest) -> Reply:
        if request.path == "/stream":
            return Reply(stream=lines)
        if request.path == "/fault":
            raise RuntimeError("a bug")
        if request.path == "/wait":
            async with asyncio.timeout(30):
                await asyncio.sleep(0)
        if request.path == "/late":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await asyncio.Event().wait()
        if request.path == "/late-fault":
            await asyncio.sleep(0)
            raise RuntimeError("a bug")
        if request.path == "/large":
            return Reply(body=b"x" * 4_000_000)
        return Reply(
            obj={"user": request.user.name, "path": request.path, "query": {k: list(v) for k, v in request.query.items()},
                 "size": len(request.body)},
            warnings=('say "hi"',),
        )  # fmt: skip

    authenticator = Authenticator()
    server = HttpsServer(
        handler=handler,
        authenticator=authenticator,
        tls=serving_context(str(tmp_path / "crt"), str(tmp_path / "key"), str(tmp_path / "ca")),
        clock=SystemClock(),
        refused=lambda request: None,
    )
    port = server.listen("127.0.0.1", 0)
    context = ssl.create_default_context(cafile=str(tmp_path / "ca"))

    async def connect(*, certificate: bool = False):
        if certificate:
            context.load_cert_chain(str(tmp_path / "client"))
        return await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")

    yield type("World", (), {"connect": staticmethod(connect), "lines": lines, "authenticator": authenticator})
    await server.stop()


async def exchange(connection, data: bytes) -> tuple[int, bytes, bytes]:
    reader, writer = connection
    writer.write(data)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
    )
    return int(head.split()[1]), head, await reader.readexactly(length)


async def test_a_request_reaches_the_handler_decoded(world):
    connection = await world.connect()
    status, head, body = await exchange(connection, b"GET /a%20b/?x=1&x=2&y HTTP/1.1\r\nHost: h\r\n\r\n")
    assert status == 200
    assert b'"path":"/a%20b/"' in body and b'"x":["1","2"]' in body and b'"y":[""]' in body
    assert b'Warning: 299 - "say \\"hi\\""' in head
    connection[1].close()


async def test_pipelined_requests_are_answered_in_order_on_one_connection(world):
    connection = await world.connect()
    reader, writer = connection
    writer.write(b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n")
    for expected in (b"/1", b"/2"):
        _, _, body = await exchange(connection, b"")
        assert b'"path":"%b"' % expected in body
    assert reader is not None
    writer.close()


@pytest.mark.parametrize("path", [b"/wait", b"/late"])
async def test_a_handler_that_has_to_wait_holds_back_what_was_pipelined_behind_it(world, path):
    connection = await world.connect()
    connection[1].write(b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET %b HTTP/1.1\r\nHost: h\r\n\r\n" % path)
    connection[1].write(b"GET /2 HTTP/1.1\r\nHost: h\r\n\r\n")
    for expected in (b"/1", path, b"/2"):
        _, _, body = await exchange(connection, b"")
        assert b'"path":"%b"' % expected in body
    connection[1].close()


async def test_a_peer_that_reads_late_gets_all_of_a_large_answer_and_the_next(world):
    connection = await world.connect()
    connection[1].write(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n")
    _, _, body = await exchange(connection, b"")
    assert len(body) == 4_000_000
    _, _, body = await exchange(connection, b"")
    assert b'"path":"/2"' in body
    connection[1].close()


async def test_a_client_certificate_identifies_its_owner_and_is_asked_for_once(world):
    connection = await world.connect(certificate=True)
    for _ in range(3):
        _, _, body = await exchange(connection, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert b"from-certificate" in body
    assert world.authenticator.asked == 1
    connection[1].close()


async def test_bad_credentials_are_401_with_a_status(world):
    connection = await world.connect()
    status, _, body = await exchange(connection, b"GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer bad\r\n\r\n")
    assert status == 401 and b'"reason":"Unauthorized"' in body
    connection[1].close()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", 415),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: " + b"y" * 300_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"NONSENSE\r\n\r\n", 400),
    ],
)  # fmt: skip
async def test_ambiguous_or_oversize_requests_are_refused_and_the_connection_ends(world, request_bytes, status):
    reader, writer = connection = await world.connect()
    answered, _, body = await exchange(connection, request_bytes)
    assert (answered, orjson.loads(body)["kind"], orjson.loads(body)["code"]) == (status, "Status", status)
    assert await reader.read() == b""
    writer.close()


async def test_a_chunked_body_over_the_limit_is_refused(world):
    reader, writer = connection = await world.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"%x\r\n%b\r\n" % (1 << 20, b"x" * (1 << 20))
    assert (await exchange(connection, chunk * 4))[0] == 413
    writer.close()
    assert reader is not None


async def test_a_waiting_client_is_told_to_continue(world):
    connection = await world.connect()
    reader, writer = connection
    writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    status, _, body = await exchange(connection, b"ok")
    assert status == 200 and b'"size":2' in body
    writer.close()


@pytest.mark.parametrize("fault", [b"/fault", b"/late-fault"])
async def test_a_fault_in_the_handler_is_500_and_serves_on(world, fault):
    connection = await world.connect()
    status, _, body = await exchange(connection, b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % fault)
    assert status == 500 and b"a bug" not in body
    assert (await exchange(connection, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"))[0] == 200
    connection[1].close()


async def test_a_stream_is_sent_as_it_grows_and_ends_cleanly(world):
    connection = await world.connect()
    reader, writer = connection
    writer.write(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    world.lines.push(b"one\n")
    assert await reader.readuntil(b"one\n\r\n") == b"4\r\none\n\r\n"
    world.lines.push(b"two\n")
    assert await reader.readuntil(b"two\n\r\n") == b"4\r\ntwo\n\r\n"
    world.lines.push(None)
    assert await reader.readuntil(b"0\r\n\r\n") == b"0\r\n\r\n"
    assert (await exchange(connection, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"))[0] == 200
    writer.close()


async def test_a_reader_that_leaves_closes_its_stream(world):
    reader, writer = await world.connect()
    writer.write(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    writer.close()
    async with asyncio.timeout(5):
        await world.lines.closed.wait()


async def test_a_reader_that_does_not_read_is_not_buffered_for(world):
    reader, writer = await world.connect()
    writer.transport.set_write_buffer_limits(0)
    writer.write(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.pause_reading()
    chunks = [b"x" * 262_144] * 400  # 100 MB
    for chunk in chunks:
        world.lines.push(chunk)
    left = -1
    while len(world.lines.ready) != left:  # until nothing more is taken
        left = len(world.lines.ready)
        await asyncio.sleep(0.05)
    assert left > 300
    writer.close()


async def test_what_is_ready_is_sent_to_its_end_without_another_wake(world):
    reader, writer = await world.connect()
    world.lines.ready = [b"one\n", b"two\n", None]
    async with asyncio.timeout(10):
        writer.write(b"GET /stream HTTP/1.1\r\nHost: h\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readuntil(b"\r\n0\r\n\r\n") == b"4\r\none\n\r\n4\r\ntwo\n\r\n0\r\n\r\n"
    writer.close()
