"""One HTTP/1.1 connection as a client uses it: bytes in, one response at a time out, raw bytes after an upgrade.

The parser is llhttp in its strict mode.  This module knows no pool, no retry and no deadline: `http_client` has those.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol, cast

import httptools


class HttpError(Exception):
    """A request without a complete response."""


class ConnectFailed(HttpError):
    """No connection could be made; the request was not sent."""


class ConnectionBroken(HttpError):
    """The connection ended too early; `answered` says whether any byte of the response had come."""

    def __init__(self, message: str, *, answered: bool) -> None:
        super().__init__(message)
        self.answered = answered


class HttpTimeout(HttpError):
    """The deadline passed; the request may have been carried out."""


class ResponseTooLarge(HttpError):
    """Headers or body exceed their bound."""


class BadResponse(HttpError):
    """What came is not HTTP/1.1 as the RFCs (9110, 9112) have it."""


@dataclass(frozen=True, slots=True)
class Head:
    """The start of a response; header names are lower-case, repeated ones joined with a comma."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)


class _Phase(Enum):
    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    DONE = auto()
    RAW = auto()
    CLOSED = auto()


class _Parser(Protocol):
    """The part of httptools.HttpResponseParser used here."""

    def feed_data(self, data: bytes) -> None: ...
    def get_status_code(self) -> int: ...
    def should_keep_alive(self) -> bool: ...


BUFFER_HIGH_BYTES = 262_144
"""Above this many unread body bytes the socket is no longer read: the peer waits."""
BUFFER_LOW_BYTES = 65_536


