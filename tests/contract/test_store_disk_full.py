"""A full disk refuses writes and nothing else, and ends when there is room again."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster.store.api import Put, Unavailable
from cluster.store.sqlite import SqliteStore
from tests.clocks import SteppedClock

BALLAST_SIZE_BYTES = 10 * 1024 * 1024


async def _run(*argv: str) -> int:
    process = await asyncio.create_subprocess_exec(*argv, stderr=asyncio.subprocess.DEVNULL)
    return await process.wait()


@pytest.fixture
async def small_disk() -> AsyncIterator[Path]:
    # Not in pytest's folder, whose removal a mount left by a killed run would break for everybody.
    folder = Path(tempfile.mkdtemp(prefix="reconciler-store-"))
    if await _run("mount", "-t", "tmpfs", "-o", "size=32m", "reconciler-store-test", str(folder)):
        folder.rmdir()
        pytest.skip("this machine lets nobody mount")
    yield folder
    await _run("umount", "--lazy", str(folder))  # also while a failed test holds a file open
    folder.rmdir()


async def _fill(store: SqliteStore) -> Unavailable:
    for n in range(10_000):
        try:
            await store.commit([Put(f"/{n % 50}", str(n).encode() * 3000, None)])
        except Unavailable as error:
            return error
    raise AssertionError("the disk never filled up")


@pytest.mark.needs("root")
async def test_a_full_disk_refuses_writes_until_compaction_makes_room(small_disk: Path) -> None:
    path = small_disk / "store.db"
    store = await SqliteStore.open(path, clock=SteppedClock(), ballast_size_bytes=BALLAST_SIZE_BYTES)
    error = await _fill(store)
    assert error.full
    before = await store.range("")
    assert len(before.records) == 50
    assert await store.get("/1", revision=store.revision - 60) is not None

    await store.compact(store.revision)
    assert await store.range("") == before
    revision = await store.commit([Put("/after", b"x" * 10_000, 0)])
    assert revision == before.revision + 1
    await store.close()

    again = await SqliteStore.open(path, clock=SteppedClock(), ballast_size_bytes=0)
    assert (await again.range("/after")).records
    assert len((await again.range("")).records) == 51
    await again.close()


@pytest.mark.needs("root")
async def test_writes_resume_when_somebody_else_makes_room(small_disk: Path) -> None:
    other = small_disk / "other"
    other.write_bytes(b"x" * 16 * 1024 * 1024)
    store = await SqliteStore.open(small_disk / "store.db", clock=SteppedClock(), ballast_size_bytes=0)
    assert (await _fill(store)).full
    newest = store.revision
    other.unlink()
    assert await store.commit([Put("/after", b"x" * 100_000, 0)]) == newest + 1
    await store.close()
