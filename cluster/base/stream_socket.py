"""A non-blocking socket, plain or TLS, for coroutines: reads that wait, writes that stop when the peer does not read.

Nothing is buffered here beyond what the kernel and OpenSSL hold: `send` returns when the bytes are handed over, so a slow
reader slows its writer instead of growing memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Final

from cluster.base.readiness import Readiness

RECEIVE_SIZE_BYTES: Final = 65_536
SEND_SLICE_BYTES: Final = 65_536


class StreamSocket:
    """One connection, used by one coroutine at a time in each direction.

    The read side stays registered with the event loop between waits; it is only taken off when bytes arrive while nobody
    reads, so that an idle keep-alive connection costs no system calls.
    """

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self._sock = sock
        self._loop = loop
        self._fd = sock.fileno()
        self._reader: Readiness | None = None
        self._writer: asyncio.Future[None] | None = None
        self._registered = False
        self._closed = False

    @property
    def tls(self) -> ssl.SSLSocket | None:
        return self._sock if isinstance(self._sock, ssl.SSLSocket) else None

    async def handshake(self) -> None:
        """Complete the TLS handshake.  Raises OSError (ssl.SSLError among them)."""
        tls = self.tls
        if tls is None:
            return
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                await self.readable()
            except ssl.SSLWantWriteError:
                await self._writable()
            else:
                return

    async def receive_next(self) -> bytes:
        """As `receive`, for a peer that is not expected to have sent anything yet: no vain look at the socket first."""
        tls = self.tls
        if tls is None or not tls.pending():
            await self.readable()
        return await self.receive()

    async def receive(self) -> bytes:
        """Some bytes, or empty at the end of the stream.  Raises OSError."""
        while True:
            try:
                data = self._sock.recv(RECEIVE_SIZE_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError):
                await self.readable()
                continue
            except ssl.SSLWantWriteError:
                await self._writable()
                continue
            except ssl.SSLEOFError:
                return b""
            tls = self.tls
            while tls is not None and data and (pending := tls.pending()) and len(data) < 4 * RECEIVE_SIZE_BYTES:
                data += tls.recv(pending)
            return data

    async def send(self, data: bytes) -> None:
        """Hand all of `data` to the kernel, waiting while it is full.  Raises OSError."""
        view = memoryview(data)
        while view:
            # OpenSSL wants a write that would block repeated with the same bytes: slices are never cut differently.
            piece = view[:SEND_SLICE_BYTES]
            try:
                sent = self._sock.send(piece)
            except (BlockingIOError, ssl.SSLWantWriteError):
                await self._writable()
                continue
            except ssl.SSLWantReadError:
                await self.readable()
                continue
            view = view[sent:]

    def finish_sending(self) -> None:
        """Tell the peer that nothing more will be sent.  What it still sends can only be received to be discarded."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    async def readable(self) -> None:
        """Return when bytes (or the end) have arrived.  Bytes OpenSSL already holds do not count: drain them first."""
        if self._closed:
            raise ConnectionAbortedError("closed")
        if not self._registered:
            self._loop.add_reader(self._fd, self._on_readable)
            self._registered = True
        self._reader = Readiness(self._loop)
        try:
            await self._reader
        finally:
            self._reader = None

    async def _writable(self) -> None:
        if self._closed:
            raise ConnectionAbortedError("closed")
        self._writer = self._loop.create_future()
        self._loop.add_writer(self._fd, self._on_writable)
        try:
            await self._writer
        finally:
            self._writer = None
            if not self._closed:
                self._loop.remove_writer(self._fd)

    def _on_readable(self) -> None:
        if self._reader is None:
            self._loop.remove_reader(self._fd)
            self._registered = False
        else:
            self._reader.fire()

    def _on_writable(self) -> None:
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    def close(self) -> None:
        """Close at once; whoever waits gets ConnectionAbortedError.  Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        if self._reader is not None:
            self._reader.fail(ConnectionAbortedError("closed"))
        if self._writer is not None and not self._writer.done():
            self._writer.set_exception(ConnectionAbortedError("closed"))
        self._sock.close()
