"""The server's state in memory: stored bytes and a small index per resource, fed from the store in revision order.

Every read is answered from here; every write waits until it has come back through the feed, so a client reads its writes.
Objects are decoded at most once per revision, and only so many stay decoded.  This module knows metadata, not kinds.
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import orjson
from loguru import logger

from cluster.machinery.errors import Cause, Timeout
from cluster.machinery.objects import Key, Obj, controller_of, meta_of
from cluster.store.api import Compacted, Event, Record, Store, Unavailable

ROOT = "/registry/"
CORE = "core"
RING_EVENTS_MAX = 2048
"""Events kept per resource for watchers to resume from; an older resourceVersion is answered with 410."""
DECODED_MAX = 4096
"""Objects that stay decoded, over all resources; the oldest decoded is forgotten first."""
FUTURE_WAIT_S = 3.0
RELOAD_PAUSE_S = 1.0

subscriptions = itertools.count()
"""Handles of subscribers, which are called in the order they came."""

_METADATA = b'"metadata":{'
_NO_LABELS: Mapping[str, str] = {}


class TableId(NamedTuple):
    group: str
    plural: str


def prefix_of(table: TableId) -> str:
    return f"{ROOT}{table.group or CORE}/{table.plural}/"


def path_of(table: TableId, key: Key) -> str:
    """The store's key of an object: `/registry/apps/deployments/NAMESPACE/NAME`."""
    return prefix_of(table) + (f"{key.namespace}/{key.name}" if key.namespace else key.name)


class Row:
    """One object at one revision: its final JSON and what is indexed.  Never changed, except for the decoded form."""

    __slots__ = ("key", "labels", "node", "obj_decoded", "owner", "path", "phase", "revision", "uid", "value")

    def __init__(self, key: Key, path: str, value: bytes, revision: int, obj: Obj) -> None:
        meta = meta_of(obj)
        owner = controller_of(obj) if "ownerReferences" in meta else None
        self.key = key
        self.path = path
        self.value = value
        self.revision = revision
        self.labels: Mapping[str, str] = meta.get("labels") or _NO_LABELS
        self.uid: str = meta.get("uid", "")
        self.owner: str = owner.get("uid", "") if owner else ""
        spec, status = obj.get("spec"), obj.get("status")
        self.node: str = (spec.get("nodeName") or "") if isinstance(spec, dict) else ""
        self.phase: str = (status.get("phase") or "") if isinstance(status, dict) else ""
        self.obj_decoded: Obj | None = None

    def at(self, revision: int) -> Row:
        """The same content as of another revision: what a DELETED event carries."""
        copy = Row.__new__(Row)
        for name in Row.__slots__:
            setattr(copy, name, getattr(self, name))
        copy.value = _respliced(self.value, revision)
        copy.revision = revision
        copy.obj_decoded = None
        return copy

    def obj(self) -> Obj:
        """The decoded object, without keeping it; `State.obj` keeps it."""
        return self.obj_decoded if self.obj_decoded is not None else _decode(self.value)


def spliced(value: bytes, revision: int) -> bytes:
    """The final JSON: the stored form carries no resourceVersion because it is not known before the commit."""
    at = value.index(_METADATA) + len(_METADATA)
    comma = b"" if value[at : at + 1] == b"}" else b","
    return b"".join((value[:at], b'"resourceVersion":"%d"' % revision, comma, value[at:]))


def _respliced(value: bytes, revision: int) -> bytes:
    at = value.index(_METADATA) + len(_METADATA)
    end = value.index(b'"', at + len(b'"resourceVersion":"')) + 1
    return b"".join((value[:at], b'"resourceVersion":"%d"' % revision, value[end:]))


