"""Two ends of a byte stream in memory, with back-pressure, as upgraded connections are."""

from __future__ import annotations

import asyncio

PENDING_MAX = 4
"""Writes that the other end may be behind."""


class PipeEnd:
    """A `ByteConnection`."""

    def __init__(self) -> None:
        self.peer: PipeEnd
        self.closed = asyncio.Event()
        self._arrived: asyncio.Queue[bytes] = asyncio.Queue(PENDING_MAX)

    async def read(self) -> bytes:
        getting = asyncio.ensure_future(self._arrived.get())
        return await self._unless_closed(getting) or b""

    async def write(self, data: bytes) -> None:
        if self.closed.is_set() or self.peer.closed.is_set():
            raise ConnectionResetError("closed")
        await self._unless_closed(asyncio.ensure_future(self.peer._arrived.put(data)))

    def close(self) -> None:
        self.closed.set()

    async def _unless_closed(self, work: asyncio.Future[bytes]) -> bytes | None:
        endings = [asyncio.ensure_future(end.closed.wait()) for end in (self, self.peer)]
        try:
            await asyncio.wait((work, *endings), return_when=asyncio.FIRST_COMPLETED)
            return work.result() if work.done() else None
        finally:
            for future in (work, *endings):
                future.cancel()


def pipe() -> tuple[PipeEnd, PipeEnd]:
    one, other = PipeEnd(), PipeEnd()
    one.peer, other.peer = other, one
    return one, other
