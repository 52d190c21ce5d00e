"""The store in one SQLite file: the embedded default.

The log on disk (`sqlite_log`) is what was acknowledged; the view in memory (`view`) is what is asked for.  All commits asked
for in one turn of the event loop go into one SQLite transaction, inline on the loop, and are answered after it is durable:
one fsync for all of them, and no thread to hand the interpreter to.  For disks that sync in under a millisecond.

    commit, commit, ... -> queue -> _flush: decide in order -> append, COMMIT -> view, leases, hub -> answers

Knows no Kubernetes, and of time only what leases need.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from loguru import logger

from cluster.base.clock import Clock
from cluster.store import sqlite_file
from cluster.store.api import Compacted, Event, FutureRevision, Operation, Page, Record, Unavailable
from cluster.store.durable import replace_durably, sync
from cluster.store.group import Asked, Decided, Refused, decide_group
from cluster.store.hub import Cursor, Hub
from cluster.store.leases import Leases
from cluster.store.sqlite_file import Ballast, FileLock
from cluster.store.sqlite_log import GrantedLease, SqliteLog, rows_of
from cluster.store.transaction import size_of

QUEUE_MAX = 8192
QUEUE_SIZE_MAX_BYTES = 128 * 1024 * 1024
"""Commits waiting for the next turn, and their values; one more is refused as Unavailable."""

GROUP_SIZE_MAX_BYTES = 8 * 1024 * 1024
"""Values written in one SQLite transaction; the rest of the queue takes the next turn."""

CHECKPOINT_SIZE_BYTES = 4 * 1024 * 1024
"""After this much was written, checkpoint once the answers are out."""

PAGE_SIZE_BYTES = 4096
"""SQLite's page; a written row takes at least one in the WAL."""

COMPACTION_SLICE = 100
"""Versions deleted per turn of the loop, about 2 ms."""

COPY_SYNC_BYTES = 32 * 1024 * 1024
"""A snapshot syncs its file this often, so that no single sync holds the loop up for long."""

BALLAST_SIZE_BYTES = 64 * 1024 * 1024
"""More than the WAL ever holds (WAL_PAGES_MAX and one group): releasing it always makes room for a checkpoint."""


