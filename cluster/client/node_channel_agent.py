"""The agent's end of its connection to the server: sessions that the server opens, carried out on this node's channel.

And the loop that keeps such a connection.  Knows no kubelet, only its NodeChannel.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from loguru import logger

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.client.node_channel import ByteStream, ContainerRef, ExecSession, LogOptions, NodeChannel
from cluster.client.node_frames import SESSIONS_MAX, BadFrame, Frame, FrameType, exit_frame, size_of
from cluster.client.node_session import ByteConnection, Link, Session
from cluster.client.node_stats import encode_stats
from cluster.machinery.errors import ApiError, InternalError, ServiceUnavailable, TooManyRequests

RETRY_BASE_S = 0.5
RETRY_MAX_S = 5.0
HEALTHY_AFTER_S = 30.0
"""A connection that stood so long is tried again at once when it breaks."""
OUTPUT = 1
MESSAGE_MAX = 4096


@dataclass(frozen=True, slots=True)
class Opening:
    """What an OPEN frame asks for.  `kind` is logs, exec, attach, connect or stats; the rest is that method's arguments."""

    kind: str
    container: ContainerRef
    arguments: Mapping[str, Any]


class NodeChannelAgent:
    """Serves one connection with `channel`."""

    def __init__(self, channel: NodeChannel, connection: ByteConnection, clock: Clock) -> None:
        self._channel = channel
        self._link = Link(connection, clock)
        self._number = 0
        self._running: dict[int, _Running] = {}

    async def run(self) -> str:
        """Until the connection ends; why it did.  Every session ends with it."""
        try:
            return await self._link.run(self._handle)
        finally:
            tasks = [running.task for _, running in sorted(self._running.items())]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _handle(self, frame: Frame) -> None:
        if frame.type is FrameType.OPEN:
            self._open(frame)
            return
        running = self._running.get(frame.session)
        if running is None:
            if not 0 < frame.session <= self._number:
                raise BadFrame(f"session {frame.session} was never opened")
            return  # It ended while this was under way.
        match frame.type:
            case FrameType.DATA | FrameType.CREDIT | FrameType.END:
                running.session.take(frame)
            case FrameType.RESIZE:
                running.resize(frame)
            case FrameType.CLOSE:
                running.session.finish()
                running.task.cancel()
            case _:
                raise BadFrame(f"{frame.type.name} from a server")

    def _open(self, frame: Frame) -> None:
        if frame.session <= self._number:
            raise BadFrame(f"session {frame.session} was opened before")
        opening = opening_of(frame.payload)
        self._number = frame.session
        session = Session(self._link, frame.session)
        running = _Running(session)
        is_full = len(self._running) >= SESSIONS_MAX
        work = self._refuse if is_full else partial(self._carry_out, opening, running)
        running.task = asyncio.create_task(self._guarded(session, work), name=f"session {frame.session}")
        self._running[frame.session] = running
        running.task.add_done_callback(lambda _: self._running.pop(frame.session, None))

    async def _refuse(self) -> int:
        raise TooManyRequests(f"{SESSIONS_MAX} sessions of this node are open already")

    async def _guarded(self, session: Session, work: Callable[[], Awaitable[int]]) -> None:
        """Carry one session out and say how it ended."""
        try:
            try:
                end = exit_frame(session.number, await work())
            except ApiError as error:
                end = _failed(session, error)
            except OSError as error:
                end = _failed(session, InternalError(f"the session broke: {error}"))
            except Exception as error:  # noqa: BLE001 - one session's fault must not end the others
                logger.opt(exception=error).error("a session failed", task=f"session {session.number}")
                end = _failed(session, InternalError("the session failed; the node's log has the details"))
            await session.tell(end)
        except ServiceUnavailable:
            return  # The connection is gone, and with it whoever asked.

    async def _carry_out(self, opening: Opening, running: _Running) -> int:
        """The exit code."""
        container, arguments = opening.container, opening.arguments
        match opening.kind:
            case "logs":
                return await self._logs(container, LogOptions(**arguments["options"]), running)
            case "exec":
                return await self._session(self._channel.exec(container, **arguments), running)
            case "attach":
                return await self._session(self._channel.attach(container, **arguments), running)
            case "stats":
                return await self._stats(running.session)
            case _:
                return await self._forward(await self._channel.connect(container, **arguments), running.session)

    async def _logs(self, container: ContainerRef, options: LogOptions, running: _Running) -> int:
        session = running.session
        is_told = False
        logs = self._channel.logs(container, options)
        try:
            async for data in logs:
                if not is_told:
                    is_told = True
                    await session.tell(Frame(FrameType.OPENED, session.number))
                await session.send(OUTPUT, data)
            return 0
        finally:
            # A generator that is only dropped would hold its connection to the engine until it is collected.
            if isinstance(logs, AsyncGenerator):
                await logs.aclose()

    async def _stats(self, session: Session) -> int:
        stats = await self._channel.stats()
        await session.tell(Frame(FrameType.OPENED, session.number))
        await session.send(OUTPUT, encode_stats(stats))
        return 0

    async def _session(self, opening: Awaitable[ExecSession], running: _Running) -> int:
        session = running.session
        process = await opening
        try:
            running.process = process
            await session.tell(Frame(FrameType.OPENED, session.number))
            feeding = asyncio.create_task(_feed(session, process))
            sizing = asyncio.create_task(running.keep_size())
            try:
                async for chunk in process.output():
                    await session.send(chunk.stream, chunk.data)
                return await process.wait()
            finally:
                feeding.cancel()
                sizing.cancel()
                await asyncio.gather(feeding, sizing, return_exceptions=True)
        finally:
            await process.close()

    async def _forward(self, stream: ByteStream, session: Session) -> int:
        try:
            await session.tell(Frame(FrameType.OPENED, session.number))
            writing = asyncio.create_task(_write(session, stream))
            try:
                while data := await stream.read():
                    await session.send(OUTPUT, data)
                await session.tell(Frame(FrameType.END, session.number))
                await writing
            finally:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)
            return 0
        finally:
            await stream.close()


