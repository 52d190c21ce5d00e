"""The server's end of an agent's connection: a NodeChannel whose sessions travel to the node and back.

Everything that comes from the agent is checked; what breaks the protocol ends the connection, and every session with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

import orjson

from cluster.base.clock import Clock
from cluster.client.node_channel import ByteStream, Chunk, ContainerRef, ExecSession, LogOptions
from cluster.client.node_frames import (
    PAYLOAD_MAX_BYTES,
    SESSIONS_MAX,
    BadFrame,
    Frame,
    FrameType,
    Size,
    code_of,
    resize_frame,
)
from cluster.client.node_session import ByteConnection, Link, Session
from cluster.client.node_stats import BadStats, NodeStats, decode_stats
from cluster.machinery.errors import ApiError, BadRequest, ServiceUnavailable, Timeout, TooManyRequests, error_of_status

OPEN_TIMEOUT_S = 30.0
MESSAGE_MAX = 4096
STDIN, STDOUT, STDERR = 0, 1, 2
WHOLE_NODE = ContainerRef("", "", "", "")
STATS_MAX_BYTES = 4 * 1024 * 1024
"""Some ten thousand containers."""


class RemoteNodeChannel:
    """Implements `NodeChannel` for one connected agent.  `run` serves it until the connection ends."""

    def __init__(self, node: str, connection: ByteConnection, clock: Clock) -> None:
        self._node = node
        self._link = Link(connection, clock)
        self._sessions: dict[int, _Opened] = {}
        self._number = 0
        self._is_closed = False

    async def run(self) -> str:
        """Until the connection ends; why it did.  Every session ends with it."""
        try:
            return await self._link.run(self._handle)
        finally:
            self.close()

    def close(self) -> None:
        """Idempotent."""
        self._is_closed = True
        self._link.close()
        for opened in self._sessions.values():
            opened.end(self._broken())
        self._sessions.clear()

    async def logs(self, container: ContainerRef, options: LogOptions) -> AsyncIterator[bytes]:
        opened = await self._open("logs", container, {"options": asdict(options)})
        try:
            async with aclosing(opened.session.received()) as chunks:
                async for chunk in chunks:
                    yield chunk.data
            await opened.session.over()
        finally:
            await self._let_go(opened)

    async def exec(
        self, container: ContainerRef, command: Sequence[str], *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> ExecSession:
        streams = {"stdin": stdin, "stdout": stdout, "stderr": stderr, "tty": tty}
        return _Exec(self, await self._open("exec", container, {"command": list(command), **streams}))

    async def attach(
        self, container: ContainerRef, *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> ExecSession:
        streams = {"stdin": stdin, "stdout": stdout, "stderr": stderr, "tty": tty}
        return _Exec(self, await self._open("attach", container, streams))

    async def connect(self, container: ContainerRef, port: int) -> ByteStream:
        return _Stream(self, await self._open("connect", container, {"port": port}))

    async def stats(self) -> NodeStats:
        opened = await self._open("stats", WHOLE_NODE, {})
        try:
            data = bytearray()
            async with aclosing(opened.session.received()) as chunks:
                async for chunk in chunks:
                    data += chunk.data
                    if len(data) > STATS_MAX_BYTES:
                        raise ServiceUnavailable(f'node "{self._node}" sent more statistics than can be read')
            await opened.session.over()
        finally:
            await self._let_go(opened)
        try:
            return decode_stats(bytes(data))
        except BadStats as error:
            raise ServiceUnavailable(f'node "{self._node}" sent {error}') from error

    async def _open(self, kind: str, container: ContainerRef, more: Mapping[str, Any]) -> _Opened:
        """Ask the agent and wait for its word.  Raises its ApiError; ServiceUnavailable, TooManyRequests, Timeout."""
        if self._is_closed:
            raise self._broken()
        if len(self._sessions) >= SESSIONS_MAX:
            raise TooManyRequests(f'{SESSIONS_MAX} sessions to node "{self._node}" are open already')
        asked = orjson.dumps({"kind": kind, "container": container._asdict(), **more})
        if len(asked) > PAYLOAD_MAX_BYTES:
            raise BadRequest("the request is too large for the node's channel")
        self._number += 1
        opened = _Opened(Session(self._link, self._number))
        self._sessions[self._number] = opened
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await opened.session.tell(Frame(FrameType.OPEN, self._number, asked))
                await opened.answer()
        except TimeoutError:
            await self._let_go(opened)
            raise Timeout(f'node "{self._node}" did not answer within {OPEN_TIMEOUT_S:g} s') from None
        except BaseException:
            await self._let_go(opened)
            raise
        return opened

    async def _let_go(self, opened: _Opened) -> None:
        """The session's user is done with it: the agent ends it, if it has not ended."""
        number = opened.session.number
        if self._sessions.pop(number, None) is not None and not opened.session.is_over:
            opened.session.finish()
            try:
                await opened.session.tell(Frame(FrameType.CLOSE, number))
            except ServiceUnavailable:
                return

    def _handle(self, frame: Frame) -> None:
        opened = self._sessions.get(frame.session)
        if opened is None:
            if not 0 < frame.session <= self._number:
                raise BadFrame(f"session {frame.session} was never opened")
            return  # It was let go of while this was under way.
        session = opened.session
        match frame.type:
            case FrameType.OPENED:
                opened.run()
            case FrameType.DATA if frame.payload[0] not in (STDOUT, STDERR):
                raise BadFrame(f"stream {frame.payload[0]}")
            case FrameType.DATA | FrameType.CREDIT | FrameType.END:
                session.take(frame)
            case FrameType.EXIT:
                opened.exit_code = code_of(frame)
                self._ended(opened, None)
            case FrameType.FAILED:
                self._ended(opened, _failure_of(frame.payload))
            case _:
                raise BadFrame(f"{frame.type.name} from an agent")

    def _ended(self, opened: _Opened, failure: ApiError | None) -> None:
        del self._sessions[opened.session.number]
        opened.end(failure)

    def _broken(self) -> ServiceUnavailable:
        return ServiceUnavailable(f'the connection to the agent of node "{self._node}" broke')


