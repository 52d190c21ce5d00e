"""etcd's v3 API over its JSON gateway: calls, streams, and what its refusals mean.

The gateway is part of every etcd and speaks HTTP/1.1, so our own client serves it and no gRPC stack is loaded.  Knows the
wire (base64 keys, numbers as text, zero values left out); what is kept in etcd is `etcd`'s business.
Source: etcd api/etcdserverpb/rpc.proto, api/v3rpc/rpctypes/error.go.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import orjson

from cluster.base.http_client import ConnectFailed, HttpClient, HttpError, Limits, ResponseTooLarge, TcpConnector
from cluster.store.api import StoreError, TooLarge, Unavailable
from cluster.store.etcd_address import Endpoint

Message: TypeAlias = Mapping[str, Any]

CALL_TIMEOUT_S = 10.0
ANSWER_MAX_BYTES = 256 * 1024 * 1024
"""Largest answer read; a page that would be larger is asked for in smaller parts."""

LINE_MAX_BYTES = 64 * 1024 * 1024
"""Largest message of a stream: etcd cuts watch answers at its request size (1.5 MiB by default, and base64's third)."""

CONNECTIONS_MAX = 64
IDLE_MAX = 32


class EtcdRefused(StoreError):
    """etcd answered with an error that is about the request, not about its own state."""


class CompactedByEtcd(EtcdRefused):
    """The revision asked for is no longer kept."""


class FutureOfEtcd(EtcdRefused):
    """The revision asked for has not happened."""


class NoSuchLease(EtcdRefused):
    """The lease was never granted or has ended."""


class PageTooLarge(StoreError):
    """The answer exceeds ANSWER_MAX_BYTES; ask for less at once."""


class EtcdGateway:
    """The members of one etcd.  The first that accepts a connection is kept until it stops doing so."""

    def __init__(
        self, endpoints: Sequence[Endpoint], *, tls: ssl.SSLContext | None, answer_max_bytes: int = ANSWER_MAX_BYTES
    ) -> None:
        if not endpoints:
            raise ValueError("etcd needs at least one endpoint")
        limits = Limits(connections_max=CONNECTIONS_MAX, idle_max=IDLE_MAX, body_max_bytes=answer_max_bytes)
        self._endpoints = tuple(endpoints)
        self._clients = [HttpClient(TcpConnector(e.host, e.port, tls), limits=limits) for e in endpoints]
        self._chosen = 0

    def __str__(self) -> str:
        return f"etcd at {', '.join(map(str, self._endpoints))}"

    async def call(self, path: str, body: Message, *, timeout_s: float = CALL_TIMEOUT_S) -> Message:
        """One request, sent once: what became of a request that raises Unavailable is unknown.

        Raises EtcdRefused, TooLarge, PageTooLarge, Unavailable.
        """
        data = orjson.dumps(body)
        for attempt in range(len(self._clients)):
            try:
                response = await self._clients[self._chosen].request("POST", path, body=data, timeout_s=timeout_s)
            except ConnectFailed as error:
                self._chosen = (self._chosen + 1) % len(self._clients)
                if attempt + 1 == len(self._clients):
                    raise Unavailable(f"{self}: {error}") from error
            except ResponseTooLarge as error:
                raise PageTooLarge(str(error)) from error
            except HttpError as error:
                raise Unavailable(f"{self}: {error}") from error
            else:
                answer = _decoded(response.body)
                if response.status != 200:
                    raise _error_of(self, answer)
                return answer
        raise Unavailable(f"{self}: no member accepts connections")

    def stream(self, path: str, body: Message) -> AbstractAsyncContextManager[AsyncIterator[Message]]:
        """A growing answer, message by message.  Raises what `call` raises, while it is opened and while it is read."""
        return self._stream(path, orjson.dumps(body))

    @asynccontextmanager
    async def _stream(self, path: str, data: bytes) -> AsyncIterator[AsyncIterator[Message]]:
        client = self._clients[self._chosen]
        try:
            async with client.stream("POST", path, body=data, timeout_s=CALL_TIMEOUT_S) as response:
                if response.status != 200:
                    raise _error_of(self, _decoded(await response.read_all(ANSWER_MAX_BYTES)))
                yield self._messages(response.read)
        except HttpError as error:
            if isinstance(error, ConnectFailed):
                self._chosen = (self._chosen + 1) % len(self._clients)
            raise Unavailable(f"{self}: {error}") from error

    async def _messages(self, read: Any) -> AsyncIterator[Message]:
        parts: list[bytes] = []
        size_bytes = 0
        while chunk := await read():
            *lines, rest = chunk.split(b"\n")
            for line in lines:
                parts.append(line)
                if whole := b"".join(parts):
                    yield self._result_of(whole)
                parts, size_bytes = [], 0
            parts.append(rest)
            size_bytes += len(rest)
            if size_bytes > LINE_MAX_BYTES:
                raise Unavailable(f"{self}: a message of its stream exceeds {LINE_MAX_BYTES} bytes")

    def _result_of(self, line: bytes) -> Message:
        message = _decoded(line)
        if "error" in message:
            error = message["error"]
            raise _error_of(self, error if isinstance(error, Mapping) else message)
        result = message.get("result")
        return result if isinstance(result, Mapping) else {}

    async def close(self) -> None:
        for client in self._clients:
            await client.close()


def text_of(data: bytes) -> str:
    """Bytes as the gateway writes them."""
    return base64.b64encode(data).decode()


def bytes_of(text: str) -> bytes:
    return base64.b64decode(text)


def revision_of(message: Message) -> int:
    """The revision an answer's header names."""
    return int(message.get("header", {}).get("revision", 0))


def _decoded(body: bytes) -> Message:
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError:
        decoded = None
    if not isinstance(decoded, dict):
        raise Unavailable("what answers is not etcd: its answer is not a JSON object")
    return decoded


def _error_of(gateway: EtcdGateway, answer: Message) -> StoreError:
    """What an error means to the store, by etcd's own texts: several share one gRPC code."""
    why = str(answer.get("message") or answer.get("error") or "an error without a text")
    if "revision has been compacted" in why:
        return CompactedByEtcd(why)
    if "future revision" in why:
        return FutureOfEtcd(why)
    if "lease not found" in why:
        return NoSuchLease(why)
    if "too many operations" in why:
        return TooLarge(f"{why}; etcd's --max-txn-ops sets the bound")
    if "request is too large" in why or "message larger than max" in why:
        return TooLarge(f"{why}; etcd's --max-request-bytes sets the bound")
    if "database space exceeded" in why:
        return Unavailable(f"{gateway}: {why}", full=True)
    return Unavailable(f"{gateway}: {why}")