class _Running:
    """A session with the task that carries it out."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.process: ExecSession | None = None
        self.task: asyncio.Task[None]
        self._size: tuple[int, int] | None = None
        self._resized = asyncio.Event()

    def resize(self, frame: Frame) -> None:
        """Only the newest size counts."""
        self._size = size_of(frame)
        self._resized.set()

    async def keep_size(self) -> None:
        while True:
            await self._resized.wait()
            self._resized.clear()
            if self._size is not None and self.process is not None:
                await self.process.resize(*self._size)


async def _feed(session: Session, process: ExecSession) -> None:
    async for chunk in session.received():
        await process.send(chunk.data)
    await process.close_stdin()


async def _write(session: Session, stream: ByteStream) -> None:
    async for chunk in session.received():
        await stream.write(chunk.data)


def opening_of(payload: bytes) -> Opening:
    """What the server asks for.  Raises BadFrame."""
    try:
        asked = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise BadFrame("an opening that is no JSON") from error
    if not isinstance(asked, dict):
        raise BadFrame("an opening that is no object")
    kind, container = asked.pop("kind", None), asked.pop("container", None)
    shape = _SHAPES.get(kind) if isinstance(kind, str) else None
    if shape is None or not _has(container, dict.fromkeys(ContainerRef._fields, str)) or not _has(asked, shape):
        raise BadFrame("an opening that asks for nothing we know")
    if kind == "logs" and not _has(asked["options"], _OPTIONS):
        raise BadFrame("logs with unknown options")
    if kind == "exec" and not all(isinstance(word, str) for word in asked["command"]):
        raise BadFrame("a command that is no list of words")
    return Opening(kind, ContainerRef(**container), asked)


_STREAMS: Mapping[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr", "tty"), bool)
_SHAPES: Mapping[str, Mapping[str, Any]] = {
    "logs": {"options": dict},
    "exec": {"command": list, **_STREAMS},
    "attach": _STREAMS,
    "connect": {"port": int},
    "stats": {},
}
_OPTIONS: Mapping[str, Any] = {
    "follow": bool,
    "previous": bool,
    "timestamps": bool,
    "since_s": (int, type(None)),
    "since_time": str,
    "tail_lines": (int, type(None)),
    "limit_bytes": (int, type(None)),
}


def _has(value: Any, shape: Mapping[str, Any]) -> bool:
    """An object with exactly these fields, of these types."""
    return (
        isinstance(value, dict)
        and value.keys() == shape.keys()
        and all(isinstance(value[name], kind) for name, kind in shape.items())
    )


def _failed(session: Session, error: ApiError) -> Frame:
    status = {"code": error.code, "reason": error.reason, "message": error.message[:MESSAGE_MAX]}
    return Frame(FrameType.FAILED, session.number, orjson.dumps(status))


async def keep_connected(
    connect: Callable[[], Awaitable[ByteConnection]],
    channel: NodeChannel,
    *,
    node: str,
    clock: Clock,
    entropy: Entropy,
) -> None:
    """Offer `channel` to the server for ever: when the connection ends, or none can be made, try again.

    `connect` raises ApiError.  Attempts are half a second apart at first, up to twice RETRY_MAX_S later.
    """
    delay_s = RETRY_BASE_S
    while True:
        started = clock.monotonic()
        try:
            connection = await connect()
        except ApiError as error:
            logger.debug("the server takes no connection yet", node=node, reason=error.message)
        else:
            logger.info("connected to the server", node=node)
            reason = await NodeChannelAgent(channel, connection, clock).run()
            logger.warning("the connection to the server ended", node=node, reason=reason)
            if clock.monotonic() - started >= HEALTHY_AFTER_S:
                delay_s = RETRY_BASE_S
        await clock.sleep(entropy.uniform(delay_s, delay_s * 2))
        delay_s = min(delay_s * 2, RETRY_MAX_S)
