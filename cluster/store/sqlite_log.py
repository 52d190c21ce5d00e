"""The log of `sqlite` as SQL: append, read as of a revision, replay, delete what compaction allows, copy.

One row per operation; a row's id is its revision and its place in the transaction, so ids only grow and order everything:

    id = revision * 1024 + place      created   when the key last came into being (0 in a deletion)
    value NULL = a deletion           previous  the revision of the key's version before, 0 if there was none

No index but the id: memory (`view`) knows at which revision each version is, and a revision's rows lie together.  Knows
no asyncio: every call is one short piece of work on the connection it is given.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from cluster.store.api import OPERATIONS_MAX, Event, Record
from cluster.store.view import Superseded, View

PLACES = OPERATIONS_MAX

REPLAY_EVENTS_MAX = 256
REPLAY_SIZE_MAX_BYTES = 4 * 1024 * 1024
"""A replay ends with the revision that reaches either."""

COPY_ROWS_MAX = 200
COPY_SIZE_MAX_BYTES = 4 * 1024 * 1024
"""Copied at once: about 2 ms, more for large values."""

Row = tuple[int, str, int, int, int, bytes | None]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What opening finds: the view, the lease of each leased live key, the first revision kept."""

    view: View
    lease_of: dict[str, int]
    compacted: int


@dataclass(frozen=True, slots=True)
class GrantedLease:
    """A lease as written down: wall-clock seconds, because a monotonic clock does not survive a reboot."""

    lease: int
    ttl_s: float
    granted_at: float


def rows_of(events: Sequence[Event], leases: dict[str, int]) -> Iterator[Row]:
    """The rows of one transaction."""
    for place, event in enumerate(events):
        previous = event.previous.revision if event.previous is not None else 0
        created, value = (0, None) if event.record is None else (event.record.created_revision, event.record.value)
        yield (event.revision * PLACES + place, event.key, created, previous, leases.get(event.key, 0), value)


class SqliteLog:
    """The statements, on a connection that a `SqliteStore` owns.  Raises sqlite3.Error; a failed write changes nothing."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def append(self, rows: Iterable[Row]) -> None:
        """Write rows in one durable SQLite transaction."""
        with self._transaction():
            self._connection.executemany("INSERT INTO log VALUES (?,?,?,?,?,?)", rows)

    def load(self) -> Loaded:
        """Read the whole log in order: what is live, and what has been superseded but is still kept."""
        compacted = self.fact("compacted")
        records: dict[str, Record] = {}
        lease_of: dict[str, int] = {}
        superseded: list[Superseded] = []
        revision = compacted
        for row_id, key, created, _, lease, value in self._connection.execute(
            "SELECT id, key, created, previous, lease, value FROM log ORDER BY id"
        ):
            revision = row_id // PLACES
            if (before := records.get(key)) is not None:
                superseded.append(Superseded(revision, key, before.revision))
                lease_of.pop(key, None)
            if value is None:
                superseded.append(Superseded(revision, key, revision))
                records.pop(key, None)
                continue
            records[key] = Record(key, value, revision, created)
            if lease:
                lease_of[key] = lease
        # Compaction may have deleted the newest rows, never the counter.
        return Loaded(
            View(revision=max(revision, compacted), records=records, superseded=superseded), lease_of, compacted
        )

    def version(self, key: str, revision: int) -> Record:
        """The record of `key` written at exactly `revision`, which the view says exists."""
        row = self._connection.execute(
            "SELECT value, created FROM log WHERE id >= ? AND id < ? AND key = ?",
            (revision * PLACES, (revision + 1) * PLACES, key),
        ).fetchone()
        if row is None:
            raise RuntimeError(f"the log has no version of {key} at {revision}")
        return Record(key, row[0], revision, row[1])

    def replay(self, after: int) -> Sequence[Event]:
        """The oldest events after a revision, whole revisions, a bounded number of them."""
        events: list[Event] = []
        size_bytes = 0
        for row_id, key, created, previous, value, previous_value, previous_created in self._connection.execute(
            "SELECT log.id, log.key, log.created, log.previous, log.value, before.value, before.created"
            " FROM log LEFT JOIN log AS before ON before.id >= log.previous * ? AND before.id < (log.previous + 1) * ?"
            " AND before.key = log.key AND log.previous > 0 WHERE log.id >= ? ORDER BY log.id",
            (PLACES, PLACES, (after + 1) * PLACES),
        ):
            revision = row_id // PLACES
            enough = len(events) >= REPLAY_EVENTS_MAX or size_bytes >= REPLAY_SIZE_MAX_BYTES
            if enough and revision != events[-1].revision:
                break
            record = None if value is None else Record(key, value, revision, created)
            before = Record(key, previous_value, previous, previous_created) if previous else None
            events.append(Event(key, revision, record, before))
            size_bytes += len(value or b"") + len(previous_value or b"")
        return events

    def delete(self, versions: Iterable[Superseded]) -> None:
        """Delete versions from the log in one transaction."""
        with self._transaction():
            self._connection.executemany(
                "DELETE FROM log WHERE id >= ? AND id < ? AND key = ?",
                [(v.revision * PLACES, (v.revision + 1) * PLACES, v.key) for v in versions],
            )

    def fact(self, name: str) -> int:
        return int(self._connection.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()[0])

    def set_fact(self, name: str, value: int) -> None:
        with self._transaction():
            self._connection.execute("UPDATE fact SET value = ? WHERE name = ?", (value, name))

    def leases(self) -> Sequence[GrantedLease]:
        rows = self._connection.execute("SELECT id, ttl_s, granted_at FROM lease ORDER BY id")
        return [GrantedLease(*row) for row in rows]

    def add_lease(self, granted: GrantedLease) -> None:
        with self._transaction():
            self._connection.execute(
                "INSERT INTO lease VALUES (?,?,?)", (granted.lease, granted.ttl_s, granted.granted_at)
            )
            self._connection.execute("UPDATE fact SET value = ? WHERE name = 'lease_newest'", (granted.lease,))

    def remove_lease(self, lease: int) -> None:
        with self._transaction():
            self._connection.execute("DELETE FROM lease WHERE id = ?", (lease,))

    def rows(self, *, after_id: int, revision: int) -> Sequence[Row]:
        """The next rows as they are, after a row id, of revisions up to `revision`; a bounded number of them."""
        rows: list[Row] = []
        size_bytes = 0
        for row in self._connection.execute(
            "SELECT id, key, created, previous, lease, value FROM log WHERE id > ? AND id < ? ORDER BY id",
            (after_id, (revision + 1) * PLACES),
        ):
            rows.append(row)
            size_bytes += len(row[5] or b"")
            if len(rows) >= COPY_ROWS_MAX or size_bytes >= COPY_SIZE_MAX_BYTES:
                break
        return rows

    def checkpoint(self) -> None:
        """Copy the WAL into the file, so that the next write starts it over."""
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # SQLite has already rolled back after some errors
                self._connection.execute("ROLLBACK")
            raise
