"""The store's protocol and its guarantees.  Keys are text, values are bytes; what they mean is nobody's business here.

The guarantees, which `tests/contract/store_suite.py` checks on every engine:

1. One counter.  Each successful transaction that changes anything gets the next revision, greater than every earlier
   one; all its operations share it.  One that changes nothing returns the newest revision.  Revision 0 is the empty store
   before anything was written.
2. Acknowledged means durable.  `commit` returns only after the transaction survives a power cut (`memory` excepted, which
   is the executable specification).  A transaction that raises `Unavailable` may or may not have happened.
3. Compare and set.  Every operation may state the revision it expects of its key (0: the key must not exist).  All hold,
   or nothing is written and `Conflict` names the first that does not.
4. Reads are linearizable at revision 0 (now), and repeatable at any revision from the compacted one on.
5. A watch delivers every event of its prefix after its start exactly once, in revision order, with the previous value.
   A watch that starts or falls behind what is kept ends with `Compacted`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cluster.base.values import frozen

VALUE_SIZE_MAX_BYTES = 1_572_864
"""Largest value accepted, as upstream's etcd default (1.5 MiB)."""

OPERATIONS_MAX = 1024
"""Most operations accepted in one transaction."""

TRANSACTION_SIZE_MAX_BYTES = 16 * 1024 * 1024
"""Most bytes of values accepted in one transaction."""


@frozen
class Record:
    """A key's value as written at `revision`; `created_revision` is when the key last came into being."""

    key: str
    value: bytes = field(repr=False)  # may be a secret: never in a log or a traceback
    revision: int
    created_revision: int


@frozen
class Event:
    """One key changed at `revision`: `record` is its new state (None: deleted), `previous` the state before (None: new)."""

    key: str
    revision: int
    record: Record | None
    previous: Record | None


@dataclass(frozen=True, slots=True)
class Page:
    """Records in key order, as of `revision`; `remaining` counts those after the last one given."""

    records: Sequence[Record]
    revision: int
    remaining: int


@frozen
class Put:
    """Write a value.  `expect` is the revision the key must have now: 0 absent, None whatever.  `lease` 0: stays."""

    key: str
    value: bytes = field(repr=False)
    expect: int | None
    lease: int = 0


@frozen
class Delete:
    """Remove a key.  Removing an absent key is a Conflict unless `expect` is None."""

    key: str
    expect: int | None


Operation = Put | Delete


class StoreError(Exception):
    """Anything the store refuses or fails at."""


class Conflict(StoreError):
    """A compare failed; nothing was written.  `actual` is the key's revision (0: absent)."""

    def __init__(self, key: str, *, expected: int, actual: int) -> None:
        super().__init__(f"{key}: expected revision {expected}, found {actual}")
        self.key = key
        self.expected = expected
        self.actual = actual


class Compacted(StoreError):
    """The revision asked for is older than `oldest`, the first one still kept."""

    def __init__(self, revision: int, *, oldest: int) -> None:
        super().__init__(f"revision {revision} has been compacted, the oldest kept is {oldest}")
        self.revision = revision
        self.oldest = oldest


class FutureRevision(StoreError):
    """The revision asked for has not happened; the newest is `newest`."""

    def __init__(self, revision: int, *, newest: int) -> None:
        super().__init__(f"revision {revision} is in the future, the newest is {newest}")
        self.revision = revision
        self.newest = newest


class TooLarge(StoreError):
    """A value exceeds VALUE_SIZE_MAX_BYTES, or a transaction its bounds; nothing was written."""


class LeaseNotFound(StoreError):
    """A put named a lease that was never granted or has ended; nothing was written."""

    def __init__(self, lease: int) -> None:
        super().__init__(f"lease {lease} was never granted or has ended")
        self.lease = lease


class Unavailable(StoreError):
    """The engine cannot serve: disk full, disk error, quorum lost, closed.  `full` tells a full disk from the rest."""

    def __init__(self, why: str, *, full: bool = False) -> None:
        super().__init__(why)
        self.full = full


class Watch(Protocol):
    """A cursor over events.  Closing it frees what it holds; it never blocks the writer."""

    def __aiter__(self) -> AsyncIterator[Sequence[Event]]:
        """Batches of events in revision order; a revision is never split over two batches."""
        ...

    @property
    def progress(self) -> int:
        """Every event up to this revision has been delivered: what a bookmark may say."""
        ...

    def close(self) -> None: ...


class Store(Protocol):
    """See the module's guarantees.  All methods may be called concurrently from one event loop; commits of one key take
    effect in the order they were asked for."""

    @property
    def revision(self) -> int:
        """The newest revision this engine has seen committed."""
        ...

    async def get(self, key: str, *, revision: int = 0) -> Record | None:
        """The key's record now, or as of `revision`.  Raises Compacted, FutureRevision, Unavailable."""
        ...

    async def range(self, prefix: str, *, start_after: str = "", limit: int = 0, revision: int = 0) -> Page:
        """Records whose keys start with `prefix` and follow `start_after`; `limit` 0 is all of them."""
        ...

    async def commit(self, operations: Sequence[Operation]) -> int:
        """Apply all or nothing; return the revision.  Raises Conflict, TooLarge, LeaseNotFound, Unavailable.

        ValueError for no operations, a key named twice, an empty key or one that is not encodable as UTF-8.
        """
        ...

    def watch(self, prefix: str, *, after: int) -> Watch:
        """Events with revision > `after`.  Iterating raises Compacted when they are no longer all kept, FutureRevision
        when `after` has not happened, Unavailable when the store closes."""
        ...

    async def lease(self, ttl_s: float) -> int:
        """A lease: some time after `ttl_s` seconds the keys put with it are deleted, in ordinary transactions.

        A later put of such a key binds it to that put's lease, or with 0 to none.  ValueError unless `ttl_s` > 0.
        """
        ...

    async def compact(self, revision: int) -> None:
        """Forget what only reads before `revision` need.  Idempotent; raises FutureRevision."""
        ...

    async def snapshot(self, path: Path) -> int:
        """Write a consistent copy that the same engine can open, durable before it returns; return its revision."""
        ...

    async def close(self) -> None: ...
