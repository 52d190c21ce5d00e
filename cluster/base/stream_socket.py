"""A non-blocking socket, plain or TLS: reads and writes that do what they can now, and coroutines that wait for the rest.

Nothing is buffered here beyond what the kernel and OpenSSL hold: `send` returns when the bytes are handed over, so a slow
reader slows its writer instead of growing memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Final

from cluster.base.readiness import Readiness

RECEIVE_SIZE_BYTES: Final = 16_384
"""The most a TLS record carries: after such a read OpenSSL holds nothing back, so the kernel's readiness tells everything."""
SEND_SLICE_BYTES: Final = 65_536


class StreamSocket:
    """One connection, used by one coroutine at a time in each direction.

    The read side stays registered with the event loop between waits; it is only taken off when bytes arrive while nobody
    reads, so that an idle keep-alive connection costs no system calls.
    """

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self._sock = sock
        # `read` of a TLS socket is its `recv` without the flags.
        self._receive = sock.read if isinstance(sock, ssl.SSLSocket) else sock.recv
        self._send = sock.send
        self._loop = loop
        self._fd = sock.fileno()
        self._reader: Readiness | None = None
        self._turn: Callable[[], bool] | None = None
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

    async def take_turns(self, turn: Callable[[], bool]) -> None:
        """Call `turn` in the event loop's callback whenever bytes have arrived, until it returns False.

        What can be answered at once is, without a task being resumed.  `turn` raises nothing.
        """
        self._turn = turn
        try:
            await self.readable()
        finally:
            self._turn = None

    def end_turns(self) -> None:
        """Resume who takes turns.  Only a callback of the event loop may call it."""
        if self._reader is not None:
            self._reader.fire()

    def receive_now(self) -> bytes | None:
        """What has arrived, empty at the end of the stream; None when nothing has.  Raises OSError."""
        try:
            return self._receive(RECEIVE_SIZE_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except ssl.SSLEOFError:
            return b""

    async def receive(self) -> bytes:
        """Some bytes, or empty at the end of the stream.  Raises OSError."""
        while True:
            try:
                data = self.receive_now()
            except ssl.SSLWantWriteError:
                await self._writable()
                continue
            if data is not None:
                return data
            await self.readable()

    def send_now(self, data: bytes | memoryview) -> int:
        """Hand over as much as the kernel takes; returns how much.  Raises OSError.

        OpenSSL wants a write that would block repeated with the same bytes: slices are never cut differently.
        """
        try:
            return self._send(data if len(data) <= SEND_SLICE_BYTES else memoryview(data)[:SEND_SLICE_BYTES])
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return 0

    async def send(self, data: bytes | memoryview) -> None:
        """Hand all of `data` to the kernel, waiting while it is full.  Raises OSError."""
        view = memoryview(data)
        while view:
            try:
                sent = self._send(view[:SEND_SLICE_BYTES])
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
        """Return when bytes (or the end) have arrived."""
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
        reader = self._reader
        if reader is None or reader.done():
            self._loop.remove_reader(self._fd)
            self._registered = False
        elif self._turn is None or not self._turn():
            reader.fire()

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