class _Opened:
    """A session and what its agent said of it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.exit_code = 0
        self._runs = False
        self._answered = asyncio.Event()

    def run(self) -> None:
        self._runs = True
        self._answered.set()

    def end(self, failure: ApiError | None) -> None:
        self.session.finish(failure)
        self._answered.set()

    async def answer(self) -> None:
        """Return once it runs, or has run.  Raises the ApiError with which the agent refused."""
        await self._answered.wait()
        if not self._runs and self.session.failure is not None:
            raise self.session.failure


class _Exec:
    """An ExecSession."""

    def __init__(self, channel: RemoteNodeChannel, opened: _Opened) -> None:
        self._channel = channel
        self._opened = opened
        self._session = opened.session

    async def send(self, data: bytes) -> None:
        if not self._session.is_over:
            await self._session.send(STDIN, data)

    async def close_stdin(self) -> None:
        if not self._session.is_over:
            await self._session.tell(Frame(FrameType.END, self._session.number))

    async def resize(self, width: int, height: int) -> None:
        if not self._session.is_over:
            await self._session.tell(resize_frame(self._session.number, Size(width, height)))

    async def output(self) -> AsyncIterator[Chunk]:
        async for chunk in self._session.received():
            yield chunk

    async def wait(self) -> int:
        await self._session.over()
        return self._opened.exit_code

    async def close(self) -> None:
        await self._channel._let_go(self._opened)


class _Stream:
    """A ByteStream."""

    def __init__(self, channel: RemoteNodeChannel, opened: _Opened) -> None:
        self._channel = channel
        self._opened = opened
        self._chunks = opened.session.received()

    async def read(self) -> bytes:
        try:
            return (await anext(self._chunks)).data
        except (StopAsyncIteration, ApiError):
            return b""

    async def write(self, data: bytes) -> None:
        try:
            await self._opened.session.send(STDIN, data)
        except ApiError as error:
            raise ConnectionResetError(error.message) from error

    async def close(self) -> None:
        await self._channel._let_go(self._opened)


def _failure_of(payload: bytes) -> ApiError:
    """The Status an agent sent, of which only code, reason and message are taken.  Raises BadFrame."""
    try:
        status = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise BadFrame("a failure that is no JSON") from error
    if not isinstance(status, dict):
        raise BadFrame("a failure that is no Status")
    code, reason, message = status.get("code"), status.get("reason"), status.get("message")
    if not isinstance(code, int) or not isinstance(reason, str) or not isinstance(message, str):
        raise BadFrame("a failure that is no Status")
    return error_of_status({"code": code, "reason": reason, "message": message[:MESSAGE_MAX]})
