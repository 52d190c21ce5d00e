"""Sessions over WebSockets: one channel per stream, named by each message's first byte.

0 stdin, 1 stdout, 2 stderr, 3 how it ended, 4 terminal size; version 5 adds 255: the peer has closed a channel.  In the
base64 form the channel is a digit and the rest of the message base64, in text frames.  Upstream: KEP-4006,
apimachinery/pkg/util/httpstream/wsstream.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from typing import Any

from cluster.apiserver.subresources.session import Input, InputEnded, PeerEvent, Resized, ending_of
from cluster.apiserver.websocket import WebSocket

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
BASE64 = ("v4.base64.channel.k8s.io", "base64.channel.k8s.io")
PROTOCOLS = (V5, V4, "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io", *BASE64)
STDIN, ERROR, RESIZE, CLOSE = 0, 3, 4, 255


class WebSocketPeer:
    """See `session.SessionPeer`."""

    def __init__(self, socket: WebSocket, protocol: str) -> None:
        self._socket = socket
        self._structured = protocol in (V5, V4, BASE64[0])
        self._base64 = protocol in BASE64

    async def events(self) -> AsyncIterator[PeerEvent]:
        async for message in self._socket.messages():
            channel, data = self._decoded(message)
            if channel == STDIN and data:
                yield Input(data)
            elif channel == RESIZE:
                yield Resized(data)
            elif channel == CLOSE and data[:1] == bytes((STDIN,)):
                yield InputEnded()

    async def send(self, stream: int, data: bytes) -> None:
        if self._base64:
            await self._socket.send(b"%d" % stream + base64.b64encode(data), text=True)
        else:
            await self._socket.send(bytes((stream,)) + data)

    async def end(self, status: Any) -> None:
        try:
            await self.send(ERROR, ending_of(status, structured=self._structured))
        finally:
            await self._socket.close()

    def _decoded(self, message: bytes) -> tuple[int, bytes]:
        """Channel and data; channel -1 for what says nothing."""
        if not message:
            return -1, b""
        if not self._base64:
            return message[0], message[1:]
        try:
            return int(message[:1]), base64.b64decode(message[1:], validate=True)
        except (ValueError, binascii.Error):
            return -1, b""
