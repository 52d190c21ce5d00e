"""The network between an agent and whichever server runs: delays, and a server that cannot be reached."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar, cast

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.client.transport import (
    DeleteOptions,
    ObjList,
    Patch,
    Query,
    RawResponse,
    Transport,
    WatchEvent,
    WriteOptions,
)
from cluster.machinery.errors import ServiceUnavailable
from cluster.machinery.objects import Key, Obj
from cluster.machinery.resource import Resource

T = TypeVar("T")
LATENCY_MAX_S = 0.004


class Line:
    """`Transport` over a network.  `server` gives the transport of the server that runs, None while none does.

    A request that is under way when the line is cut may or may not have happened; its answer is lost.  `hidden` events
    of watches, counted over all of them, are never delivered: the watch breaks there and is resumed or read anew later.
    """

    def __init__(self, server: Callable[[], Transport | None], *, clock: Clock, entropy: Entropy) -> None:
        self._server = server
        self._clock = clock
        self._entropy = entropy
        self.cut = False
        self.hidden: frozenset[int] = frozenset()
        self.delivered = 0
        self.lag_s = 0.0
        self._pending: dict[asyncio.Task[Any], None] = {}

    def break_connections(self) -> None:
        """What is under way fails now."""
        for task in list(self._pending):
            task.cancel()

    async def get(self, resource: Resource, key: Key, *, subresource: str = "") -> Obj:
        return await self._ask(lambda server: server.get(resource, key, subresource=subresource))

    async def list(self, resource: Resource, query: Query = Query()) -> ObjList:
        return await self._ask(lambda server: server.list(resource, query))

    async def watch(
        self, resource: Resource, query: Query = Query(), *, bookmarks: bool = True, timeout_s: float = 0
    ) -> AsyncIterator[WatchEvent]:
        server = self._reached()
        stream = server.watch(resource, query, bookmarks=bookmarks, timeout_s=timeout_s)
        async with aclosing(cast("AsyncGenerator[WatchEvent, None]", stream)) as events:
            while (event := await self._through(anext(events, None))) is not None:
                await self._clock.sleep(self._entropy.uniform(0.0, LATENCY_MAX_S) + self.lag_s)
                if self._reached() is not server:
                    raise ServiceUnavailable("the connection broke")
                self.delivered += 1
                if self.delivered in self.hidden:
                    # Long enough that what follows happens before the next look.
                    await self._clock.sleep(2.0)
                    raise ServiceUnavailable("the connection broke")
                yield event

    async def create(
        self,
        resource: Resource,
        obj: Obj,
        *,
        name: str = "",
        subresource: str = "",
        options: WriteOptions = WriteOptions(),
    ) -> Obj:
        return await self._ask(
            lambda server: server.create(resource, obj, name=name, subresource=subresource, options=options)
        )

    async def update(
        self, resource: Resource, obj: Obj, *, subresource: str = "", options: WriteOptions = WriteOptions()
    ) -> Obj:
        return await self._ask(lambda server: server.update(resource, obj, subresource=subresource, options=options))

    async def patch(
        self,
        resource: Resource,
        key: Key,
        patch: Patch,
        *,
        subresource: str = "",
        options: WriteOptions = WriteOptions(),
    ) -> Obj:
        return await self._ask(
            lambda server: server.patch(resource, key, patch, subresource=subresource, options=options)
        )

    async def delete(self, resource: Resource, key: Key, options: DeleteOptions = DeleteOptions()) -> Obj:
        return await self._ask(lambda server: server.delete(resource, key, options))

    async def raw(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> RawResponse:
        return await self._ask(lambda server: server.raw(method, path, headers=headers, body=body))

    async def _ask(self, call: Callable[[Transport], Awaitable[T]]) -> T:
        await self._clock.sleep(self._entropy.uniform(0.0, LATENCY_MAX_S))
        server = self._reached()
        answer = await self._through(call(server))
        if self._reached() is not server:
            raise ServiceUnavailable("the connection broke before the answer came")
        return answer

    async def _through(self, work: Awaitable[T]) -> T:
        """The result of `work`, or ServiceUnavailable when connections break meanwhile."""
        task = asyncio.ensure_future(work)
        self._pending[task] = None
        try:
            return await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                task.cancel()
                raise
            raise ServiceUnavailable("the connection broke") from None
        finally:
            del self._pending[task]

    def _reached(self) -> Transport:
        server = None if self.cut else self._server()
        if server is None:
            raise ServiceUnavailable("nobody answers at the server's address")
        return server