class HttpConnection(asyncio.Protocol):
    """States: IDLE -start-> HEAD -> BODY -> DONE -finish-> IDLE; HEAD -101-> RAW; any -> CLOSED.

    One exchange at a time, driven by one task.
    """

    def __init__(self, *, headers_max_bytes: int) -> None:
        self._headers_max_bytes = headers_max_bytes
        self._transport: asyncio.Transport | None = None
        self._parser: _Parser = httptools.HttpResponseParser(self)
        self._phase = _Phase.IDLE
        self._error: HttpError | None = None
        self._is_head_request = False
        self._answered = False
        self._is_unasked = False
        self._head_bytes = 0
        self._fields: dict[str, str] = {}
        self._head: Head | None = None
        self._keep_alive = True
        self._chunks: deque[bytes] = deque()
        self._buffered_bytes = 0
        self._reading_paused = False
        self._eof = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._writing_paused = False

    # -- what the client calls ------------------------------------------------------------------------------------

    @property
    def is_reusable(self) -> bool:
        """Idle, open, and nothing has arrived unasked."""
        return self._phase is _Phase.IDLE and self._keep_alive and self._error is None and not self._eof

    async def start(self, data: bytes, *, is_head_request: bool) -> None:
        """Send a whole request; returns when the kernel has taken it.  Raises ConnectionBroken."""
        self._phase = _Phase.HEAD
        self._is_head_request = is_head_request
        self._answered = False
        self._head = None
        self._reset_head()
        await self.write(data)

    async def head(self) -> Head:
        """The status and headers of the final response (100 Continue is skipped)."""
        while self._head is None:
            self._raise_if_broken()
            await self._wait_readable()
        return self._head

    async def read(self) -> bytes:
        """Some bytes of the body, or of the raw stream after an upgrade; empty at its end."""
        while True:
            if self._chunks:
                chunk = self._chunks.popleft()
                self._buffered_bytes -= len(chunk)
                if self._reading_paused and self._buffered_bytes <= BUFFER_LOW_BYTES:
                    self._reading_paused = False
                    if self._transport is not None and not self._transport.is_closing():
                        self._transport.resume_reading()
                return chunk
            if self._phase is _Phase.DONE or (self._phase is _Phase.RAW and self._eof):
                return b""
            self._raise_if_broken()
            await self._wait_readable()

    async def write(self, data: bytes) -> None:
        """Returns once the buffer before the kernel is below its bound."""
        if self._transport is None or self._transport.is_closing():
            raise self._error or ConnectionBroken("the connection is closed", answered=self._answered)
        self._transport.write(data)
        while self._writing_paused:
            self._writer = asyncio.get_running_loop().create_future()
            await self._writer
            if self._error is not None:
                raise self._error

    def write_eof(self) -> None:
        """Say that nothing more will be written, where the transport can (TLS cannot: it closes nothing)."""
        if self._transport is not None and not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()

    def finish(self) -> bool:
        """End the exchange; whether the connection can serve another."""
        if self._phase is _Phase.DONE and self._keep_alive and not self._chunks and not self._eof:
            self._phase = _Phase.IDLE
            return True
        self.close()
        return False

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._fail(ConnectionBroken("the connection was closed", answered=self._answered))

    # -- what the event loop calls --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        match self._phase:
            case _Phase.RAW:
                self._append(data)
            case _Phase.HEAD | _Phase.BODY:
                self._feed(data)
            case _:  # nothing was asked: a late or forged answer must not be taken for the next one
                self._abort(BadResponse("bytes outside a response"))

    def eof_received(self) -> bool:
        self._eof = True
        if self._phase is _Phase.BODY and self._is_until_close():
            self._phase = _Phase.DONE
        elif self._phase in (_Phase.HEAD, _Phase.BODY):
            self._fail(ConnectionBroken("the peer closed within a response", answered=self._answered))
        self._wake_reader()
        return self._phase is _Phase.RAW  # a half-closed raw stream can still be written to

    def connection_lost(self, error: Exception | None) -> None:
        if not self._eof and error is None:
            self.eof_received()
        self._eof = True
        if self._phase is not _Phase.DONE and not (self._phase is _Phase.RAW and error is None):
            self._fail(ConnectionBroken(f"the connection broke: {error or 'closed'}", answered=self._answered))
        self._writing_paused = False
        self._wake_reader()
        self._wake_writer()

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._wake_writer()

    # -- what the parser calls ------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._is_unasked = self._phase is _Phase.DONE

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_unasked:
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._fields[key] = f"{self._fields[key]}, {text}" if key in self._fields else text

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self._is_unasked:
            return
        if 100 <= status < 200 and status != 101:
            return
        self._head = Head(status, self._fields)
        self._keep_alive = self._parser.should_keep_alive() and not self._is_head_request
        self._phase = _Phase.DONE if self._is_head_request else _Phase.BODY

    def on_body(self, data: bytes) -> None:
        if self._phase is _Phase.BODY:
            self._append(data)

    def on_message_complete(self) -> None:
        if self._head is None:  # an interim response: the final one follows
            self._reset_head()
        elif self._head.status != 101:
            self._phase = _Phase.DONE

    # -- inside ---------------------------------------------------------------------------------------------------

    def _feed(self, data: bytes) -> None:
        self._answered = True
        if self._phase is _Phase.HEAD:
            # Bytes that came with the head are counted too: the bound is on what is parsed before the head is whole.
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._head is None or self._head.status != 101:
                self._abort(BadResponse("an upgrade nobody asked for"))
                return
            self._phase = _Phase.RAW
            rest = data[upgrade.args[0] :]
            if rest:
                self._append(rest)
        except httptools.HttpParserError as error:
            if self._phase is not _Phase.DONE or not self._is_head_request:
                self._abort(BadResponse(f"not an HTTP/1.1 response: {error}"))
                return
        if self._is_unasked:
            self._abort(BadResponse("bytes after the response"))
            return
        if self._phase is _Phase.HEAD and self._head_bytes > self._headers_max_bytes:
            self._abort(ResponseTooLarge(f"headers exceed {self._headers_max_bytes} bytes"))
            return
        self._wake_reader()

    def _append(self, data: bytes) -> None:
        self._chunks.append(data)
        self._buffered_bytes += len(data)
        if self._buffered_bytes > BUFFER_HIGH_BYTES and not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()
        self._wake_reader()

    def _reset_head(self) -> None:
        self._fields = {}
        self._head_bytes = 0

    def _is_until_close(self) -> bool:
        """RFC 9112 section 6.3: without a length and without chunks, the body ends with the connection."""
        return "content-length" not in self._fields and "transfer-encoding" not in self._fields

    def _abort(self, error: HttpError) -> None:
        self._fail(error)
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: HttpError) -> None:
        if self._error is None:
            self._error = error
        self._keep_alive = False
        if self._phase is not _Phase.DONE:
            self._phase = _Phase.CLOSED
        self._wake_reader()
        self._wake_writer()

    def _raise_if_broken(self) -> None:
        if self._error is not None:
            raise self._error
        if self._eof and self._phase is not _Phase.RAW:
            raise ConnectionBroken("the peer closed", answered=self._answered)

    async def _wait_readable(self) -> None:
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _wake_writer(self) -> None:
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)
