"""What an engine that keeps its history on disk holds in memory: the live records, and which older versions exist.

    log on disk              1 put /a    2 put /b    3 put /a    4 delete /b
    records                  /a at 3
    superseded (at, what)    (3, /a at 1)  (4, /b at 2)  (4, /b at 4: the deletion itself)

State at revision r = records not newer than r, and what was superseded after r but is not newer than r.  Compaction to c =
everything superseded at c or before may go, strictly in this order: a deletion after what it deleted, else it would revive.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.store.api import Event, Page, Record
from cluster.store.keys import SortedKeys


@dataclass(frozen=True, slots=True)
class Superseded:
    """The version of `key` written at `revision` stopped being current at `at`; a deletion is both at once."""

    at: int
    key: str
    revision: int


class View:
    """The newest state.  One writer, the engine, applies durable transactions in order."""

    def __init__(self, *, revision: int, records: dict[str, Record], superseded: list[Superseded]) -> None:
        self.revision = revision
        self._records = records
        self._keys = SortedKeys(records)
        self._superseded = superseded

    def get(self, key: str) -> Record | None:
        return self._records.get(key)

    def range(self, prefix: str, *, start_after: str, limit: int) -> Page:
        """The page as of now."""
        page = self._keys.range(prefix, start_after=start_after, limit=limit)
        return Page([self._records[key] for key in page.keys], self.revision, page.remaining)

    def apply(self, revision: int, events: Sequence[Event]) -> None:
        for event in events:
            if event.previous is not None:
                self._superseded.append(Superseded(revision, event.key, event.previous.revision))
            if event.record is not None:
                self._records[event.key] = event.record
                if event.previous is None:
                    self._keys.add(event.key)
            else:
                self._superseded.append(Superseded(revision, event.key, revision))
                del self._records[event.key]
                self._keys.discard(event.key)
        self.revision = revision

    def older(self, prefix: str, *, revision: int) -> dict[str, int]:
        """Of the keys with `prefix` that existed at `revision` but changed since: at which revision they were written."""
        start = bisect_right(self._superseded, revision, key=lambda entry: entry.at)
        changed = self._superseded[start:]
        return {e.key: e.revision for e in changed if e.revision <= revision and e.key.startswith(prefix)}

    def forgettable(self, compacted: int, *, limit: int) -> Sequence[Superseded]:
        """The first `limit` versions that compaction to `compacted` may delete, in the order it must."""
        end = bisect_right(self._superseded, compacted, key=lambda entry: entry.at)
        return self._superseded[: min(end, limit)]

    def forget(self, count: int) -> None:
        """The first `count` of them are gone from the log."""
        del self._superseded[:count]

    @property
    def superseded_count(self) -> int:
        """How many versions the log holds that are not live."""
        return len(self._superseded)
