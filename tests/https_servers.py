"""Small HTTPS servers on loopback for tests: one function answers, requests are kept to be looked at."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cluster.base.pki import KeyPair, create_ca, issue_serving


@dataclass(frozen=True, slots=True)
class Received:
    """A request; header names are lower-case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Answer = Callable[[Received], Awaitable[Answered]]


@dataclass(slots=True)
class HttpsPeer:
    port: int
    ca_pem: str
    received: list[Received]
    connections: int = 0


def authority() -> KeyPair:
    return create_ca("test-ca", now=datetime.now(UTC))


@asynccontextmanager
async def https_peer(
    directory: Path, answer: Answer, *names: str, host: str = "127.0.0.1", ca: KeyPair | None = None
) -> AsyncIterator[HttpsPeer]:
    """A server with a certificate for `names`, of an authority of its own."""
    now = datetime.now(UTC)
    ca = ca or authority()
    pair = issue_serving(ca, "peer", [*names], now=now)
    (directory / "peer.pem").write_bytes(pair.certificate + pair.key)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(directory / "peer.pem")
    tasks: dict[asyncio.Task[None], None] = {}
    peer = HttpsPeer(0, ca.certificate.decode(), [])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks[task] = None
        peer.connections += 1
        try:
            while (request := await _request(reader)) is not None:
                peer.received.append(request)
                answered = await answer(request)
                head = f"HTTP/1.1 {answered.status} x\r\nContent-Length: {len(answered.body)}\r\n"
                head += "".join(f"{name}: {value}\r\n" for name, value in answered.headers.items())
                writer.write(head.encode() + b"\r\n" + answered.body)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # swallowed at the end only: asyncio's streams report a cancelled handler as an error
        finally:
            writer.close()

    server = await asyncio.start_server(serve, host, 0, ssl=tls)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _request(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, target, headers, body)
