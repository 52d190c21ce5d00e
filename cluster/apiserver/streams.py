"""Bodies that an async iterator produces, as byte sources: a followed log.  At most one chunk is read ahead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from loguru import logger

from cluster.machinery.errors import ApiError

FIRST_CHUNK_WAIT_S = 0.5
"""How long an answer waits for its first bytes, so that a refusal can still be its status."""


class IteratedSource:
    """See `http.ByteSource`.  The iterator is advanced only when what it gave has been taken."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._ready: bytes | None = None
        self._ended = False
        self._error: ApiError | None = None
        self._wake: Callable[[], None] | None = None
        self._taken = asyncio.Event()
        self._something = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._pump())

    async def started(self) -> None:
        """Wait a little for the first bytes.  Raises the ApiError with which the source refuses."""
        try:
            async with asyncio.timeout(FIRST_CHUNK_WAIT_S):
                await self._something.wait()
        except TimeoutError:
            return
        if self._error is not None and self._ready is None:
            self.close()
            raise self._error

    def take(self) -> bytes | None:
        chunk, self._ready = self._ready, None
        if chunk is not None:
            self._taken.set()
            return chunk
        return None if self._ended else b""

    def on_ready(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def close(self) -> None:
        self._ended = True
        self._task.cancel()

    async def _pump(self) -> None:
        try:
            async for chunk in self._chunks:
                self._taken.clear()
                self._ready = chunk
                self._notify()
                await self._taken.wait()
        except ApiError as error:
            self._error = error
            if self._something.is_set():
                # The status has been sent; all that is left is to end the body.
                logger.warning("a stream from a node broke", reason=error.message)
        finally:
            self._ended = True
            self._notify()
            # A generator that is only dropped would hold its connection until it is collected.
            if isinstance(self._chunks, AsyncGenerator):
                await self._chunks.aclose()

    def _notify(self) -> None:
        self._something.set()
        if self._wake is not None:
            self._wake()
