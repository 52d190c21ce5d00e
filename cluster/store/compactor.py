"""What history may be forgotten, and when: enough is kept for watchers to resume and pages to be read, never without end.

`plan_compaction` decides, `Compactor.run` acts.  Knows the store only through its protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loguru import logger

from cluster.base.clock import Clock
from cluster.store.api import Store, Unavailable

KEEP_S = 300.0
"""History this young is kept, as upstream's default compaction interval: a client paging or resuming has this long."""

REVISIONS_MAX = 100_000
"""More revisions than this are never kept, however young: at 333 writes a second the two bounds meet."""

INTERVAL_S = 60.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The store was at `revision` at `at_s` of a monotonic clock."""

    at_s: float
    revision: int


def plan_compaction(samples: Sequence[Sample], *, keep_s: float, revisions_max: int) -> int:
    """The revision to compact to, given samples in order of which the last is now; 0 is nothing to do.

    Everything that happened in the last `keep_s` seconds stays readable, unless it is more than `revisions_max` revisions.
    """
    if not samples:
        return 0
    now = samples[-1]
    old = [sample.revision for sample in samples if now.at_s - sample.at_s >= keep_s]
    return max(old[-1] if old else 0, now.revision - revisions_max, 0)


class Compactor:
    """Compacts `store` as it grows.  After a restart it keeps what it finds for another `keep_s`."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        keep_s: float = KEEP_S,
        revisions_max: int = REVISIONS_MAX,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._store = store
        self._clock = clock
        self._keep_s = keep_s
        self._revisions_max = revisions_max
        self._interval_s = interval_s

    async def run(self) -> None:
        """The body of a supervised task; never returns.  A store that cannot write now is asked again next time."""
        samples: list[Sample] = []
        compacted = 0
        while True:
            samples.append(Sample(self._clock.monotonic(), self._store.revision))
            target = plan_compaction(samples, keep_s=self._keep_s, revisions_max=self._revisions_max)
            samples = [sample for sample in samples if samples[-1].at_s - sample.at_s < self._keep_s]
            if target > compacted:
                compacted = await self._compact(target, before=compacted)
            await self._clock.sleep(self._interval_s)

    async def _compact(self, target: int, *, before: int) -> int:
        try:
            await self._store.compact(target)
        except Unavailable as error:
            logger.warning("store cannot compact now", revision=target, reason=str(error))
            return before
        return target
