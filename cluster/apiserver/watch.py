"""Watches: cursors into a table's ring of events.  A watcher holds a position, never a queue, so a slow one costs nothing.

Upstream: apiserver/pkg/storage/cacher.  Selectors see the row before and after a change: leaving the selection is a
DELETED with the new revision, entering it an ADDED.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import orjson

from cluster.apiserver.state import Entry, Joined, Row, State, Table, subscriptions
from cluster.client.transport import EventType, WatchEvent
from cluster.machinery.errors import ApiError, Expired
from cluster.machinery.objects import Obj

TAKE_SIZE_BYTES = 256 * 1024
"""How much one `take` hands over at most, give or take one event."""
BOOKMARK_INTERVAL_S = 60.0
TIMEOUT_MAX_S = 86_400.0
INITIAL_EVENTS_END = "k8s.io/initial-events-end"

JOINED_MAX = 8
"""Positions of a ring from which its events are kept joined: watchers who keep up are all at the same one."""


class Representation(Protocol):
    """How a row is written: as JSON, as a table of one row, as its metadata only; in which version."""

    @property
    def name(self) -> str:
        """What tells it from other representations of the same resource; events are framed once for each."""
        ...

    @property
    def has_head(self) -> bool:
        """Whether the first event of a watch is written differently from the others."""
        ...

    def encode(self, row: Row, *, first: bool) -> bytes: ...

    def bookmark(self, revision: int, *, initial_events_end: bool) -> bytes:
        """The object of a BOOKMARK."""
        ...

    def decode(self, row: Row) -> Obj: ...


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What a watch starts from: `position` in the ring after `initial` rows, each sent as ADDED."""

    position: int
    initial: Iterator[Row]
    bookmarks: bool
    announce_initial_end: bool
    timeout_s: float
    error: ApiError | None = None


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One event for one watcher: a row and what happened to it, or (without row) a bookmark of `revision`."""

    type: EventType
    row: Row | None
    revision: int
    entry: Entry | None = None
    initial_events_end: bool = False


class Watcher:
    """A ByteSource of framed events; in process, an iterator of WatchEvents over the same cursor."""

    def __init__(
        self,
        state: State,
        table: Table,
        representation: Representation,
        matches: Callable[[Row], bool] | None,
        options: WatchOptions,
    ) -> None:
        self._state = state
        self._table = table
        self._representation = representation
        self._matches = matches
        self._options = options
        self._position = options.position
        self._initial: Iterator[Row] | None = options.initial
        self._announce = options.announce_initial_end
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + min(options.timeout_s or TIMEOUT_MAX_S, TIMEOUT_MAX_S)
        self._bookmark_at = self._loop.time() + BOOKMARK_INTERVAL_S
        self._timer: asyncio.TimerHandle | None = None
        self._id = next(subscriptions)
        self._wake: Callable[[], None] | None = None
        self._ended = False
        self._headed = False
        self._sent_revision = 0

    def take(self) -> bytes | None:
        """See ByteSource."""
        if self._ended:
            return None
        if self._timer is not None and self._initial is None and self._position == self._table.ring_end:
            return b""  # what a reader that keeps up asks last, each time
        if shared := self._shared():
            return shared
        frames: list[bytes] = []
        size = 0
        try:
            for occurrence in self._occurrences():
                frame = self._frame(occurrence)
                frames.append(frame)
                size += len(frame)
                if size >= TAKE_SIZE_BYTES:
                    break
        except ApiError as error:
            frames.append(b'{"type":"ERROR","object":' + orjson.dumps(error.to_status()) + b"}\n")
            self.close()
        if not frames:
            return None if self._ended else b""
        return b"".join(frames)

    def _shared(self) -> bytes:
        """The next events as all watchers of everything are given them: joined once, for whoever comes to that position."""
        table, position = self._table, self._position
        if self._matches is not None or self._initial is not None or not table.ring_start <= position < table.ring_end:
            return b""
        if self._options.error is not None or (self._representation.has_head and not self._headed):
            return b""
        joined = table.joined.get((self._representation.name, position))
        if joined is None:
            joined = self._join(position)
            if len(table.joined) >= JOINED_MAX:
                table.joined.clear()
            table.joined[self._representation.name, position] = joined
        self._position, self._sent_revision = joined.end, joined.revision
        return joined.frames

    def _join(self, position: int) -> Joined:
        table = self._table
        frames: list[bytes] = []
        size, revision = 0, 0
        for index in range(position - table.ring_start, len(table.ring)):
            entry = table.ring[index]
            frame = self._frame(Occurrence(_type_of(entry), entry.row, entry.revision, entry))
            frames.append(frame)
            size += len(frame)
            revision = entry.revision
            if size >= TAKE_SIZE_BYTES:
                break
        return Joined(b"".join(frames), position + len(frames), revision)

    def on_ready(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        if not self._ended:
            self._table.wakes[self._id] = wake
            self._set_timer()

    def close(self) -> None:
        self._ended = True
        self._initial = None
        self._table.wakes.pop(self._id, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def events(self) -> AsyncGenerator[WatchEvent, None]:
        """The same events, decoded.  Raises Expired where the byte form ends with an ERROR."""
        ready = asyncio.Event()
        self.on_ready(ready.set)
        try:
            while not self._ended:
                ready.clear()
                for occurrence in self._occurrences():
                    yield WatchEvent(occurrence.type, self._decoded(occurrence))
                if not self._ended:
                    await ready.wait()
        finally:
            self.close()

    def _occurrences(self) -> Iterator[Occurrence]:
        """What is ready now.  Each step is consumed before the next is computed, so a reader may stop anywhere."""
        if self._options.error is not None:
            raise self._options.error
        while self._initial is not None:
            row = next(self._initial, None)
            if row is not None:
                yield Occurrence(EventType.ADDED, row, row.revision)
                continue
            self._initial = None
            if self._announce:
                yield Occurrence(EventType.BOOKMARK, None, self._state.revision, initial_events_end=True)
        table = self._table
        while self._position < table.ring_end and not self._ended:
            if self._position < table.ring_start:
                raise Expired(f"too old resource version: {self._sent_revision} ({table.floor})")
            entry = table.ring[self._position - table.ring_start]
            self._position += 1
            self._sent_revision = entry.revision
            occurrence = self._occurrence(entry)
            if occurrence is not None:
                yield occurrence
        if self._position < table.ring_start:
            raise Expired(f"too old resource version: {self._sent_revision} ({table.floor})")
        yield from self._bookmarks()

    def _bookmarks(self) -> Iterator[Occurrence]:
        now = self._loop.time()
        ends = now >= self._deadline
        if self._options.bookmarks and (ends or now >= self._bookmark_at):
            self._bookmark_at = now + BOOKMARK_INTERVAL_S
            yield Occurrence(EventType.BOOKMARK, None, self._state.revision)
        if ends:
            self.close()
        elif self._wake is not None and self._timer is None:
            self._set_timer()

    def _occurrence(self, entry: Entry) -> Occurrence | None:
        matches = self._matches
        was = entry.old is not None and (matches is None or matches(entry.old))
        if entry.deleted:
            return Occurrence(EventType.DELETED, entry.row, entry.revision, entry) if was else None
        if matches is None or matches(entry.row):
            kind = EventType.MODIFIED if was else EventType.ADDED
            return Occurrence(kind, entry.row, entry.revision, entry)
        if was and entry.old is not None:
            return Occurrence(EventType.DELETED, entry.old.at(entry.revision), entry.revision)
        return None

    def _frame(self, occurrence: Occurrence) -> bytes:
        if occurrence.row is None:
            obj = self._representation.bookmark(occurrence.revision, initial_events_end=occurrence.initial_events_end)
            return b'{"type":"BOOKMARK","object":' + obj + b"}\n"
        first = self._representation.has_head and not self._headed
        self._headed = True
        frames = occurrence.entry.frames if occurrence.entry is not None and not first else None
        cached = (occurrence.type.value, self._representation.name)
        if frames is not None and (frame := frames.get(cached)) is not None:
            return frame
        encoded = self._representation.encode(occurrence.row, first=first)
        frame = b'{"type":"' + occurrence.type.value.encode() + b'","object":' + encoded + b"}\n"
        if frames is not None:
            frames[cached] = frame
        return frame

    def _decoded(self, occurrence: Occurrence) -> Obj:
        if occurrence.row is None:
            encoded = self._representation.bookmark(
                occurrence.revision, initial_events_end=occurrence.initial_events_end
            )
            bookmark: Obj = orjson.loads(encoded)
            return bookmark
        return self._representation.decode(occurrence.row)

    def _set_timer(self) -> None:
        at = min(self._deadline, self._bookmark_at) if self._options.bookmarks else self._deadline
        self._timer = self._loop.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._wake is not None:
            self._wake()


def _type_of(entry: Entry) -> EventType:
    """What an event is to a watcher of everything."""
    if entry.deleted:
        return EventType.DELETED
    return EventType.ADDED if entry.old is None else EventType.MODIFIED