def stored_form(obj: Obj) -> bytes:
    """The bytes to store: apiVersion, kind and metadata first, no resourceVersion.

    Exact-size bytes: orjson's buffer is grown by doubling, which costs twice the memory when it is kept for long.
    """
    meta = {name: value for name, value in meta_of(obj).items() if name != "resourceVersion"}
    head: dict[str, Any] = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": meta}
    head.update((name, value) for name, value in obj.items() if name not in head)
    return bytes(memoryview(orjson.dumps(head)))


def with_revision(obj: Obj, revision: int) -> Obj:
    return {**obj, "metadata": {"resourceVersion": str(revision), **_without_revision(meta_of(obj))}}


def _without_revision(meta: Obj) -> Obj:
    return {name: value for name, value in meta.items() if name != "resourceVersion"}


def _decode(value: bytes) -> Obj:
    obj: Obj = orjson.loads(value)
    return obj


class Entry:
    """One event: `row` is the state to report (of a deletion the last, at the deletion's revision), `old` the one before."""

    __slots__ = ("deleted", "frames", "old", "revision", "row")

    def __init__(self, row: Row, old: Row | None, *, deleted: bool) -> None:
        self.revision = row.revision
        self.row = row
        self.old = old
        self.deleted = deleted
        # Encoded once per representation and shared by all watchers.
        self.frames: dict[tuple[str, str], bytes] = {}


class Joined(NamedTuple):
    """The frames of some events in one piece: what watchers of everything at one ring position are sent."""

    frames: bytes
    end: int
    """The position after them."""
    revision: int


Subscriber: TypeAlias = Callable[["Row | None", "Row | None"], None]


class Table:
    """The rows of one resource, their indexes, the ring of their latest events, and who wants to know of more.

    Ring positions count up for ever; `ring_start` is the position of the oldest entry kept, and every event with a
    revision above `floor` is in the ring.
    """

    def __init__(self, table_id: TableId, *, floor: int, ring_events_max: int) -> None:
        self.id = table_id
        self.rows: dict[Key, Row] = {}
        self.by_namespace: dict[str, dict[Key, Row]] = {}
        self.by_owner: dict[str, dict[Key, Row]] = {}
        self.by_node: dict[str, dict[Key, Row]] = {}
        self.revision = 0
        self.floor = floor
        self.ring: deque[Entry] = deque()
        self.ring_start = 0
        self.joined: dict[tuple[str, int], Joined] = {}
        self.wakes: dict[int, Callable[[], None]] = {}
        self.subscribers: dict[int, Subscriber] = {}
        self._ring_events_max = ring_events_max
        self._paths: list[str] | None = []
        self._by_path: dict[str, Row] = {}

    @property
    def ring_end(self) -> int:
        return self.ring_start + len(self.ring)

    def position_after(self, revision: int) -> int:
        """The ring position of the first event later than `revision`, which must not be below `floor`."""
        return self.ring_start + bisect.bisect_right(self.ring, revision, key=lambda entry: entry.revision)

    def get(self, key: Key) -> Row | None:
        return self.rows.get(key)

    def ordered(self, namespace: str = "") -> Sequence[Row]:
        """Rows in the store's key order, so that a page from here continues in one from the store."""
        if namespace:
            rows = self.by_namespace.get(namespace)
            return sorted(rows.values(), key=_path) if rows else ()
        if self._paths is None:
            self._paths = sorted(self._by_path)
        return [self._by_path[path] for path in self._paths]

    def put(self, row: Row) -> Row | None:
        old = self.rows.get(row.key)
        self.rows[row.key] = row
        self._by_path[row.path] = row
        if old is None:
            self._paths = None
        elif old.owner != row.owner or old.node != row.node:
            self._unindex(old)
        _index(self.by_namespace, row.key.namespace, row)
        if row.owner:
            _index(self.by_owner, row.owner, row)
        _index(self.by_node, row.node, row)
        self.revision = max(self.revision, row.revision)
        return old

    def remove(self, key: Key) -> Row | None:
        old = self.rows.pop(key, None)
        if old is not None:
            del self._by_path[old.path]
            self._paths = None
            self._unindex(old)
            _unindex(self.by_namespace, key.namespace, key)
        return old

    def publish(self, entry: Entry) -> None:
        self.revision = entry.revision
        self.joined.clear()
        self.ring.append(entry)
        if len(self.ring) > self._ring_events_max:
            self.floor = self.ring.popleft().revision
            self.ring_start += 1
        new = None if entry.deleted else entry.row
        for subscriber in tuple(self.subscribers.values()):
            try:
                subscriber(entry.old, new)
            except Exception as error:  # noqa: BLE001 - one broken listener must not stop the feed for all others
                logger.opt(exception=error).error(
                    "a subscriber failed", resource=self.id.plural, key=str(entry.row.key)
                )

    def wake(self) -> None:
        """Tell the watchers that there is more to read."""
        for wake in tuple(self.wakes.values()):
            wake()

    def expire(self, floor: int) -> None:
        """Forget the ring: events up to `floor` were missed."""
        self.ring_start += len(self.ring) + 1
        self.ring.clear()
        self.floor = floor

    def _unindex(self, row: Row) -> None:
        _unindex(self.by_owner, row.owner, row.key)
        _unindex(self.by_node, row.node, row.key)


