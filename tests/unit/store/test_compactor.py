"""History is kept long enough and not for ever."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from cluster.store.api import Compacted, Put, Unavailable
from cluster.store.compactor import Compactor, Sample, plan_compaction
from cluster.store.memory import MemoryStore
from tests.clocks import SteppedClock


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([], 0),
        ([(0, 5)], 0),
        ([(0, 5), (299, 50)], 0),
        ([(0, 5), (300, 50)], 5),
        ([(0, 5), (60, 9), (300, 50), (360, 60)], 9),
        ([(0, 5), (10, 5000)], 4000),
        ([(0, 4500), (300, 5000)], 4500),
    ],
)
def test_what_is_young_is_kept_within_the_bound(samples: Sequence[tuple[int, int]], expected: int) -> None:
    taken = [Sample(at_s, revision) for at_s, revision in samples]
    assert plan_compaction(taken, keep_s=300, revisions_max=1000) == expected


@contextlib.asynccontextmanager
async def running(compactor: Compactor) -> AsyncIterator[None]:
    task = asyncio.ensure_future(compactor.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_history_is_forgotten_once_it_is_old() -> None:
    clock = SteppedClock()
    store = MemoryStore(clock)
    for n in range(3):
        await store.commit([Put("/a", str(n).encode(), None)])
    async with running(Compactor(store, clock)):
        await clock.step(0)
        for minute in range(1, 6):
            assert await store.get("/a", revision=1) is not None, minute
            await clock.step(60)
        with pytest.raises(Compacted) as caught:
            await store.get("/a", revision=1)
    assert caught.value.oldest == 3


async def test_a_store_that_cannot_compact_is_asked_again() -> None:
    class FullOnce(MemoryStore):
        full = True

        async def compact(self, revision: int) -> None:
            if self.full:
                self.full = False
                raise Unavailable("the disk is full", full=True)
            await super().compact(revision)

    clock = SteppedClock()
    store = FullOnce(clock)
    for _ in range(20):
        await store.commit([Put("/a", b"", None)])
    async with running(Compactor(store, clock, revisions_max=10)):
        await clock.step(0)
        assert await store.get("/a", revision=5) is not None
        await clock.step(60)
        with pytest.raises(Compacted):
            await store.get("/a", revision=5)