class SqliteStore:
    """`api.Store` in a SQLite file.  Open it with `open`; one store at a time owns a file."""

    def __init__(
        self, path: Path, *, lock: FileLock, connection: sqlite3.Connection, clock: Clock, ballast: Ballast
    ) -> None:
        """For `open`, which has prepared the file."""
        self._path = path
        self._lock = lock
        self._connection = connection
        self._clock = clock
        self._ballast = ballast
        self._log = SqliteLog(connection)
        loaded = self._log.load()
        self._view = loaded.view
        self._oldest = loaded.compacted
        self._hub = Hub(revision=self._view.revision, replay=self._replay)
        self._queue: list[Asked] = []
        self._queued_bytes = 0
        self._flushing = False
        self._written_bytes = 0
        self._upkeep = asyncio.Lock()  # compaction and snapshot take turns
        self._refusing: str | None = None
        self._closed = False
        self._lease_newest = self._log.fact("lease_newest")
        self._leases = Leases(clock, commit=self.commit, forget=self._forget_lease)
        now_s = clock.now().timestamp()
        for granted in self._log.leases():
            # The wall clock may have jumped: never more than the whole time, never less than none.
            remaining_s = granted.granted_at + granted.ttl_s - now_s
            self._leases.resume(granted.lease, min(max(remaining_s, 0.0), granted.ttl_s))
        for key, lease in loaded.lease_of.items():
            record = self._view.get(key)
            if record is not None:
                self._leases.bind(key, lease, record.revision)

    @classmethod
    async def open(cls, path: Path, *, clock: Clock, ballast_size_bytes: int = BALLAST_SIZE_BYTES) -> SqliteStore:
        """The store in `path`, created if there is none; blocks the loop while it reads the file.

        Raises StoreFileError for a file in use, foreign, newer or damaged (it is left as it was), Unavailable for one that
        the disk refuses, OSError.
        """
        lock = FileLock(path)
        with contextlib.ExitStack() as undo:
            undo.callback(lock.release)
            try:
                connection = undo.enter_context(contextlib.closing(sqlite_file.connect(path)))
                ballast = Ballast(path, ballast_size_bytes)
                store = cls(path, lock=lock, connection=connection, clock=clock, ballast=ballast)
            except sqlite3.Error as error:
                raise Unavailable(f"{path}: {error}", full=_is_full(error)) from error
            store._restore_ballast()
            undo.pop_all()
        return store

    @property
    def revision(self) -> int:
        return self._view.revision

    async def get(self, key: str, *, revision: int = 0) -> Record | None:
        at = self._readable(revision)
        record = self._view.get(key)
        if record is not None and record.revision <= at:
            return record
        if at == self._view.revision:
            return None
        older = self._view.older(key, revision=at).get(key)
        with self._reading():
            return self._log.version(key, older) if older is not None else None

    async def range(self, prefix: str, *, start_after: str = "", limit: int = 0, revision: int = 0) -> Page:
        at = self._readable(revision)
        if at == self._view.revision:
            return self._view.range(prefix, start_after=start_after, limit=limit)
        older = self._view.older(prefix, revision=at)
        live = self._view.range(prefix, start_after=start_after, limit=0).records
        then = {record.key: record for record in live if record.revision <= at}
        keys = sorted([*then, *(key for key in older if key > start_after)])
        given = keys[:limit] if limit else keys
        with self._reading():
            records = [then[key] if key in then else self._log.version(key, older[key]) for key in given]
        return Page(records, at, len(keys) - len(given))

    async def commit(self, operations: Sequence[Operation]) -> int:
        self._check_writable()
        asked = Asked(operations, size_of(operations), asyncio.get_running_loop().create_future())
        if len(self._queue) >= QUEUE_MAX or self._queued_bytes + asked.size_bytes > QUEUE_SIZE_MAX_BYTES:
            raise Unavailable(f"{len(self._queue)} transactions are waiting already")
        self._queue.append(asked)
        self._queued_bytes += asked.size_bytes
        self._flush_soon()
        return await asked.answer

    def watch(self, prefix: str, *, after: int) -> Cursor:
        return self._hub.watch(prefix, after=after)

    async def lease(self, ttl_s: float) -> int:
        self._check_writable()
        if not ttl_s > 0:
            raise ValueError(f"a lease of {ttl_s} seconds")
        lease = self._lease_newest + 1
        with self._writing():
            self._log.add_lease(GrantedLease(lease, ttl_s, self._clock.now().timestamp()))
        self._lease_newest = lease
        await self._leases.grant(lease, ttl_s)
        return lease

    async def compact(self, revision: int) -> None:
        self._check_writable()
        if revision > self._view.revision:
            raise FutureRevision(revision, newest=self._view.revision)
        async with self._upkeep:
            self._check_writable()
            if revision > self._oldest:
                self._with_ballast(lambda: self._log.set_fact("compacted", revision))
                self._oldest = revision
                self._hub.compact(revision)
            while versions := self._view.forgettable(self._oldest, limit=COMPACTION_SLICE):
                self._with_ballast(lambda versions=versions: self._log.delete(versions))  # type: ignore[misc]
                self._view.forget(len(versions))
                await asyncio.sleep(0)
                self._check_writable()
            self._restore_ballast()

    async def snapshot(self, path: Path) -> int:
        self._check_open()
        if path.with_name(f"{path.name}-wal").exists():  # of a store that is open, or crashed: not ours to replace
            raise ValueError(f"{path} belongs to a store; a snapshot needs a path of its own")
        async with self._upkeep:  # rows up to the newest revision now change no more: only compaction would delete some
            revision = self._view.revision
            partial = path.with_name(f"{path.name}.partial")
            partial.unlink(missing_ok=True)
            try:
                connection = sqlite_file.create(partial)
                with contextlib.closing(connection):
                    await self._copy(SqliteLog(connection), revision=revision, file=partial)
                replace_durably(partial, path)
            except (sqlite3.Error, OSError) as error:
                raise Unavailable(f"no snapshot in {path}: {error}", full=_is_full(error)) from error
            finally:
                partial.unlink(missing_ok=True)
        return revision

    async def close(self) -> None:
        if self._closed:
            return
        while self._queue:
            self._flush()
        self._closed = True
        self._hub.close("the store is closed")
        try:
            await self._leases.close()
        finally:
            self._connection.close()
            self._lock.release()

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Decide what was asked for, in order; make it durable together; then let the world see it, and answer."""
        self._flushing = False
        if self._closed or not self._queue:
            return
        group = self._next_group()
        verdicts = decide_group(group, revision=self._view.revision, current=self._view.get, check=self._leases.check)
        decided = [verdict for verdict in verdicts if isinstance(verdict, Decided)]
        rows = [row for one in decided for row in rows_of(one.events, one.asked.leases)]
        try:
            self._check_writable()
            if rows:
                with self._writing():
                    self._log.append(rows)
        except BaseException as error:
            # Refusals too: some may rest on what is not durable now.
            for asked in group:
                asked.refuse(error if isinstance(error, Unavailable) else Unavailable(f"the store failed: {error!r}"))
            if isinstance(error, Unavailable):
                return
            raise
        for verdict in verdicts:
            match verdict:
                case Decided(asked=asked, revision=revision, events=events):
                    if events:
                        self._view.apply(revision, events)
                        self._leases.applied(asked.operations, revision)
                        self._hub.publish(revision, events)
                    asked.accept(revision)
                case Refused(asked=asked, error=why):
                    asked.refuse(why)
        self._written_bytes += sum(PAGE_SIZE_BYTES + len(row[5] or b"") for row in rows)
        loop = asyncio.get_running_loop()
        if self._written_bytes > CHECKPOINT_SIZE_BYTES:
            self._written_bytes = 0
            loop.call_soon(self._checkpoint)
        if self._queue:
            self._flush_soon()

    def _next_group(self) -> Sequence[Asked]:
        count, size_bytes = 0, 0
        while count < len(self._queue):
            if count and size_bytes + self._queue[count].size_bytes > GROUP_SIZE_MAX_BYTES:
                break
            size_bytes += self._queue[count].size_bytes
            count += 1
        group, self._queue = self._queue[:count], self._queue[count:]
        self._queued_bytes -= size_bytes
        return group

    def _checkpoint(self) -> None:
        if self._closed:
            return
        try:
            with self._writing():
                self._log.checkpoint()
        except Unavailable as error:
            logger.warning("store checkpoint failed", path=str(self._path), reason=str(error))

    def _forget_lease(self, lease: int) -> None:
        self._check_writable()
        with self._writing():
            self._log.remove_lease(lease)

    async def _replay(self, after: int) -> Sequence[Event]:
        if after < self._oldest:
            raise Compacted(after, oldest=self._oldest)
        with self._reading():
            return self._log.replay(after)

    async def _copy(self, target: SqliteLog, *, revision: int, file: Path) -> None:
        with self._reading():
            for granted in self._log.leases():
                target.add_lease(granted)
        target.set_fact("lease_newest", self._lease_newest)
        target.set_fact("compacted", self._oldest)
        after_id, unsynced_bytes = 0, 0
        while True:
            self._check_open()
            with self._reading():
                rows = self._log.rows(after_id=after_id, revision=revision)
            if not rows:
                return
            target.append(rows)
            after_id = rows[-1][0]
            unsynced_bytes += sum(len(row[5] or b"") for row in rows)
            if unsynced_bytes > COPY_SYNC_BYTES:
                unsynced_bytes = 0
                sync(file)
            await asyncio.sleep(0)

    def _with_ballast(self, write: Callable[[], None]) -> None:
        """Write for compaction; on a full disk give up the ballast and write again."""
        try:
            with self._writing():
                write()
        except Unavailable as error:
            if not error.full:
                raise
            logger.warning("disk is full, the store's ballast makes room for compaction", path=str(self._path))
            self._ballast.release()
            with self._writing():
                self._log.checkpoint()  # first, so that the WAL starts over in the space it has
                write()

    def _restore_ballast(self) -> None:
        if not self._ballast.restore():
            logger.warning("disk has no room for the store's ballast", path=str(self._path))

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise Unavailable(f"{self._path}: {error}") from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if _is_full(error):
                raise Unavailable(f"{self._path}: the disk is full", full=True) from error
            # After a failed sync nobody knows what is on disk, and a second sync may lie: only a new open can tell.
            self._refusing = f"{self._path}: {error}; nothing more is written until the store is opened anew"
            logger.error("store failed and writes no more", path=str(self._path), reason=str(error))
            raise Unavailable(self._refusing) from error

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the store is closed")

    def _check_writable(self) -> None:
        self._check_open()
        if self._refusing is not None:
            raise Unavailable(self._refusing)

    def _readable(self, revision: int) -> int:
        self._check_open()
        if revision > self._view.revision:
            raise FutureRevision(revision, newest=self._view.revision)
        if revision and revision < self._oldest:
            raise Compacted(revision, oldest=self._oldest)
        return revision or self._view.revision


def _is_full(error: sqlite3.Error | OSError) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    # Absent from errors that the binding raises itself.  The low byte is the kind, the rest a detail of it.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
