"""Sessions over SPDY/3.1, as kubectl before 1.30 opens them: a stream each for input, outputs, size and the ending.

The client opens the streams, named by their `streamtype` header; the process starts once all that were asked for are
there.  Upstream: kubelet/pkg/cri/streaming/remotecommand/httpstream.go, client-go/tools/remotecommand/v{1..4}.go.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from cluster.apiserver.http import RawConnection
from cluster.apiserver.spdy import Data, GoAway, Opened, Ping, Reset, SpdyError, SpdyServer
from cluster.apiserver.subresources.session import Input, InputEnded, PeerEvent, Resized, ending_of
from cluster.machinery.errors import BadRequest

UPGRADE = "SPDY/3.1"
VERSION_HEADER = "x-stream-protocol-version"
PROTOCOLS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
STREAMS_TIMEOUT_S = 30.0
"""How long the client may take to open what it asked for."""
LINGER_S = 1.0
"""How long an ended session waits for the client to close: closing on it first would cut its last bytes."""


def is_spdy(headers: Mapping[str, str]) -> bool:
    return headers.get("upgrade", "").lower() == UPGRADE.lower()


def spdy_protocol(headers: Mapping[str, str], supported: Sequence[str]) -> str:
    """The client's first offer that is supported; a client that offers none speaks the oldest.  Raises BadRequest."""
    offered = [name.strip() for name in headers.get(VERSION_HEADER, "").split(",") if name.strip()]
    for name in offered:
        if name in supported:
            return name
    if offered:
        raise BadRequest(f"unable to upgrade: unsupported protocols {offered}, server accepts {list(supported)}")
    return supported[-1]


def spdy_handshake(protocol: str) -> Mapping[str, str]:
    """The headers of the 101 answer."""
    return {"Connection": "Upgrade", "Upgrade": UPGRADE, "X-Stream-Protocol-Version": protocol}


class SpdyPeer:
    """See `session.SessionPeer`.  `wanted` are the stream types to wait for."""

    def __init__(self, connection: RawConnection, wanted: Sequence[str], protocol: str) -> None:
        self._connection = connection
        self._wanted = wanted
        self._structured = protocol == PROTOCOLS[0]
        self._spdy = SpdyServer()
        self._types: dict[int, str] = {}
        self._streams: dict[str, int] = {}
        self._ready: deque[PeerEvent] = deque()
        self._gone = False

    async def opened(self) -> None:
        """Wait for the streams.  Raises BadRequest when the client does not open them."""
        try:
            async with asyncio.timeout(STREAMS_TIMEOUT_S):
                while not self._gone and any(name not in self._streams for name in self._wanted):
                    await self._receive()
        except TimeoutError:
            self._gone = True
        if self._gone:
            raise BadRequest("the client did not open the streams it asked for")

    async def events(self) -> AsyncIterator[PeerEvent]:
        while True:
            while self._ready:
                yield self._ready.popleft()
            if self._gone:
                return
            await self._receive()

    async def send(self, stream: int, data: bytes) -> None:
        number = self._streams.get("stdout" if stream == 1 else "stderr")
        if number is not None:
            await self._connection.write(self._spdy.data(number, data))

    async def end(self, status: Any) -> None:
        try:
            frames = [
                self._spdy.data(self._streams[name], b"", fin=True)
                for name in ("stdout", "stderr")
                if name in self._streams
            ]
            if (errors := self._streams.get("error")) is not None:
                frames.append(self._spdy.data(errors, ending_of(status, structured=self._structured), fin=True))
            await self._connection.write(b"".join(frames))
            async with asyncio.timeout(LINGER_S):
                while not self._gone:
                    await self._receive()
        except (OSError, TimeoutError):
            pass  # the client is gone, or waits for us to close
        finally:
            self._connection.close()

    async def _receive(self) -> None:
        data = await self._connection.read()
        if not data:
            self._gone = True
            return
        try:
            for event in self._spdy.receive(data):
                match event:
                    case Opened(stream, headers):
                        await self._connection.write(self._spdy.accept(stream))
                        self._open(stream, headers.get("streamtype", ""))
                    case Data(stream, content, fin):
                        self._take(self._types.get(stream, ""), content, fin=fin)
                    case Ping(number):
                        await self._connection.write(self._spdy.pong(number))
                    case GoAway():
                        self._gone = True
                    case Reset():
                        pass  # a stream the client is done with
        except SpdyError:
            self._gone = True

    def _open(self, stream: int, name: str) -> None:
        if name in ("error", "stdin", "stdout", "stderr", "resize") and name not in self._streams:
            self._streams[name] = stream
            self._types[stream] = name

    def _take(self, name: str, content: bytes, *, fin: bool) -> None:
        if name == "stdin":
            if content:
                self._ready.append(Input(content))
            if fin:
                self._ready.append(InputEnded())
        elif name == "resize" and content:
            # Sizes are JSON documents one after another; only the last counts.
            self._ready.append(Resized(content.strip().rpartition(b"\n")[2]))
