"""An HTTP/1.1 client for one server, over a Unix socket, TCP or TLS: whole answers, growing ones, raw streams.

Connections are kept and reused within a bound.  It follows no redirects, keeps no cookies and uses no proxy settings.
Sources: RFC 9110, RFC 9112.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from cluster.base.http_connection import (
    BadResponse,
    ConnectFailed,
    ConnectionBroken,
    Head,
    HttpConnection,
    HttpError,
    HttpTimeout,
    ResponseTooLarge,
)

__all__ = [
    "BadResponse",
    "ConnectFailed",
    "ConnectionBroken",
    "Connector",
    "Headers",
    "HttpClient",
    "HttpError",
    "HttpTimeout",
    "Limits",
    "Response",
    "ResponseTooLarge",
    "StreamedResponse",
    "TcpConnector",
    "UnixConnector",
    "UpgradeRefused",
    "UpgradedConnection",
]

REPEATABLE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Sent again, once, when a kept connection turns out dead before a byte of the answer.  PUT and DELETE are left out:
a conditional write that was applied and then repeated would be reported as a conflict (Go's net/http draws the same line)."""

_METHOD = re.compile(r"[A-Z]+")
_TARGET = re.compile(r"/[\x21-\x7e]*")
_FIELD_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


Headers = Mapping[str, str | Sequence[str]]
"""Fields of a request; a sequence of values is a field that is repeated, one line each."""


class Connector(Protocol):
    """How to reach the server."""

    @property
    def host(self) -> str:
        """The value of the Host header."""
        ...

    async def connect(self, connection: HttpConnection) -> None:
        """Connect that protocol.  Raises OSError (an ssl.SSLError is one)."""
        ...


@dataclass(frozen=True, slots=True)
class UnixConnector:
    path: str
    host: str = "localhost"

    async def connect(self, connection: HttpConnection) -> None:
        await asyncio.get_running_loop().create_unix_connection(lambda: connection, self.path)


