"""The executable specification passes the suite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster.store.api import Store
from cluster.store.memory import MemoryStore
from tests.clocks import SteppedClock
from tests.contract.store_suite import Reopen, StoreSuite, put


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
async def store(clock: SteppedClock) -> AsyncIterator[Store]:
    store = MemoryStore(clock)
    yield store
    await store.close()


@pytest.fixture
def reopen(clock: SteppedClock) -> Reopen:
    async def open_snapshot(path: Path) -> Store:
        return MemoryStore.open(path, clock)

    return open_snapshot


class TestMemoryStore(StoreSuite):
    async def test_a_damaged_snapshot_is_refused(self, store: Store, clock: SteppedClock, tmp_path: Path) -> None:
        path = tmp_path / "snapshot"
        await put(store, "/a", b"value")
        await store.snapshot(path)
        whole = path.read_bytes()
        for damaged in (whole[:-1], whole.replace(b"value", b"walue"), b""):
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match="snapshot"):
                MemoryStore.open(path, clock)
