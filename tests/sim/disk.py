"""A store that outlives the processes that use it, and what can go wrong between the two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.store.api import Event, Operation, Page, Put, Record, Unavailable, Watch
from cluster.store.memory import MemoryStore


class Disk(MemoryStore):
    """The durable part.  `written` is called with every transaction once it is durable, whoever asked for it."""

    def __init__(self, clock: Clock, written: Callable[[int, Sequence[Operation]], None]) -> None:
        super().__init__(clock)
        self._written = written
        self.writes = 0

    async def commit(self, operations: Sequence[Operation]) -> int:
        before = self.revision
        revision = await super().commit(operations)
        if revision != before:
            self.writes += 1
            self._written(revision, operations)
        return revision


class StoreProcess:
    """`Store` as one process has it: takes its time, may refuse, and is worth nothing once the process has died.

    `crash_after` names the write (counted over the disk's whole life) after which `crashed` is called: that write is
    durable and its writer never learns so.  `lag_s` is how much later the feed tells what happened.
    """

    def __init__(self, disk: Disk, *, clock: Clock, entropy: Entropy, crashed: Callable[[], None]) -> None:
        self._disk = disk
        self._clock = clock
        self._entropy = entropy
        self._crashed = crashed
        self._dead = False
        self._feeds: list[_Feed] = []
        self.crash_after: int | None = None
        self.refused = False
        self.lag_s = 0.0
        self._turn = asyncio.Lock()

    @property
    def revision(self) -> int:
        return self._disk.revision

    async def get(self, key: str, *, revision: int = 0) -> Record | None:
        self._check()
        return await self._disk.get(key, revision=revision)

    async def range(self, prefix: str, *, start_after: str = "", limit: int = 0, revision: int = 0) -> Page:
        self._check()
        return await self._disk.range(prefix, start_after=start_after, limit=limit, revision=revision)

    async def commit(self, operations: Sequence[Operation]) -> int:
        self._check()
        async with self._turn:
            await self._clock.sleep(self._entropy.uniform(0.0001, 0.002))
            self._check()
            before = self._disk.revision
            revision = await self._disk.commit(operations)
        if revision != before and self.crash_after is not None and self._disk.writes >= self.crash_after:
            self.crash_after = None
            self.die()
            self._crashed()
            raise Unavailable("the process died before the answer came")
        return revision

    def watch(self, prefix: str, *, after: int) -> Watch:
        feed = _Feed(self, self._disk.watch(prefix, after=after), self._clock)
        self._feeds.append(feed)
        return feed

    async def lease(self, ttl_s: float) -> int:
        self._check()
        return await self._disk.lease(ttl_s)

    async def compact(self, revision: int) -> None:
        self._check()
        await self._disk.compact(revision)

    async def snapshot(self, path: Path) -> int:
        return await self._disk.snapshot(path)

    async def close(self) -> None:
        self.die()

    def die(self) -> None:
        """The process is gone: nothing it still tries has any effect."""
        self._dead = True
        self.break_feeds()

    def break_feeds(self) -> None:
        """Every feed ends with an error: what happens until it is read anew is never told one by one."""
        feeds, self._feeds = self._feeds, []
        for feed in feeds:
            feed.broken = True
            feed.close()

    def _check(self) -> None:
        if self._dead:
            raise Unavailable("the process has died")
        if self.refused:
            raise Unavailable("the disk does not answer")


class _Feed:
    """A Watch that lags as its process's store says, and can be broken."""

    def __init__(self, process: StoreProcess, watch: Watch, clock: Clock) -> None:
        self._process = process
        self._watch = watch
        self._clock = clock
        self.broken = False

    def __aiter__(self) -> AsyncIterator[Sequence[Event]]:
        return self._batches()

    async def _batches(self) -> AsyncIterator[Sequence[Event]]:
        async for batch in self._watch:
            if self._process.lag_s:
                await self._clock.sleep(self._process.lag_s)
            if self.broken:
                break
            yield batch
        if self.broken:
            raise Unavailable("the feed broke")

    @property
    def progress(self) -> int:
        return self._watch.progress

    def close(self) -> None:
        self._watch.close()


def keys_of(operations: Sequence[Operation]) -> Sequence[tuple[str, bytes | None]]:
    """What a transaction did: each key with its new value, None for a deletion."""
    return [(each.key, each.value if isinstance(each, Put) else None) for each in operations]
