"""One feed, many watchers: a bounded log of recent events that watchers walk as cursors.

A watcher owns no queue: it is a position (a revision) in the shared log, so a slow one costs nothing and never holds the
writer up.  One that fell behind the log is served from the engine's history by `replay`, until that is compacted.  Knows
neither keys' meaning nor how an engine keeps its history.

    log         41   42   45   46          floor 40: everything after it is here, 43 and 44 never were
    watcher A   position 42 -> next batch 45, 46
    watcher B   position 17 -> replay(17) gives 18..40 in slices, then the log
    watcher C   position 46 -> parked until the next publish
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from cluster.store.api import Event, FutureRevision, Unavailable

LOG_EVENTS_MAX = 4096
LOG_SIZE_MAX_BYTES = 8 * 1024 * 1024
"""What the log keeps: the older half goes when either bound is passed.  Values shared with the current view count too."""

BATCH_EVENTS_MAX = 1000
"""A batch ends with the revision that reaches this many events."""


class Hub:
    """The feed of one engine, which calls `publish` once per revision, in order, after the revision is durable.

    `replay(after)` gives the oldest events with a revision greater than `after`, whole revisions only, at least one when
    there is one up to the floor, and raises Compacted when some of them are no longer kept.
    """

    def __init__(
        self,
        *,
        revision: int,
        replay: Callable[[int], Awaitable[Sequence[Event]]],
        events_max: int = LOG_EVENTS_MAX,
        size_max_bytes: int = LOG_SIZE_MAX_BYTES,
    ) -> None:
        self.replay = replay
        self._events_max = events_max
        self._size_max_bytes = size_max_bytes
        self._floor = revision
        self._newest = revision
        self._revisions: list[int] = []
        self._transactions: list[Sequence[Event]] = []
        self._events = 0
        self._size_bytes = 0
        self._parked: dict[Cursor, None] = {}
        self._closed_because: str | None = None

    @property
    def newest(self) -> int:
        """The last revision known to have happened."""
        return self._newest

    @property
    def floor(self) -> int:
        """Every event after this revision is in the log."""
        return self._floor

    def watch(self, prefix: str, *, after: int) -> Cursor:
        """A cursor that gives the events of `prefix` after revision `after`."""
        return Cursor(self, prefix, after)

    def publish(self, revision: int, events: Sequence[Event]) -> None:
        """Append one revision and wake the parked watchers it concerns; the others just move on."""
        self._revisions.append(revision)
        self._transactions.append(events)
        self._newest = max(self._newest, revision)
        self._events += len(events)
        self._size_bytes += sum(_size_of(event) for event in events)
        if self._events > self._events_max or self._size_bytes > self._size_max_bytes:
            dropped = (len(self._revisions) + 1) // 2
            self._floor = self._revisions[dropped - 1]
            self._forget(dropped)
        for cursor in list(self._parked):
            cursor.offer(revision, events)

    def happened(self, revision: int) -> None:
        """A watch may start at `revision`: it exists, though its event may have gone to others or is yet to come."""
        self._newest = max(self._newest, revision)

    def compact(self, revision: int) -> None:
        """Forget the events up to `revision`; watches that are behind it go to `replay`, which refuses them."""
        if revision > self._floor:
            self._forget(bisect_right(self._revisions, revision))
            self._floor = revision

    def skip(self, revision: int) -> None:
        """The events up to `revision` will never be published: watches that wait for them are woken, and refused."""
        self.happened(revision)
        self.compact(revision)
        for cursor in list(self._parked):
            cursor.wake()

    def close(self, why: str) -> None:
        """End every watch with Unavailable."""
        self._closed_because = why
        for cursor in list(self._parked):
            cursor.wake()

    def take(self, after: int) -> Sequence[Event] | None:
        """The next events after a position, whole revisions; empty: there are none yet; None: ask `replay`."""
        if self._closed_because is not None:
            raise Unavailable(self._closed_because)
        if after > self._newest:
            raise FutureRevision(after, newest=self._newest)
        if after < self._floor:
            return None
        batch: list[Event] = []
        for index in range(bisect_right(self._revisions, after), len(self._revisions)):
            batch.extend(self._transactions[index])
            if len(batch) >= BATCH_EVENTS_MAX:
                break
        return batch

    def park(self, cursor: Cursor) -> None:
        self._parked[cursor] = None

    def unpark(self, cursor: Cursor) -> None:
        self._parked.pop(cursor, None)

    def _forget(self, dropped: int) -> None:
        for events in self._transactions[:dropped]:
            self._events -= len(events)
            self._size_bytes -= sum(_size_of(event) for event in events)
        del self._revisions[:dropped]
        del self._transactions[:dropped]


class Cursor:
    """One watch (the protocol `Watch`).  One task iterates it at a time; cancelling the wait loses no event."""

    def __init__(self, hub: Hub, prefix: str, after: int) -> None:
        self._hub = hub
        self._prefix = prefix
        self._position = after
        self._waiting: asyncio.Future[None] | None = None
        self._closed = False

    @property
    def progress(self) -> int:
        return self._position

    def __aiter__(self) -> AsyncIterator[Sequence[Event]]:
        return self

    async def __anext__(self) -> Sequence[Event]:
        if self._waiting is not None:
            raise RuntimeError("a watch is iterated by one task at a time")
        while not self._closed:
            events = self._hub.take(self._position)
            if events is None:
                floor = self._hub.floor
                if not (events := await self._hub.replay(self._position)):
                    self._position = floor  # nothing happened up to there
                    continue
            elif not events:
                await self._park()
                continue
            self._position = events[-1].revision
            prefix = self._prefix
            if matching := [event for event in events if event.key.startswith(prefix)]:
                return matching
            await asyncio.sleep(0)  # a long history that does not concern this watch must not hold up the others
        raise StopAsyncIteration

    def close(self) -> None:
        self._closed = True
        self.wake()

    def offer(self, revision: int, events: Sequence[Event]) -> None:
        """The hub's call to a parked cursor: wake for these events, or note that they do not concern it."""
        waiting = self._waiting
        if waiting is None or waiting.done():
            return  # already woken: it will find these events itself
        if any(event.key.startswith(self._prefix) for event in events):
            self.wake()
        else:
            self._position = revision

    def wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def _park(self) -> None:
        self._waiting = asyncio.get_running_loop().create_future()
        self._hub.park(self)
        try:
            await self._waiting
        finally:
            self._waiting = None
            self._hub.unpark(self)


def _size_of(event: Event) -> int:
    size_bytes = len(event.key)
    if event.record is not None:
        size_bytes += len(event.record.value)
    if event.previous is not None:
        size_bytes += len(event.previous.value)
    return size_bytes
