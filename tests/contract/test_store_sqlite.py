"""The embedded engine passes the suite, and survives being reopened."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster.store.api import Compacted, Put, Store, Unavailable
from cluster.store.sqlite import QUEUE_MAX, SqliteStore
from cluster.store.sqlite_file import StoreFileError
from tests.clocks import SteppedClock
from tests.contract.store_suite import Reopen, StoreSuite, delete, keys_of, put, take


async def open_store(path: Path, clock: SteppedClock) -> SqliteStore:
    return await SqliteStore.open(path, clock=clock, ballast_size_bytes=4096)


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
async def store(clock: SteppedClock, tmp_path: Path) -> AsyncIterator[Store]:
    store = await open_store(tmp_path / "store.db", clock)
    yield store
    await store.close()


@pytest.fixture
def reopen(clock: SteppedClock) -> Reopen:
    async def open_snapshot(path: Path) -> Store:
        return await open_store(path, clock)

    return open_snapshot


class TestSqliteStore(StoreSuite):
    async def test_everything_is_as_it_was_after_a_restart(
        self, store: Store, clock: SteppedClock, tmp_path: Path
    ) -> None:
        lease = await store.lease(100)
        for n in range(50):
            await put(store, f"/{n % 7}", str(n).encode())
        await put(store, "/leased", lease=lease)
        await delete(store, "/3")
        await store.compact(20)
        pages = {revision: await store.range("", revision=revision) for revision in range(20, 53)}
        events = await take(store.watch("", after=20), 32)
        await store.close()
        await clock.step(60)
        again = await open_store(tmp_path / "store.db", clock)
        assert again.revision == 52
        assert {revision: await again.range("", revision=revision) for revision in pages} == pages
        assert await take(again.watch("", after=20), 32) == events
        with pytest.raises(Compacted):
            await again.get("/1", revision=19)
        await clock.step(39)
        assert "/leased" in await keys_of(again)
        await clock.step(2)
        assert "/leased" not in await keys_of(again)
        assert await again.lease(1) > lease
        await again.close()

    async def test_a_revision_is_not_used_again_after_everything_was_compacted(
        self, store: Store, clock: SteppedClock, tmp_path: Path
    ) -> None:
        await put(store, "/a")
        await delete(store, "/a")
        await store.compact(2)
        await store.close()
        again = await open_store(tmp_path / "store.db", clock)
        assert (again.revision, await put(again, "/b")) == (2, 3)
        await again.close()

    async def test_compaction_leaves_only_what_is_live_in_the_file(
        self, store: Store, clock: SteppedClock, tmp_path: Path
    ) -> None:
        for n in range(300):
            await put(store, f"/{n % 7}")
            await delete(store, f"/{n % 5}")
        await store.close()
        again = await open_store(tmp_path / "store.db", clock)
        await put(again, "/0")
        await delete(again, "/1")
        await again.compact(again.revision)
        live = await keys_of(again)
        await again.close()
        reader = sqlite3.connect(tmp_path / "store.db")
        assert [row[0] for row in reader.execute("SELECT key FROM log ORDER BY key")] == live
        reader.close()

    async def test_a_second_open_names_the_holder(self, store: Store, clock: SteppedClock, tmp_path: Path) -> None:
        await put(store, "/a")
        with pytest.raises(StoreFileError, match=r"in use by process \d+"):
            await open_store(tmp_path / "store.db", clock)
        assert await keys_of(store) == ["/a"]

    async def test_no_other_program_reads_or_checkpoints_the_file(self, store: Store, tmp_path: Path) -> None:
        await put(store, "/a")
        other = sqlite3.connect(tmp_path / "store.db", timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("SELECT * FROM log").fetchall()
        other.close()

    async def test_all_files_are_private(self, store: Store, tmp_path: Path) -> None:
        await put(store, "/a")
        modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
        names = ("store.db", "store.db-wal", "store.db.lock", "store.db.ballast")
        assert modes == dict.fromkeys(names, 0o600)

    async def test_what_was_asked_for_before_closing_is_done(
        self, store: Store, clock: SteppedClock, tmp_path: Path
    ) -> None:
        waiting = [asyncio.ensure_future(put(store, f"/{n}", b"x" * 1_000_000)) for n in range(20)]
        await asyncio.sleep(0)
        await store.close()
        assert sorted(await asyncio.gather(*waiting)) == list(range(1, 21))
        again = await open_store(tmp_path / "store.db", clock)
        assert len(await keys_of(again)) == 20
        await again.close()

    async def test_a_full_queue_refuses_one_more_and_serves_the_rest(self, store: Store) -> None:
        outcomes = await asyncio.gather(*(put(store, "/a") for _ in range(QUEUE_MAX + 1)), return_exceptions=True)
        assert outcomes[:-1] == list(range(1, QUEUE_MAX + 1))
        assert isinstance(outcomes[-1], Unavailable)

    async def test_a_mistaken_caller_fails_alone(self, store: Store) -> None:
        outcomes = await asyncio.gather(
            put(store, "/a"),
            put(store, "/b", None),  # type: ignore[arg-type]
            put(store, "/c"),
            return_exceptions=True,
        )
        assert [outcomes[0], outcomes[2]] == [1, 2]
        assert isinstance(outcomes[1], TypeError)

    async def test_a_failing_disk_stops_writes_for_good_and_reads_not_at_all(
        self, clock: SteppedClock, tmp_path: Path
    ) -> None:
        store = await open_store(tmp_path / "failing.db", clock)
        await put(store, "/a", b"1")
        store._connection.execute("PRAGMA query_only=1")  # the nearest to a disk error that can be had everywhere
        for _ in range(2):
            with pytest.raises(Unavailable) as caught:
                await put(store, "/a", b"2")
            assert not caught.value.full
            store._connection.execute(
                "PRAGMA query_only=0"
            )  # a write would succeed again, but nobody knows what is there
        assert (await keys_of(store), store.revision) == (["/a"], 1)
        await store.close()
        again = await open_store(tmp_path / "failing.db", clock)
        assert await put(again, "/a", b"3") == 2
        await again.close()

    async def test_a_snapshot_never_replaces_a_store(self, store: Store, tmp_path: Path) -> None:
        await put(store, "/a")
        with pytest.raises(ValueError, match="path of its own"):
            await store.snapshot(tmp_path / "store.db")

    async def test_writes_go_on_during_a_snapshot_and_are_not_in_it(
        self, store: Store, tmp_path: Path, reopen: Reopen
    ) -> None:

        for n in range(20):
            await store.commit([Put(f"/{n}/{m}", b"v", 0) for m in range(1000)])
        taken = asyncio.ensure_future(store.snapshot(tmp_path / "snapshot"))
        for n in range(10):
            await put(store, f"/{n}/0", b"changed")
        assert not taken.done()
        assert await taken == 20
        copy = await reopen(tmp_path / "snapshot")
        assert copy.revision == 20
        assert {record.value for record in (await copy.range("")).records} == {b"v"}
        await copy.close()


class TestRefusedFiles:
    """What cannot be opened is refused with its name and left as it is."""

    async def refused(self, path: Path, match: str) -> None:
        before = {file.name: hashlib.sha256(file.read_bytes()).digest() for file in path.parent.iterdir()}
        with pytest.raises(StoreFileError, match=match) as caught:
            await open_store(path, SteppedClock())
        assert str(path) in str(caught.value)
        after = {file.name: hashlib.sha256(file.read_bytes()).digest() for file in path.parent.iterdir()}
        assert {name: after.get(name) for name in before} == before

    async def test_another_programs_database(self, tmp_path: Path) -> None:
        path = tmp_path / "other.db"
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE t (x)")
        connection.close()
        await self.refused(path, "not a store of this program")

    async def test_something_else_entirely(self, tmp_path: Path) -> None:
        path = tmp_path / "text"
        path.write_text("hello " * 1000)
        await self.refused(path, "damaged")

    async def test_a_newer_schema(self, tmp_path: Path) -> None:
        path = tmp_path / "store.db"
        await (await open_store(path, SteppedClock())).close()
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version=2")
        connection.close()
        (tmp_path / "store.db.lock").unlink()
        await self.refused(path, "schema version 2")

    async def test_a_wal_without_its_database(self, tmp_path: Path) -> None:
        path = tmp_path / "store.db"
        path.with_name("store.db-wal").write_bytes(b"x" * 5000)
        await self.refused(path, "WAL")

    async def test_a_damaged_file_with_a_wal(self, tmp_path: Path) -> None:
        path = tmp_path / "store.db"
        store = await open_store(path, SteppedClock())
        for n in range(200):
            await put(store, f"/{n}", b"x" * 3000)
        await store.close()
        # A process that ends without closing leaves its WAL; then a page of the file rots.
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", LEAVE_A_WAL, str(path))
        assert await process.wait() == 0
        assert path.with_name("store.db-wal").stat().st_size > 0
        with path.open("r+b") as file:
            file.seek(20 * 4096)
            file.write(b"\xff" * 4096 * 100)
        (tmp_path / "store.db.lock").unlink()
        await self.refused(path, "damaged")


LEAVE_A_WAL = """
import asyncio, os, pathlib, sys
from cluster.base.clock import SystemClock
from cluster.store.api import Put
from cluster.store.sqlite import QUEUE_MAX, SqliteStore

async def main():
    store = await SqliteStore.open(pathlib.Path(sys.argv[1]), clock=SystemClock(), ballast_size_bytes=0)
    await store.commit([Put("/last", b"value", None)])
    os._exit(0)

asyncio.run(main())
"""
