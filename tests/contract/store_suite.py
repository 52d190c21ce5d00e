"""The guarantees of `cluster.store.api`, as tests that every engine passes.

A module of an engine defines the fixtures `clock` (a SteppedClock) and `store`, and inherits `StoreSuite`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from cluster.store.api import (
    OPERATIONS_MAX,
    TRANSACTION_SIZE_MAX_BYTES,
    VALUE_SIZE_MAX_BYTES,
    Compacted,
    Conflict,
    Delete,
    Event,
    FutureRevision,
    LeaseNotFound,
    Put,
    Record,
    Store,
    TooLarge,
    Unavailable,
    Watch,
)
from tests.clocks import SteppedClock

Reopen = Callable[[Path], Awaitable[Store]]


async def put(store: Store, key: str, value: bytes = b"v", *, expect: int | None = None, lease: int = 0) -> int:
    return await store.commit([Put(key, value, expect=expect, lease=lease)])


async def delete(store: Store, key: str, *, expect: int | None = None) -> int:
    return await store.commit([Delete(key, expect=expect)])


async def keys_of(store: Store, prefix: str = "", *, revision: int = 0) -> list[str]:
    return [record.key for record in (await store.range(prefix, revision=revision)).records]


async def take(watch: Watch, count: int) -> list[Event]:
    """The next `count` events or more, failing after 5 seconds."""
    events: list[Event] = []
    async with asyncio.timeout(5):
        batches = aiter(watch)
        while len(events) < count:
            events.extend(await anext(batches))
    return events


async def is_silent(watch: Watch) -> bool:
    """Nothing comes within many turns of the loop."""
    waiting = asyncio.ensure_future(anext(aiter(watch)))
    for _ in range(50):
        await asyncio.sleep(0)
    silent = not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    return silent


async def _collect(watch: Watch, *, until: int) -> list[Sequence[Event]]:
    """The batches up to revision `until`, or until the watch is closed; fails after 5 seconds."""
    batches: list[Sequence[Event]] = []
    async with asyncio.timeout(5):
        async for batch in watch:
            batches.append(batch)
            if batch[-1].revision >= until:
                break
    return batches


class TransactionSuite:
    async def test_an_empty_store_is_at_revision_zero(self, store: Store) -> None:
        assert store.revision == 0
        assert await store.get("/a") is None
        assert (await store.range("")).records == []

    async def test_each_transaction_gets_the_next_revision(self, store: Store) -> None:
        revisions = [await put(store, "/a"), await put(store, "/b"), await delete(store, "/a")]
        assert revisions == [1, 2, 3]
        assert store.revision == 3

    async def test_operations_of_one_transaction_share_its_revision(self, store: Store) -> None:
        await put(store, "/old")
        revision = await store.commit([Put("/a", b"1", 0), Put("/b", b"2", 0), Delete("/old", 1)])
        assert await store.get("/a") == Record("/a", b"1", revision, revision)
        assert await store.get("/b") == Record("/b", b"2", revision, revision)
        assert await store.get("/old") is None

    async def test_a_write_keeps_when_the_key_came_into_being(self, store: Store) -> None:
        first = await put(store, "/a", b"1")
        second = await put(store, "/a", b"2")
        assert await store.get("/a") == Record("/a", b"2", second, first)
        await delete(store, "/a")
        again = await put(store, "/a", b"3")
        assert await store.get("/a") == Record("/a", b"3", again, again)

    @pytest.mark.parametrize("expect", [0, 7])
    async def test_a_put_that_expects_another_revision_changes_nothing(self, store: Store, expect: int) -> None:
        first = await put(store, "/a", b"1")
        with pytest.raises(Conflict) as caught:
            await put(store, "/a", b"2", expect=expect)
        assert (caught.value.key, caught.value.expected, caught.value.actual) == ("/a", expect, first)
        assert await store.get("/a") == Record("/a", b"1", first, first)
        assert store.revision == first

    async def test_one_failed_expectation_refuses_the_whole_transaction(self, store: Store) -> None:
        await put(store, "/a", b"1")
        with pytest.raises(Conflict) as caught:
            await store.commit([Put("/new", b"", 0), Put("/a", b"2", 9), Put("/b", b"", 8)])
        assert caught.value.key == "/a"
        assert await keys_of(store) == ["/a"]
        assert store.revision == 1

    async def test_an_expected_absent_key_is_created_once(self, store: Store) -> None:
        results = await asyncio.gather(*(put(store, "/a", expect=0) for _ in range(5)), return_exceptions=True)
        assert sum(isinstance(result, int) for result in results) == 1
        assert sum(isinstance(result, Conflict) for result in results) == 4

    async def test_concurrent_writes_of_a_key_take_effect_in_the_order_they_were_asked_for(self, store: Store) -> None:
        first = await put(store, "/a", b"0")
        results = await asyncio.gather(
            put(store, "/a", b"1", expect=first),
            put(store, "/a", b"2", expect=first + 1),
            put(store, "/a", b"lost", expect=first),
            return_exceptions=True,
        )
        assert [result for result in results if isinstance(result, int)] == [first + 1, first + 2]
        assert isinstance(results[2], Conflict)
        assert results[2].actual == first + 2
        record = await store.get("/a")
        assert record is not None
        assert record.value == b"2"

    async def test_concurrent_writes_of_many_keys_have_a_revision_each(self, store: Store) -> None:
        revisions = await asyncio.gather(*(put(store, f"/{n}", expect=0) for n in range(40)))
        assert sorted(revisions) == list(range(1, 41))

    async def test_deleting_an_absent_key_conflicts_unless_nothing_is_expected(self, store: Store) -> None:
        await put(store, "/other")
        with pytest.raises(Conflict):
            await delete(store, "/a", expect=1)
        with pytest.raises(Conflict):
            await delete(store, "/a", expect=0)
        assert await delete(store, "/a") == 1
        assert store.revision == 1

    async def test_a_value_may_have_the_largest_size_and_no_more(self, store: Store) -> None:
        await put(store, "/a", b"x" * VALUE_SIZE_MAX_BYTES)
        with pytest.raises(TooLarge):
            await put(store, "/a", b"x" * (VALUE_SIZE_MAX_BYTES + 1))
        assert store.revision == 1

    async def test_a_transaction_has_a_largest_size(self, store: Store) -> None:
        many = TRANSACTION_SIZE_MAX_BYTES // VALUE_SIZE_MAX_BYTES
        await store.commit([Put(f"/{n}", b"x" * VALUE_SIZE_MAX_BYTES, 0) for n in range(many)])
        with pytest.raises(TooLarge):
            await store.commit([Put(f"/more/{n}", b"x" * VALUE_SIZE_MAX_BYTES, 0) for n in range(many + 1)])
        assert await keys_of(store, "/more/") == []

    async def test_a_transaction_has_a_largest_count(self, store: Store) -> None:
        await store.commit([Put(f"/{n}", b"", 0) for n in range(OPERATIONS_MAX)])
        with pytest.raises(TooLarge):
            await store.commit([Put(f"/more/{n}", b"", 0) for n in range(OPERATIONS_MAX + 1)])
        assert await keys_of(store, "/more/") == []

    @pytest.mark.parametrize("keys", [[], [""], ["/a", "/a"], ["/\ud800"]])
    async def test_what_no_caller_may_send_is_refused(self, store: Store, keys: list[str]) -> None:
        with pytest.raises(ValueError):
            await store.commit([Put(key, b"", None) for key in keys])
        assert store.revision == 0

    async def test_an_empty_value_is_a_value(self, store: Store) -> None:
        await put(store, "/a", b"")
        assert await store.get("/a") == Record("/a", b"", 1, 1)


class ReadSuite:
    async def test_a_range_gives_the_keys_of_a_prefix_in_order(self, store: Store) -> None:
        for key in ("/b/2", "/a/1", "/b/1", "/b", "/b/10", "/c", "/b/é", "/b/\U0001f600", "/b/\uffff"):
            await put(store, key)
        assert await keys_of(store, "/b/") == ["/b/1", "/b/10", "/b/2", "/b/é", "/b/\uffff", "/b/\U0001f600"]
        assert await keys_of(store, "/d") == []
        assert len(await keys_of(store, "")) == 9

    async def test_pages_join_to_the_whole_at_the_revision_of_the_first(self, store: Store) -> None:
        for n in range(10):
            await put(store, f"/k/{n}", str(n).encode())
        whole = await store.range("/k/")
        first = await store.range("/k/", limit=4)
        assert first.remaining == 6
        await delete(store, "/k/5")
        await put(store, "/k/7", b"changed")
        await put(store, "/k/55")
        second = await store.range("/k/", start_after="/k/3", limit=4, revision=first.revision)
        third = await store.range("/k/", start_after="/k/7", limit=4, revision=first.revision)
        assert (second.remaining, third.remaining) == (2, 0)
        assert [*first.records, *second.records, *third.records] == list(whole.records)
        assert first.revision == second.revision == third.revision == 10

    async def test_a_start_outside_the_prefix_is_before_or_after_all_of_it(self, store: Store) -> None:
        await put(store, "/b/1")
        assert [r.key for r in (await store.range("/b/", start_after="/a")).records] == ["/b/1"]
        assert (await store.range("/b/", start_after="/c")).records == []

    async def test_a_read_at_a_revision_gives_what_was_then(self, store: Store) -> None:
        await put(store, "/a", b"1")
        await put(store, "/a", b"2")
        await delete(store, "/a")
        await put(store, "/a", b"4")
        values = [record.value if (record := await store.get("/a", revision=n)) else None for n in (1, 2, 3, 4)]
        assert values == [b"1", b"2", None, b"4"]
        assert await store.get("/a", revision=2) == Record("/a", b"2", 2, 1)
        assert [await keys_of(store, "/", revision=n) for n in (1, 3)] == [["/a"], []]

    async def test_a_revision_in_the_future_is_refused(self, store: Store) -> None:
        await put(store, "/a")
        with pytest.raises(FutureRevision) as caught:
            await store.get("/a", revision=2)
        assert caught.value.newest == 1
        with pytest.raises(FutureRevision):
            await store.range("", revision=2)
        with pytest.raises(FutureRevision):
            await store.compact(2)


class CompactionSuite:
    async def test_compaction_keeps_reads_from_its_revision_on(self, store: Store) -> None:
        await put(store, "/a", b"1")
        await put(store, "/a", b"2")
        await put(store, "/gone")
        await delete(store, "/gone")
        await put(store, "/a", b"5")
        before = await store.range("", revision=4)
        await store.compact(4)
        assert await store.range("", revision=4) == before
        assert await store.get("/a", revision=4) == Record("/a", b"2", 2, 1)
        with pytest.raises(Compacted) as caught:
            await store.get("/a", revision=3)
        assert caught.value.oldest == 4
        with pytest.raises(Compacted):
            await store.range("", revision=1)

    async def test_compaction_is_idempotent_and_never_goes_back(self, store: Store) -> None:
        for n in range(4):
            await put(store, "/a", str(n).encode())
        await store.compact(3)
        await store.compact(3)
        await store.compact(1)
        with pytest.raises(Compacted):
            await store.get("/a", revision=2)
        assert await store.get("/a", revision=3) is not None

    async def test_compacting_everything_keeps_what_is_live_and_the_counter(self, store: Store) -> None:
        await put(store, "/a", b"1")
        await put(store, "/b")
        await delete(store, "/b")
        await store.compact(3)
        assert await store.get("/a") == Record("/a", b"1", 1, 1)
        assert await put(store, "/b", expect=0) == 4


class WatchSuite:
    async def test_a_watch_gives_every_event_once_in_order_with_the_previous_value(self, store: Store) -> None:
        watch = store.watch("/a", after=0)
        await put(store, "/a", b"1")
        await put(store, "/b", b"other")
        await put(store, "/a", b"2")
        await delete(store, "/a")
        await put(store, "/a", b"5")
        one, two, five = Record("/a", b"1", 1, 1), Record("/a", b"2", 3, 1), Record("/a", b"5", 5, 5)
        assert await take(watch, 4) == [
            Event("/a", 1, one, None),
            Event("/a", 3, two, one),
            Event("/a", 4, None, two),
            Event("/a", 5, five, None),
        ]
        assert await is_silent(watch)
        assert watch.progress == 5

    async def test_a_watch_starts_after_its_revision(self, store: Store) -> None:
        for _ in range(5):
            await put(store, "/a")
        assert [event.revision for event in await take(store.watch("", after=3), 2)] == [4, 5]

    async def test_a_revision_is_never_split_over_batches(self, store: Store) -> None:
        watches = [store.watch("", after=0), store.watch("", after=0)]
        early = asyncio.ensure_future(_collect(watches[0], until=40))
        for n in range(40):
            await store.commit([Put(f"/{n}/{m}", b"", 0) for m in range(97)])
        for batches in (await early, await _collect(watches[1], until=40)):
            seen: list[int] = []
            for batch in batches:
                assert not seen or batch[0].revision > seen[-1]
                seen.extend(event.revision for event in batch)
            assert seen == sorted([*range(1, 41)] * 97)

    async def test_a_waiting_watch_is_woken_by_a_write(self, store: Store) -> None:
        watch = store.watch("/a", after=0)
        waiting = asyncio.ensure_future(take(watch, 1))
        await asyncio.sleep(0)
        await put(store, "/b")
        await put(store, "/a")
        assert [event.key for event in await waiting] == ["/a"]

    async def test_progress_moves_past_events_of_other_keys(self, store: Store) -> None:
        watch = store.watch("/a", after=0)
        waiting = asyncio.ensure_future(take(watch, 1))
        await asyncio.sleep(0)
        await put(store, "/b")
        assert watch.progress == 1
        await put(store, "/a")
        assert await waiting
        assert watch.progress == 2

    async def test_a_cancelled_wait_loses_nothing(self, store: Store) -> None:
        watch = store.watch("", after=0)
        assert await is_silent(watch)
        await put(store, "/a")
        assert len(await take(watch, 1)) == 1

    async def test_a_watch_resumes_where_another_left_off(self, store: Store) -> None:
        seen: list[int] = []
        for n in range(30):
            await put(store, f"/{n % 3}")
            watch = store.watch("", after=seen[-1] if seen else 0)
            seen.extend(event.revision for event in await take(watch, 1))
            watch.close()
        assert seen == list(range(1, 31))

    async def test_a_watch_before_what_is_kept_is_compacted(self, store: Store) -> None:
        for _ in range(5):
            await put(store, "/a")
        behind = store.watch("", after=2)
        await store.compact(3)
        for watch in (behind, store.watch("", after=2)):
            with pytest.raises(Compacted) as caught:
                await take(watch, 1)
            assert caught.value.oldest == 3
        assert [event.revision for event in await take(store.watch("", after=3), 2)] == [4, 5]

    async def test_a_watch_in_the_future_is_refused(self, store: Store) -> None:
        with pytest.raises(FutureRevision):
            await take(store.watch("", after=1), 1)

    async def test_a_closed_watch_ends(self, store: Store) -> None:
        watch = store.watch("", after=0)
        waiting = asyncio.ensure_future(_collect(watch, until=99))
        await asyncio.sleep(0)
        watch.close()
        assert await waiting == []
        await put(store, "/a")
        assert [batch async for batch in watch] == []

    async def test_history_is_watched_however_long_it_is(self, store: Store) -> None:
        for n in range(60):
            await store.commit([Put(f"/{m}", str(n).encode(), None) for m in range(100)])
        events = [event for batch in await _collect(store.watch("/7", after=0), until=60) for event in batch]
        assert len(events) == 60 * 11
        history = [event for event in events if event.key == "/7"]
        assert all(event.record is not None for event in history)
        assert [event.previous for event in history] == [None, *(event.record for event in history[:-1])]


class LeaseSuite:
    async def test_keys_end_with_their_lease_one_transaction_each(self, store: Store, clock: SteppedClock) -> None:
        lease = await store.lease(60)
        await put(store, "/a", lease=lease)
        await put(store, "/b", lease=lease)
        await put(store, "/stays")
        watch = store.watch("", after=store.revision)
        await clock.step(59)
        assert await keys_of(store) == ["/a", "/b", "/stays"]
        await clock.step(2)
        events = await take(watch, 2)
        assert [(event.key, event.revision, event.record) for event in events] == [("/a", 4, None), ("/b", 5, None)]
        assert await keys_of(store) == ["/stays"]

    async def test_the_last_put_decides_the_lease(self, store: Store, clock: SteppedClock) -> None:
        short, long = await store.lease(10), await store.lease(100)
        assert short != long
        for key in ("/freed", "/longer", "/again"):
            await put(store, key, lease=short)
        await put(store, "/freed")
        await put(store, "/longer", lease=long)
        await delete(store, "/again")
        await put(store, "/again")
        await clock.step(20)
        assert await keys_of(store) == ["/again", "/freed", "/longer"]
        await clock.step(90)
        assert await keys_of(store) == ["/again", "/freed"]

    async def test_a_lease_that_is_not_alive_is_refused(self, store: Store, clock: SteppedClock) -> None:
        with pytest.raises(LeaseNotFound):
            await put(store, "/a", lease=7)
        lease = await store.lease(1)
        await clock.step(2)
        with pytest.raises(LeaseNotFound):
            await put(store, "/a", lease=lease)
        assert store.revision == 0
        with pytest.raises(ValueError):
            await store.lease(0)


class LifeSuite:
    async def test_a_closed_store_is_unavailable(self, store: Store) -> None:
        watch = store.watch("", after=0)
        waiting = asyncio.ensure_future(take(watch, 1))
        await asyncio.sleep(0)
        await store.close()
        await store.close()
        with pytest.raises(Unavailable):
            await waiting
        for refused in (store.get("/a"), store.range(""), put(store, "/a"), store.lease(1), store.compact(0)):
            with pytest.raises(Unavailable):
                await refused


class SnapshotSuite:
    """Needs the fixture `reopen` too: how the engine opens a snapshot."""

    async def test_a_snapshot_opens_as_the_store_it_was_taken_of(
        self, store: Store, clock: SteppedClock, tmp_path: Path, reopen: Reopen
    ) -> None:
        lease = await store.lease(60)
        for n in range(20):
            await put(store, f"/{n % 7}", str(n).encode())
        await put(store, "/leased", lease=lease)
        await delete(store, "/3")
        await clock.step(30)
        path = tmp_path / "snapshot"
        revision = await store.snapshot(path)
        assert revision == store.revision
        assert path.stat().st_mode & 0o777 == 0o600
        whole = await store.range("")
        await put(store, "/later")
        copy = await reopen(path)
        assert await copy.range("") == whole
        assert await put(copy, "/next") == revision + 1
        assert await copy.lease(5) > lease
        await clock.step(31)
        assert "/leased" not in await keys_of(copy)
        await copy.close()

    async def test_a_snapshot_replaces_an_older_one(self, store: Store, tmp_path: Path, reopen: Reopen) -> None:
        path = tmp_path / "snapshot"
        await put(store, "/a")
        await store.snapshot(path)
        await put(store, "/b")
        await store.snapshot(path)
        copy = await reopen(path)
        assert await keys_of(copy) == ["/a", "/b"]
        await copy.close()
        assert [entry.name for entry in tmp_path.iterdir() if "partial" in entry.name] == []


class StoreSuite(TransactionSuite, ReadSuite, CompactionSuite, WatchSuite, LeaseSuite, LifeSuite, SnapshotSuite):
    """Everything."""