@dataclass(frozen=True, slots=True)
class TcpConnector:
    """TCP, or TLS with `tls`.  `server_name` is verified in place of `address` when given."""

    address: str
    port: int
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    server_name: str = ""

    @property
    def host(self) -> str:
        name = self.server_name or self.address
        return f"[{name}]:{self.port}" if ":" in name else f"{name}:{self.port}"

    async def connect(self, connection: HttpConnection) -> None:
        await asyncio.get_running_loop().create_connection(
            lambda: connection,
            self.address,
            self.port,
            ssl=self.tls,
            server_hostname=(self.server_name or self.address) if self.tls is not None else None,
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one client.  Beyond `connections_max` a request waits, within its deadline, for another to end."""

    connections_max: int = 256
    idle_max: int = 8
    idle_age_s: float = 60.0
    headers_max_bytes: int = 65_536
    body_max_bytes: int = 67_108_864  # of a response read whole; streams have none


@dataclass(frozen=True, slots=True)
class Response:
    """A complete answer; header names are lower-case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class UpgradeRefused(HttpError):
    """The server answered `response` instead of 101."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"the server answered {response.status} instead of upgrading")
        self.response = response


class StreamedResponse:
    """An answer whose body is read as it comes; a reader that does not read makes the server wait."""

    def __init__(self, head: Head, connection: HttpConnection) -> None:
        self.status = head.status
        self.headers = head.headers
        self._connection = connection

    async def read(self) -> bytes:
        """Some bytes; empty at the end.  Raises ConnectionBroken when the end is missing."""
        return await self._connection.read()

    async def read_all(self, max_bytes: int) -> bytes:
        """What is left of the body.  Raises ResponseTooLarge."""
        parts: list[bytes] = []
        size = 0
        while chunk := await self.read():
            size += len(chunk)
            if size > max_bytes:
                raise ResponseTooLarge(f"the body exceeds {max_bytes} bytes")
            parts.append(chunk)
        return b"".join(parts)


class UpgradedConnection:
    """Bytes both ways after 101, with back-pressure.  The owner closes it."""

    def __init__(self, head: Head, connection: HttpConnection, pool: HttpClient) -> None:
        self.headers = head.headers
        self._connection = connection
        self._pool: HttpClient | None = pool

    async def read(self) -> bytes:
        """Some bytes; empty once the peer has finished."""
        return await self._connection.read()

    async def write(self, data: bytes) -> None:
        await self._connection.write(data)

    def write_eof(self) -> None:
        """End our direction only; nothing over TLS, which cannot."""
        self._connection.write_eof()

    def close(self) -> None:
        """Idempotent."""
        self._connection.close()
        if self._pool is not None:
            self._pool.give_back(self._connection)
            self._pool = None


_Exchange = tuple[HttpConnection, Head]


class HttpClient:
    """All requests to one server.  Every method raises HttpError, and ValueError for a malformed request."""

    def __init__(self, connector: Connector, *, limits: Limits = Limits()) -> None:
        self._connector = connector
        self._limits = limits
        self._idle: deque[tuple[float, HttpConnection]] = deque()  # oldest first; entries: idle since, connection
        self._slots = asyncio.Semaphore(limits.connections_max)
        self._open: set[HttpConnection] = set()
        self._closed = False

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Headers | None = None,
        body: bytes = b"",
        timeout_s: float = 30.0,
    ) -> Response:
        """One request and its whole answer within `timeout_s`; any status is returned, none raised."""
        data = _encode(method, path, self._connector.host, headers, body)
        connection: HttpConnection | None = None
        try:
            async with asyncio.timeout(timeout_s):
                connection, head = await self._exchange(method, data)
                text = await StreamedResponse(head, connection).read_all(self._limits.body_max_bytes)
        except TimeoutError:
            raise HttpTimeout(f"{method} took more than {timeout_s:g} s") from None
        finally:
            if connection is not None:
                self.give_back(connection)
        return Response(head.status, head.headers, text)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        headers: Headers | None = None,
        body: bytes = b"",
        timeout_s: float = 30.0,
    ) -> AsyncIterator[StreamedResponse]:
        """An answer read as it grows; `timeout_s` bounds the wait for its head only.  Leaving early closes it."""
        connection, head = await self._begin(method, path, headers, body, timeout_s)
        try:
            yield StreamedResponse(head, connection)
        finally:
            self.give_back(connection)

    async def upgrade(
        self,
        method: str,
        path: str,
        *,
        protocol: str,
        headers: Headers | None = None,
        body: bytes = b"",
        timeout_s: float = 30.0,
    ) -> UpgradedConnection:
        """Switch the connection to `protocol` (`tcp`, `websocket`).  Raises UpgradeRefused with any other answer."""
        fields = {**(headers or {}), "Connection": "Upgrade", "Upgrade": protocol}
        connection, head = await self._begin(method, path, fields, body, timeout_s)
        if head.status == 101:
            return UpgradedConnection(head, connection, self)
        try:
            async with asyncio.timeout(timeout_s):
                text = await StreamedResponse(head, connection).read_all(self._limits.body_max_bytes)
        except TimeoutError:
            raise HttpTimeout(f"{method} took more than {timeout_s:g} s") from None
        finally:
            self.give_back(connection)
        raise UpgradeRefused(Response(head.status, head.headers, text))

    async def close(self) -> None:
        """Close every connection, those in use too; later requests raise ConnectFailed.  Idempotent."""
        self._closed = True
        self._idle.clear()
        for connection in list(self._open):
            connection.close()
            self._open.discard(connection)
        await asyncio.sleep(0)  # the loop delivers connection_lost

    def give_back(self, connection: HttpConnection) -> None:
        """End an exchange: keep the connection if it can serve another, else close it."""
        self._slots.release()
        if connection.finish() and not self._closed and connection in self._open:
            self._idle.append((asyncio.get_running_loop().time(), connection))
            if len(self._idle) > self._limits.idle_max:
                self._drop(self._idle.popleft()[1])
        else:
            self._drop(connection)

    async def _begin(self, method: str, path: str, headers: Headers | None, body: bytes, timeout_s: float) -> _Exchange:
        data = _encode(method, path, self._connector.host, headers, body)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange(method, data)
        except TimeoutError:
            raise HttpTimeout(f"{method} was not answered within {timeout_s:g} s") from None

    async def _exchange(self, method: str, data: bytes) -> _Exchange:
        """Send and await the head; the caller gives the connection back."""
        await self._slots.acquire()
        connection: HttpConnection | None = None
        try:
            connection = self._reusable()
            if connection is not None:
                try:
                    await connection.start(data, is_head_request=method == "HEAD")
                    return connection, await connection.head()
                except ConnectionBroken as error:
                    self._drop(connection)
                    if error.answered or method not in REPEATABLE_METHODS:
                        raise
            connection = await self._connect()
            await connection.start(data, is_head_request=method == "HEAD")
            return connection, await connection.head()
        except BaseException:
            self._slots.release()
            if connection is not None:
                self._drop(connection)
            raise

    def _reusable(self) -> HttpConnection | None:
        """The most recently used idle connection; those too old or closed by the server are dropped."""
        oldest_at = asyncio.get_running_loop().time() - self._limits.idle_age_s
        while self._idle and (self._idle[0][0] < oldest_at or not self._idle[0][1].is_reusable):
            self._drop(self._idle.popleft()[1])
        while self._idle:
            _, connection = self._idle.pop()
            if connection.is_reusable:
                return connection
            self._drop(connection)
        return None

    async def _connect(self) -> HttpConnection:
        if self._closed:
            raise ConnectFailed("the client is closed")
        connection = HttpConnection(headers_max_bytes=self._limits.headers_max_bytes)
        try:
            await self._connector.connect(connection)
        except OSError as error:
            raise ConnectFailed(f"cannot connect: {error.strerror or error}") from error
        self._open.add(connection)
        return connection

    def _drop(self, connection: HttpConnection) -> None:
        connection.close()
        self._open.discard(connection)


def _encode(method: str, path: str, host: str, headers: Headers | None, body: bytes) -> bytes:
    """The request's bytes.  Raises ValueError for what could be read as something else (request splitting)."""
    if not _METHOD.fullmatch(method) or not _TARGET.fullmatch(path):
        raise ValueError("malformed method or request target")
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    for name, value in (headers or {}).items():
        values = (value,) if isinstance(value, str) else value
        if not _FIELD_NAME.fullmatch(name) or not all(_FIELD_VALUE.fullmatch(each) for each in values):
            raise ValueError(f"malformed header {name!r}")
        if name.lower() in ("host", "content-length", "transfer-encoding"):
            raise ValueError(f"the client sets {name} itself")
        lines.extend(f"{name}: {each}" for each in values)
    if body or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
