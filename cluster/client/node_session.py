"""One session of a node's channel at either end: bytes out as far as the peer allows, bytes in as far as somebody takes them.

And the link that carries the sessions: one writer at a time, one reader that never waits for a session.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from cluster.base.clock import Clock
from cluster.base.http_connection import HttpError
from cluster.client.node_channel import Chunk
from cluster.client.node_frames import (
    DATA_MAX_BYTES,
    FRAME_COST_BYTES,
    WINDOW_BYTES,
    BadFrame,
    Frame,
    FrameDecoder,
    FrameType,
    credit_frame,
    credit_of,
    data_frame,
    encode,
)
from cluster.machinery.errors import ApiError, ServiceUnavailable

ALIVE_S = 15.0
SILENCE_MAX_S = 45.0
"""A peer that says nothing for so long is gone, whatever the kernel believes."""
OUTBOX_MAX = 4096
"""Frames that wait to be written."""


class ByteConnection(Protocol):
    """What an upgraded connection is at both ends.  Raises OSError or HttpError when it breaks."""

    async def read(self) -> bytes:
        """Some bytes; empty once the peer has finished."""
        ...

    async def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...


class LinkBroken(Exception):
    """Nothing can be sent any more."""


class Link:
    """Frames both ways over one connection.

    One task writes, so that a sender that is cancelled leaves no half frame behind; a sender waits for its own frame only.
    """

    def __init__(self, connection: ByteConnection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._outbox: deque[tuple[bytes, asyncio.Future[None]]] = deque()
        self._filled = asyncio.Event()
        self._closed = False

    async def send(self, frame: Frame) -> None:
        """Returns once the kernel has it.  Raises LinkBroken."""
        if len(self._outbox) >= OUTBOX_MAX:
            self.close()  # Every session has a frame or two here at most: this peer makes us speak and does not listen.
        if self._closed:
            raise LinkBroken
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._outbox.append((encode(frame), written))
        self._filled.set()
        await written

    async def run(self, handle: Callable[[Frame], None]) -> str:
        """Hand over every frame until the connection ends; why it did, for people.  Closes it in any case.

        `handle` must not wait; a BadFrame that it raises ends the connection like one that arrives.
        """
        tasks = (asyncio.create_task(self._write()), asyncio.create_task(self._beat()))
        decoder = FrameDecoder()
        try:
            while True:
                async with asyncio.timeout(SILENCE_MAX_S):
                    data = await self._connection.read()
                if not data:
                    return "the peer closed the connection"
                for frame in decoder.feed(data):
                    if frame.type is not FrameType.ALIVE:
                        handle(frame)
        except BadFrame as error:
            return f"the peer broke the protocol: {error}"
        except TimeoutError:
            return f"the peer said nothing for {SILENCE_MAX_S:g} s"
        except (OSError, HttpError) as error:
            return f"the connection broke: {error}"
        finally:
            self.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        """Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._connection.close()
        while self._outbox:
            _, written = self._outbox.popleft()
            if not written.done():
                written.set_exception(LinkBroken())

    async def _write(self) -> None:
        while True:
            self._filled.clear()
            while self._outbox:
                data, written = self._outbox[0]
                try:
                    await self._connection.write(data)
                except (OSError, HttpError):
                    self.close()
                    return
                if self._closed:
                    return
                self._outbox.popleft()
                if not written.done():
                    written.set_result(None)
            await self._filled.wait()

    async def _beat(self) -> None:
        try:
            while True:
                await self._clock.sleep(ALIVE_S)
                await self.send(Frame(FrameType.ALIVE, 0))
        except LinkBroken:
            return


class Session:
    """One session's two directions.  `take_*` are called by the link's reader and never wait."""

    def __init__(self, link: Link, number: int) -> None:
        self.number = number
        self._link = link
        self._credit = WINDOW_BYTES
        self._arrived: deque[Chunk] = deque()
        self._room = WINDOW_BYTES
        self._owed = 0
        self._no_more = False
        self._failure: ApiError | None = None
        self._is_over = False
        self._changed = asyncio.Event()

    @property
    def failure(self) -> ApiError | None:
        """Why it ended, where that was not its regular end."""
        return self._failure

    @property
    def is_over(self) -> bool:
        """The peer, or the link, has ended it."""
        return self._is_over

    # What the peer did

    def take(self, frame: Frame) -> None:
        """DATA, CREDIT or END of this session.  Raises BadFrame."""
        match frame.type:
            case FrameType.DATA:
                cost = len(frame.payload) - 1 + FRAME_COST_BYTES
                if self._no_more or cost > self._room:
                    raise BadFrame("more data than it was allowed to send")
                self._room -= cost
                self._arrived.append(Chunk(frame.payload[0], frame.payload[1:]))
            case FrameType.CREDIT:
                self._credit += credit_of(frame)
                if self._credit > WINDOW_BYTES:
                    raise BadFrame("more credit than was used")
            case FrameType.END:
                self._no_more = True
            case _:
                raise BadFrame(f"{frame.type.name} out of place")
        self._changed.set()

    def finish(self, failure: ApiError | None = None) -> None:
        """Nothing more comes; what has arrived can still be read, then `failure` is raised, if there is one."""
        if not self._is_over:
            self._is_over = True
            self._no_more = True
            self._failure = failure
            self._changed.set()

    # What this end does

    async def send(self, stream: int, data: bytes) -> None:
        """Waits while the peer does not take what it was sent.  Raises the ApiError that ended the session, or
        ServiceUnavailable."""
        for start in range(0, len(data), DATA_MAX_BYTES):
            piece = data[start : start + DATA_MAX_BYTES]
            cost = len(piece) + FRAME_COST_BYTES
            while self._credit < cost and not self._is_over:
                self._changed.clear()
                await self._changed.wait()
            if self._is_over:
                raise self._failure or ServiceUnavailable("the session has ended")
            self._credit -= cost
            await self.tell(data_frame(self.number, stream, piece))

    async def tell(self, frame: Frame) -> None:
        """Raises ServiceUnavailable."""
        try:
            await self._link.send(frame)
        except LinkBroken as error:
            raise ServiceUnavailable("the connection to the node broke") from error

    async def received(self) -> AsyncGenerator[Chunk, None]:
        """What the peer sends, until it ends.  Raises the ApiError that ended the session."""
        while True:
            while self._arrived:
                chunk = self._arrived.popleft()
                yield chunk
                await self._allow(len(chunk.data) + FRAME_COST_BYTES)
            if self._no_more:
                if self._failure is not None:
                    raise self._failure
                return
            self._changed.clear()
            await self._changed.wait()

    async def over(self) -> None:
        """Return when the session has ended.  Raises the ApiError that ended it."""
        while not self._is_over:
            self._changed.clear()
            await self._changed.wait()
        if self._failure is not None:
            raise self._failure

    async def _allow(self, size_bytes: int) -> None:
        self._owed += size_bytes
        if self._owed >= WINDOW_BYTES // 2 and not self._no_more:
            size_bytes, self._owed = self._owed, 0
            self._room += size_bytes
            await self.tell(credit_frame(self.number, size_bytes))
