"""The file of `sqlite`: who may open it, what it must look like, and that one process at a time owns it.

Beside `store.db` lie SQLite's own `store.db-wal`, `store.db.lock` (held as long as the store is open; names the holder) and
`store.db.ballast` (space given up when the disk is full, so that compaction can run).  All are mode 0600.  Nothing here
ever repairs by deleting: what does not look right is refused, untouched, with what to do about it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
from pathlib import Path

from cluster.store.api import StoreError
from cluster.store.durable import replace_durably

APPLICATION_ID = 0x5265436E
SCHEMA_VERSION = 1

SCHEMA = """
CREATE TABLE log (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    created INTEGER NOT NULL,
    previous INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    value BLOB
);
CREATE TABLE lease (id INTEGER PRIMARY KEY, ttl_s REAL NOT NULL, granted_at REAL NOT NULL);
CREATE TABLE fact (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO fact VALUES ('compacted', 0), ('lease_newest', 0);
"""

WAL_PAGES_MAX = 4000
"""SQLite itself checkpoints inside the commit that passes this (16 MB); the engine does it earlier, after acknowledging."""


class StoreFileError(StoreError):
    """The file cannot be used as it is; the text says which and what to do.  It has not been changed."""


class FileLock:
    """Ownership of a store file by this process.  The kernel drops it with the process, however that ends."""

    def __init__(self, path: Path) -> None:
        """Raises StoreFileError naming the holder when another store, in this process or not, has the file open."""
        self._path = path.with_name(f"{path.name}.lock")
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._descriptor)
            raise StoreFileError(f"{path} is in use by process {holder}; stop that first") from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._descriptor)


class Ballast:
    """Disk space kept in hand: `release` gives it up, `restore` takes it back when there is room again."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path.with_name(f"{path.name}.ballast")
        self._size_bytes = size_bytes

    def release(self) -> None:
        self._path.unlink(missing_ok=True)

    def restore(self) -> bool:
        """Whether the ballast is whole; a disk without room for it leaves none of it behind."""
        if not self._size_bytes or (self._path.exists() and self._path.stat().st_size == self._size_bytes):
            return True
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._size_bytes)
        except OSError as error:
            self._path.unlink()
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            return False
        finally:
            os.close(descriptor)
        return True


def create(path: Path) -> sqlite3.Connection:
    """A new, empty store file that nothing has synced yet: for `replace_durably` when it is complete and closed."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    connection = _connect(path)
    connection.execute("PRAGMA journal_mode=OFF")
    connection.execute("PRAGMA synchronous=OFF")
    connection.executescript(
        f"BEGIN; {SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; PRAGMA application_id={APPLICATION_ID}; COMMIT;"
    )
    return connection


def connect(path: Path) -> sqlite3.Connection:
    """Open or create the store file for writing.  Raises StoreFileError for what is not ours, newer, or damaged.

    The caller holds its FileLock.  The connection keeps SQLite's own lock too, so no other program can read half of a
    transaction or reset the WAL (SQLite before 3.51.3 may corrupt one that two connections checkpoint).
    """
    wal = path.with_name(f"{path.name}-wal")
    if not path.exists() or path.stat().st_size == 0:
        if wal.exists() and wal.stat().st_size:
            raise StoreFileError(
                f"{path} is missing but its WAL {wal} is there; put the file back or restore a snapshot"
            )
        partial = path.with_name(f"{path.name}.new")  # so that a crash leaves no file, or a whole one
        partial.unlink(missing_ok=True)
        create(partial).close()
        replace_durably(partial, path)
    else:
        path.chmod(0o600)
        _check(path)
        path.with_name(f"{path.name}-shm").unlink(missing_ok=True)  # the check's own index; ours is in memory
    connection = _connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES_MAX}")
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    connection.execute("PRAGMA trusted_schema=OFF")
    return connection


def _check(path: Path) -> None:
    # Read-only: closing a writer would checkpoint the WAL into a file we refuse, and delete it.
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        try:
            if _pragma(connection, "application_id") != APPLICATION_ID:
                raise StoreFileError(f"{path} is not a store of this program; choose another path")
            if (version := _pragma(connection, "user_version")) != SCHEMA_VERSION:
                raise StoreFileError(
                    f"{path} has schema version {version}, this program knows {SCHEMA_VERSION}; run the newer program"
                )
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.DatabaseError as error:
            verdict = str(error)
    if verdict != "ok":
        raise StoreFileError(f"{path} is damaged ({verdict}); keep it, and restore a snapshot in its place")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
