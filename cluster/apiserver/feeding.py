"""Replies that grow, watches and followed logs: what many connections have to send, sent together.

A source that has something new wakes its feed; all feeds that woke are served in one callback of the event loop, without
resuming a task for each.  A reader that does not read stops its own feed: its connection's task then waits for the socket.
"""

from __future__ import annotations

import asyncio
import math
from typing import Final

from cluster.apiserver.http import ByteSource
from cluster.base.stream_socket import StreamSocket

COALESCE_S: Final = 0.003
COALESCE_MAX_S: Final = 0.024
"""After feeding, the next waits this long; up to so long while each feed has much to send, or all together take long:
events alone leave at once, those of a long burst share a write."""
MUCH_BYTES: Final = 16_384
"""As much as one TLS record carries."""
AT_ONCE_MAX_BYTES: Final = 256 * 1024
LAST_CHUNK: Final = b"0\r\n\r\n"


class Feeder:
    """Serves the feeds of one server."""

    def __init__(self) -> None:
        self._woken: dict[Feed, None] = {}
        self._scheduled = False
        self._last_at = -math.inf
        self._interval_s = COALESCE_S

    def wake(self, feed: Feed) -> None:
        self._woken[feed] = None
        if not self._scheduled:
            self._scheduled = True
            loop = asyncio.get_running_loop()
            at = self._last_at + self._interval_s
            if at <= loop.time():
                loop.call_soon(self._feed)
            else:
                loop.call_at(at, self._feed)

    def forget(self, feed: Feed) -> None:
        self._woken.pop(feed, None)

    def _feed(self) -> None:
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        self._scheduled = False
        woken, self._woken = self._woken, {}
        most_bytes = 0
        shared = _Shared()
        for feed in woken:
            most_bytes = max(most_bytes, feed.send_now(shared))
        self._last_at = loop.time()
        interval_s = 2 * self._interval_s if most_bytes >= MUCH_BYTES else COALESCE_S
        self._interval_s = min(max(interval_s, 2 * (self._last_at - begun_at)), COALESCE_MAX_S)


class _Shared:
    """The last chunk and its framed form: watchers of the same things are given the very same bytes."""

    __slots__ = ("_chunk", "_framed")

    def __init__(self) -> None:
        self._chunk = self._framed = b""

    def framed(self, chunk: bytes) -> bytes:
        if chunk is not self._chunk:
            self._chunk, self._framed = chunk, _framed(chunk)
        return self._framed


def _framed(chunk: bytes) -> bytes:
    """RFC 9112 section 7.1."""
    return b"%x\r\n%b\r\n" % (len(chunk), chunk)


class Feed:
    """One growing reply on its way to one connection."""

    def __init__(self, stream: StreamSocket, source: ByteSource, feeder: Feeder) -> None:
        self._stream = stream
        self._source = source
        self._feeder = feeder
        self._waits = False
        self._unsent: bytes | memoryview = b""
        self._ended = False
        self._peer_left = False

    async def run(self) -> bool:
        """Send all there will be; False when the peer left first.  Raises OSError."""
        self._source.on_ready(self._wake)
        try:
            while not self._peer_left:
                if self._unsent:
                    await self._stream.send(self._unsent)
                    self._unsent = b""
                chunk = None if self._ended else self._source.take()
                if chunk is None:
                    await self._stream.send(LAST_CHUNK)
                    return True
                if chunk:
                    # One take is bounded and may be the last: only an empty one says that there is something to wait for.
                    await self._stream.send(_framed(chunk))
                    continue
                self._waits = True
                await self._stream.take_turns(self._hear_peer)
                self._waits = False
            return False
        finally:
            self._waits = False
            self._feeder.forget(self)
            self._source.close()

    def send_now(self, shared: _Shared) -> int:
        """Send what the source has, as far as the peer takes it; returns how many bytes that was.  Called by the feeder."""
        total = 0
        while self._waits:
            chunk = self._source.take()
            if chunk:
                data = shared.framed(chunk)
                total += len(data)
                try:
                    sent = self._stream.send_now(data)
                except OSError:
                    sent = len(data)
                    self._peer_left = True
                self._unsent = memoryview(data)[sent:] if sent < len(data) else b""
            elif chunk is None:
                self._ended = True
            else:
                return total
            if self._unsent or self._ended or self._peer_left or total >= AT_ONCE_MAX_BYTES:
                self._waits = False
                self._stream.end_turns()
        return total

    def _wake(self) -> None:
        if self._waits:
            self._feeder.wake(self)

    def _hear_peer(self) -> bool:
        """What the peer sends now is not part of any request, and ends the stream as its leaving does."""
        try:
            if self._stream.receive_now() is None:
                return True
        except OSError:
            pass
        self._peer_left = True
        return False
