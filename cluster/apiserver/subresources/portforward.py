"""`pods/NAME/portforward`: SPDY, tunnelled in a WebSocket or by itself (kubectl), or plain WebSocket channels (Python).

SPDY: per connection the client opens an error stream and a data stream with the same `requestid`.  Plain: `?ports=80`, channel
2i is the data of the i-th port and 2i+1 its errors; each begins with the port as two little-endian bytes.
Upstream: KEP-4006, kubelet/pkg/cri/streaming/portforward.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, Protocol

from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call, Result
from cluster.apiserver.http import RawConnection, Reply
from cluster.apiserver.spdy import Data, GoAway, Opened, Ping, Reset, SpdyError, SpdyServer
from cluster.apiserver.subresources.pods import Target, connection_target
from cluster.apiserver.subresources.session_spdy import is_spdy, spdy_handshake, spdy_protocol
from cluster.apiserver.websocket import WebSocket, accepted_protocol, handshake
from cluster.client.node_channel import ByteStream
from cluster.machinery.errors import ApiError, BadRequest
from cluster.machinery.numbers import whole_number

SPDY = "portforward.k8s.io"
TUNNEL = "SPDY/3.1+portforward.k8s.io"
PLAIN = ("v4.channel.k8s.io", "portforward.k8s.io")
CONNECTIONS_MAX = 256
"""Connections one session may have open; more are refused one by one."""


async def forward_ports(backend: Backend, call: Call) -> Result:
    asked = [number for text in call.request.query.get("ports", ()) if (number := whole_number(text)) is not None]
    options = {"kind": "PodPortForwardOptions", **({"ports": asked} if asked else {})}
    target = await connection_target(backend, call, options)
    if is_spdy(call.request.headers):
        chosen = spdy_protocol(call.request.headers, (SPDY,))

        async def serve_spdy(connection: RawConnection) -> None:
            socket = _Untunnelled(connection)
            try:
                await _SpdySession(target).serve(socket)
            finally:
                await socket.close()

        return Reply(101, upgrade=serve_spdy, headers=spdy_handshake(chosen))
    protocol = accepted_protocol(call.request.headers, (TUNNEL, *PLAIN))
    if protocol == TUNNEL:
        session: Callable[[WebSocket], Awaitable[None]] = _SpdySession(target).serve
    else:
        ports = _ports_of(call)
        session = _PlainSession(target, ports).serve

    async def serve(connection: RawConnection) -> None:
        socket = WebSocket(connection)
        try:
            await session(socket)
        finally:
            await socket.close()

    return Reply(101, upgrade=serve, headers=handshake(call.request.headers, protocol))


def _ports_of(call: Call) -> list[int]:
    texts = [text for value in call.request.query.get("ports", ()) for text in value.split(",") if text]
    ports = [number for text in texts if (number := whole_number(text)) is not None and 0 < number < 65536]
    if not texts or len(ports) < len(texts):
        raise BadRequest("query parameter `ports` is required: port numbers between 1 and 65535")
    return ports


class _Tasks:
    """The pumps of one session; they end with it."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], None] = {}

    def start(self, pump: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(pump)
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Messages(Protocol):
    """What SPDY frames come and go in."""

    def messages(self) -> AsyncIterator[bytes]: ...

    async def send(self, message: bytes) -> None: ...


class _Untunnelled:
    """SPDY on the connection itself."""

    def __init__(self, connection: RawConnection) -> None:
        self._connection = connection

    async def messages(self) -> AsyncIterator[bytes]:
        while data := await self._connection.read():
            yield data

    async def send(self, message: bytes) -> None:
        await self._connection.write(message)

    async def close(self) -> None:
        self._connection.close()


class _SpdySession:
    def __init__(self, target: Target) -> None:
        self._target = target
        self._spdy = SpdyServer()
        self._tasks = _Tasks()
        self._errors: dict[str, int] = {}
        self._streams: dict[int, ByteStream] = {}
        self._early: dict[int, list[bytes]] = {}

    async def serve(self, socket: _Messages) -> None:
        try:
            async for message in socket.messages():
                for event in self._spdy.receive(message):
                    match event:
                        case Opened(stream, headers):
                            await socket.send(self._spdy.accept(stream))
                            self._open(socket, stream, headers)
                        case Data(stream, data):
                            await self._data(stream, data)
                        case Reset(stream):
                            await self._close(stream)
                        case Ping(number):
                            await socket.send(self._spdy.pong(number))
                        case GoAway():
                            return
        except SpdyError:
            return  # nothing that such a peer would understand is left to say
        finally:
            await self._tasks.stop()
            for stream in sorted(self._streams):
                await self._close(stream)

    def _open(self, socket: _Messages, stream: int, headers: Mapping[str, str]) -> None:
        request, kind, port = headers.get("requestid", ""), headers.get("streamtype", ""), headers.get("port", "")
        if kind == "error":
            self._errors[request] = stream
        elif kind == "data" and (number := whole_number(port)) is not None and len(self._early) < CONNECTIONS_MAX:
            self._early[stream] = []
            self._tasks.start(self._pump(socket, stream, self._errors.get(request, 0), number))

    async def _data(self, stream: int, data: bytes) -> None:
        if data:
            if (connection := self._streams.get(stream)) is not None:
                try:
                    await connection.write(data)
                except OSError:
                    # The pod has closed this one: its pump says so; the others go on.
                    await self._close(stream)
            elif (early := self._early.get(stream)) is not None:
                early.append(data)

    async def _pump(self, socket: _Messages, stream: int, errors: int, port: int) -> None:
        """Connect, then carry what the pod sends until it ends."""
        spdy = self._spdy
        try:
            connection = await self._target.channel.connect(self._target.container, port)
            for data in self._early[stream]:
                await connection.write(data)
            self._streams[stream] = connection
            while data := await connection.read():
                await socket.send(spdy.data(stream, data))
        except (ApiError, OSError) as error:
            if errors:
                text = error.message if isinstance(error, ApiError) else "the connection to the pod broke"
                await socket.send(spdy.data(errors, f"error forwarding port {port} to the pod: {text}".encode()))
        finally:
            self._early.pop(stream, None)
        await socket.send(spdy.data(stream, b"", fin=True))
        if errors:
            await socket.send(spdy.data(errors, b"", fin=True))
        await self._close(stream)

    async def _close(self, stream: int) -> None:
        if (connection := self._streams.pop(stream, None)) is not None:
            await connection.close()


class _PlainSession:
    def __init__(self, target: Target, ports: list[int]) -> None:
        self._target = target
        self._ports = ports
        self._tasks = _Tasks()
        self._connections: dict[int, ByteStream] = {}

    async def serve(self, socket: WebSocket) -> None:
        try:
            for index, port in enumerate(self._ports):
                await self._open(socket, index, port)
            async for message in socket.messages():
                connection = self._connections.get(message[0] // 2) if message else None
                if connection is not None and message[0] % 2 == 0 and len(message) > 1:
                    await connection.write(message[1:])
        finally:
            await self._tasks.stop()
            for _, connection in sorted(self._connections.items()):
                await connection.close()

    async def _open(self, socket: WebSocket, index: int, port: int) -> None:
        for channel in (2 * index, 2 * index + 1):
            await socket.send(bytes((channel,)) + port.to_bytes(2, "little"))
        try:
            self._connections[index] = await self._target.channel.connect(self._target.container, port)
        except ApiError as error:
            await socket.send(bytes((2 * index + 1,)) + error.message.encode())
            return
        self._tasks.start(self._pump(socket, index))

    async def _pump(self, socket: WebSocket, index: int) -> None:
        while data := await self._connections[index].read():
            await socket.send(bytes((2 * index,)) + data)
        if len(self._ports) == 1:
            await socket.close()
