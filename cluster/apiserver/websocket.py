"""WebSockets over an upgraded connection: the handshake's answer, whole messages in, messages out.

RFC 6455; the framing is wsproto's.  Knows nothing of channels or what is said on them.
"""

from __future__ import annotations

import base64
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from cluster.apiserver.http import RawConnection
from cluster.machinery.errors import BadRequest

MESSAGE_SIZE_MAX_BYTES = 4 * 1024 * 1024
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_NORMAL, _TOO_BIG = 1000, 1009


def is_upgrade(headers: Mapping[str, str]) -> bool:
    return headers.get("upgrade", "").lower() == "websocket"


def accepted_protocol(headers: Mapping[str, str], supported: Sequence[str]) -> str:
    """The client's first offer that is supported; empty when it offers none.  Raises BadRequest when none fits."""
    offered = [name.strip() for name in headers.get("sec-websocket-protocol", "").split(",") if name.strip()]
    for name in offered:
        if name in supported:
            return name
    if offered:
        raise BadRequest(f"unable to negotiate protocol: client supports {offered}, server accepts {list(supported)}")
    return ""


def handshake(headers: Mapping[str, str], protocol: str) -> Mapping[str, str]:
    """The headers of the 101 answer.  Raises BadRequest for a request that is no handshake."""
    key = headers.get("sec-websocket-key", "")
    if not is_upgrade(headers) or not key or headers.get("sec-websocket-version") != "13":
        raise BadRequest("Upgrade request required: this is only served over a WebSocket of version 13")
    accept = base64.b64encode(hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest()).decode()
    answer = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept}
    if protocol:
        answer["Sec-WebSocket-Protocol"] = protocol
    return answer


class WebSocket:
    """The server's end.  Pings are answered while `messages` is being iterated."""

    def __init__(self, connection: RawConnection) -> None:
        self._connection = connection
        self._frames = Connection(ConnectionType.SERVER)
        self._ready: deque[bytes] = deque()
        self._parts: list[bytes] = []
        self._size = 0
        self._closed = False

    async def messages(self) -> AsyncIterator[bytes]:
        """Whole messages until either side closes; text as its UTF-8 bytes."""
        while True:
            while self._ready:
                yield self._ready.popleft()
            if self._closed:
                return
            data = await self._connection.read()
            try:
                self._frames.receive_data(data or None)
                await self._handle_events()
            except RemoteProtocolError:
                await self.close(1002)

    async def send(self, message: bytes, *, text: bool = False) -> None:
        """Returns once the kernel has it; silently nothing after the close.  A `text` message is ASCII."""
        if not self._closed and self._frames.state is ConnectionState.OPEN:
            event = TextMessage(message.decode("ascii")) if text else BytesMessage(message)
            await self._connection.write(self._frames.send(event))

    async def close(self, code: int = _NORMAL) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            if self._frames.state is ConnectionState.OPEN:
                await self._connection.write(self._frames.send(CloseConnection(code)))
        except (OSError, LocalProtocolError):
            pass  # the peer is gone; there is nobody to say goodbye to
        finally:
            self._connection.close()

    async def _handle_events(self) -> None:
        for event in self._frames.events():
            match event:
                case BytesMessage() | TextMessage():
                    data = event.data.encode() if isinstance(event.data, str) else bytes(event.data)
                    self._parts.append(data)
                    self._size += len(data)
                    if self._size > MESSAGE_SIZE_MAX_BYTES:
                        await self.close(_TOO_BIG)
                        return
                    if event.message_finished:
                        self._ready.append(b"".join(self._parts))
                        self._parts, self._size = [], 0
                case Ping():
                    await self._connection.write(self._frames.send(event.response()))
                case CloseConnection():
                    if self._frames.state is ConnectionState.REMOTE_CLOSING:
                        await self._connection.write(self._frames.send(event.response()))
                    self._closed = True
                    self._connection.close()
                case _:
                    pass
