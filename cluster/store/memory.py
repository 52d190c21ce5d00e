"""The store in memory: the executable specification of `api`, and the engine of simulations.

Written to be obviously right rather than fast: every key keeps all its versions, every event is kept until compacted.
Nothing survives the process but what `snapshot` wrote.

    versions of "/a" after put at 3, put at 5, delete at 8:   [(3, Record), (5, Record), (8, None)]
    read at 5, 6 or 7 -> the version of 5;   compact(6) leaves [(5, Record), (8, None)];   compact(8) leaves nothing
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.base.clock import Clock
from cluster.store import memory_file
from cluster.store.api import Compacted, Event, FutureRevision, Operation, Page, Record, Unavailable
from cluster.store.hub import BATCH_EVENTS_MAX, Cursor, Hub
from cluster.store.leases import Leases
from cluster.store.transaction import plan_transaction


@dataclass(frozen=True, slots=True)
class _Version:
    revision: int
    record: Record | None


class MemoryStore:
    """`api.Store` in memory.  Construct it empty, or with `open` from a snapshot."""

    def __init__(self, clock: Clock) -> None:
        self._revision = 0
        self._oldest = 0
        self._versions: dict[str, list[_Version]] = {}
        self._events: list[Event] = []
        self._lease_newest = 0
        self._leases = Leases(clock, commit=self.commit, forget=lambda lease: None)
        self._hub = Hub(revision=0, replay=self._replay)
        self._closed = False

    @classmethod
    def open(cls, path: Path, clock: Clock) -> MemoryStore:
        """The store a snapshot was taken of, without its history; leases go on with the time they had left.

        Needs a running event loop when there are leases.  Raises OSError, ValueError for what is no whole snapshot.
        """
        image = memory_file.read(path)
        store = cls(clock)
        store._revision = store._oldest = image.revision
        store._lease_newest = image.lease_newest
        for lease, remaining_s in sorted(image.lease_remaining_s.items()):
            store._leases.resume(lease, remaining_s)
        for record in image.records:
            store._versions[record.key] = [_Version(record.revision, record)]
        for key, lease in image.lease_of.items():
            store._leases.bind(key, lease, store._versions[key][-1].revision)
        store._hub = Hub(revision=image.revision, replay=store._replay)
        return store

    @property
    def revision(self) -> int:
        return self._revision

    async def get(self, key: str, *, revision: int = 0) -> Record | None:
        return self._at(key, self._readable(revision))

    async def range(self, prefix: str, *, start_after: str = "", limit: int = 0, revision: int = 0) -> Page:
        at = self._readable(revision)
        keys = sorted(key for key in self._versions if key.startswith(prefix) and key > start_after)
        records = [record for key in keys if (record := self._at(key, at)) is not None]
        given = records[:limit] if limit else records
        return Page(given, at, len(records) - len(given))

    async def commit(self, operations: Sequence[Operation]) -> int:
        self._check_open()
        revision = self._revision + 1
        events = plan_transaction(operations, revision=revision, current=self._current)
        self._leases.check(operations)
        if not events:
            return self._revision
        self._revision = revision
        for event in events:
            self._versions.setdefault(event.key, []).append(_Version(revision, event.record))
        self._events.extend(events)
        self._leases.applied(operations, revision)
        self._hub.publish(revision, events)
        return revision

    def watch(self, prefix: str, *, after: int) -> Cursor:
        return self._hub.watch(prefix, after=after)

    async def lease(self, ttl_s: float) -> int:
        self._check_open()
        if not ttl_s > 0:
            raise ValueError(f"a lease of {ttl_s} seconds")
        self._lease_newest += 1
        lease = self._lease_newest
        await self._leases.grant(lease, ttl_s)
        return lease

    async def compact(self, revision: int) -> None:
        self._check_open()
        if revision > self._revision:
            raise FutureRevision(revision, newest=self._revision)
        if revision <= self._oldest:
            return
        self._oldest = revision
        self._hub.compact(revision)
        self._events = [event for event in self._events if event.revision > revision]
        for key, versions in list(self._versions.items()):
            read = _index_at(versions, revision)  # the version a read at `revision` sees: the oldest still needed
            if read >= 0 and versions[read].record is None:
                read += 1
            self._versions[key] = versions[max(read, 0) :]
            if not self._versions[key]:
                del self._versions[key]

    async def snapshot(self, path: Path) -> int:
        self._check_open()
        page = await self.range("")
        memory_file.write(
            path,
            memory_file.Image(
                revision=page.revision,
                records=page.records,
                lease_newest=self._lease_newest,
                lease_remaining_s=self._leases.remaining_s(),
                lease_of={r.key: lease for r in page.records if (lease := self._leases.lease_of(r.key))},
            ),
        )
        return page.revision

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._hub.close("the store is closed")
        await self._leases.close()

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the store is closed")

    def _readable(self, revision: int) -> int:
        self._check_open()
        if revision > self._revision:
            raise FutureRevision(revision, newest=self._revision)
        if revision and revision < self._oldest:
            raise Compacted(revision, oldest=self._oldest)
        return revision or self._revision

    def _current(self, key: str) -> Record | None:
        return self._at(key, self._revision)

    def _at(self, key: str, revision: int) -> Record | None:
        versions = self._versions.get(key, [])
        index = _index_at(versions, revision)
        return versions[index].record if index >= 0 else None

    async def _replay(self, after: int) -> Sequence[Event]:
        if after < self._oldest:
            raise Compacted(after, oldest=self._oldest)
        start = bisect_right(self._events, after, key=lambda event: event.revision)
        if (end := start + BATCH_EVENTS_MAX) >= len(self._events):
            return self._events[start:]
        return self._events[start : bisect_right(self._events, self._events[end].revision, key=lambda e: e.revision)]


def _index_at(versions: Sequence[_Version], revision: int) -> int:
    """The position of the newest version not after `revision`, -1 when there is none."""
    return bisect_right(versions, revision, key=lambda version: version.revision) - 1