def _path(row: Row) -> str:
    return row.path


def _index(index: dict[str, dict[Key, Row]], value: str, row: Row) -> None:
    rows = index.get(value)
    if rows is None:
        rows = index[value] = {}
    rows[row.key] = row


def _unindex(index: dict[str, dict[Key, Row]], value: str, key: Key) -> None:
    rows = index.get(value)
    if rows is not None:
        rows.pop(key, None)
        if not rows:
            del index[value]


class State:
    """All tables as of `revision`.  `load` first, then `follow` for as long as the server runs."""

    def __init__(self, store: Store, *, ring_events_max: int = RING_EVENTS_MAX, decoded_max: int = DECODED_MAX) -> None:
        self._store = store
        self._ring_events_max = ring_events_max
        self._decoded_max = decoded_max
        self._tables: dict[TableId, Table] = {}
        self._decoded: deque[Row] = deque()
        self._written: dict[str, tuple[bytes, Obj]] = {}
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self.revision = 0
        self.is_current = False

    def table(self, table_id: TableId) -> Table:
        table = self._tables.get(table_id)
        if table is None:
            table = Table(table_id, floor=self.revision, ring_events_max=self._ring_events_max)
            self._tables[table_id] = table
        return table

    def tables(self) -> Iterable[Table]:
        return tuple(self._tables.values())

    def row_at(self, path: str) -> Row | None:
        """The row at a store key."""
        split = _split(path)
        return self.table(split[0]).get(split[1]) if split is not None else None

    def obj(self, row: Row) -> Obj:
        """The decoded object, shared by everyone who reads this revision."""
        obj = row.obj_decoded
        if obj is None:
            obj = _decode(row.value)
            self._keep(row, obj)
        return obj

    def expect(self, path: str, value: bytes, obj: Obj) -> None:
        """Tell what `value`, about to be committed, decodes to, so that the feed need not decode it."""
        self._written[path] = (value, obj)

    def forget(self, path: str) -> None:
        self._written.pop(path, None)

    async def load(self) -> None:
        """Read everything; afterwards the state is that of one revision."""
        page = await self._store.range(ROOT)
        seen: set[str] = set()
        missed = self.revision
        for record in page.records:
            split = _split(record.key)
            if split is None:
                continue
            seen.add(record.key)
            table_id, key = split
            table = self.table(table_id)
            known = table.get(key)
            if known is None or known.revision != record.revision:
                self._put(table, key, record, publish=bool(missed))
        for table in self.tables():
            if missed:
                for key in [key for key, row in table.rows.items() if row.path not in seen]:
                    self._remove(table, key, page.revision)
                table.expire(page.revision)
                table.wake()
            else:
                table.floor = page.revision
        self.revision = page.revision
        self.is_current = True
        self._settle()

    async def follow(self) -> None:
        """Apply the store's events as they happen, until cancelled; a feed that broke is read anew."""
        while True:
            watch = self._store.watch(ROOT, after=self.revision)
            try:
                async for batch in watch:
                    self._apply(batch)
                return
            except (Compacted, Unavailable) as error:
                self.is_current = False
                logger.warning("the feed of the store broke, reading everything again", reason=str(error))
            finally:
                watch.close()
            await self._reload()

    async def reached(self, revision: int) -> None:
        """Return once every event up to `revision` has been applied."""
        if revision > self.revision:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            bisect.insort(self._waiting, (revision, future), key=lambda waiting: waiting[0])
            await future

    async def not_older_than(self, revision: int) -> None:
        """Wait briefly for a revision a client has seen.  Raises Timeout (ResourceVersionTooLarge), as upstream."""
        if revision <= self.revision:
            return
        try:
            async with asyncio.timeout(FUTURE_WAIT_S):
                await self.reached(revision)
        except TimeoutError:
            raise Timeout(
                f"Too large resource version: {revision}, current: {self.revision}",
                causes=[Cause("ResourceVersionTooLarge", "Too large resource version")],
                retry_after_s=1,
            ) from None

    async def _reload(self) -> None:
        while True:
            try:
                await self.load()
                return
            except Unavailable:
                await asyncio.sleep(RELOAD_PAUSE_S)

    def _apply(self, batch: Sequence[Event]) -> None:
        touched: dict[TableId, Table] = {}
        for event in batch:
            split = _split(event.key)
            if split is not None:
                table = touched[split[0]] = self.table(split[0])
                if event.record is None:
                    self._remove(table, split[1], event.revision)
                else:
                    self._put(table, split[1], event.record, publish=True)
            self.revision = event.revision
        for table in touched.values():
            table.wake()
        self._settle()

    def _put(self, table: Table, key: Key, record: Record, *, publish: bool) -> None:
        value = spliced(record.value, record.revision)
        written = self._written.pop(record.key, None)
        known = written is not None and written[0] == record.value
        obj = with_revision(written[1], record.revision) if written is not None and known else _decode(value)
        row = Row(key, record.key, value, record.revision, obj)
        if known:
            self._keep(row, obj)
        old = table.put(row)
        if publish:
            if row.obj_decoded is None and table.subscribers:
                self._keep(row, obj)
            self.revision = max(self.revision, record.revision)
            table.publish(Entry(row, old, deleted=False))

    def _remove(self, table: Table, key: Key, revision: int) -> None:
        old = table.remove(key)
        if old is not None:
            self.revision = max(self.revision, revision)
            table.publish(Entry(old.at(revision), old, deleted=True))

    def _keep(self, row: Row, obj: Obj) -> None:
        row.obj_decoded = obj
        self._decoded.append(row)
        if len(self._decoded) > self._decoded_max:
            self._decoded.popleft().obj_decoded = None

    def _settle(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.revision:
            future = self._waiting.pop(0)[1]
            if not future.done():
                future.set_result(None)


def row_of_record(record: Record) -> Row:
    """A row of a past revision, read from the store.  Raises ValueError for a key that names no object."""
    split = _split(record.key)
    if split is None:
        raise ValueError(f"{record.key} names no object")
    value = spliced(record.value, record.revision)
    return Row(split[1], record.key, value, record.revision, _decode(value))


def _split(path: str) -> tuple[TableId, Key] | None:
    parts = path.split("/")
    if len(parts) == 6:
        return TableId("" if parts[2] == CORE else parts[2], parts[3]), Key(parts[4], parts[5])
    if len(parts) == 5:
        return TableId("" if parts[2] == CORE else parts[2], parts[3]), Key("", parts[4])
    return None
