"""etcd passes the suite: a real member, each test below a prefix of its own.

Revisions are etcd's own, so the suite sees them relative to the first.  Its clock cannot be stepped: what the suite says of
leases is said here in real seconds, and a snapshot is restored by etcd's own tool.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from cluster.base.clock import SystemClock
from cluster.store.api import (
    Compacted,
    Conflict,
    Delete,
    Event,
    FutureRevision,
    LeaseNotFound,
    Operation,
    Page,
    Put,
    Record,
    Store,
    TooLarge,
    Unavailable,
)
from cluster.store.etcd import EtcdStore
from cluster.store.etcd_address import Endpoint
from cluster.store.etcd_gateway import EtcdGateway
from tests.contract.store_suite import (
    CompactionSuite,
    LifeSuite,
    ReadSuite,
    TransactionSuite,
    WatchSuite,
    keys_of,
    put,
    take,
)
from tests.etcd import EtcdMember

pytestmark = pytest.mark.needs("etcd")

ANSWER_MAX_BYTES = 4096
"""Seven small records."""

T = TypeVar("T")

_prefixes = itertools.count(1)


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdMember]:
    member = EtcdMember(tmp_path_factory.mktemp("etcd") / "data")
    member.start()
    yield member
    member.kill()


async def open_store(member: EtcdMember, prefix: str = "") -> EtcdStore:
    prefix = prefix or f"/test/{next(_prefixes)}"
    return await EtcdStore.open([member.endpoint], prefix=prefix, clock=SystemClock())


class Relative:
    """A store whose counter starts at nought, as the suite counts."""

    def __init__(self, store: EtcdStore) -> None:
        self.store = store
        self.base = store.revision

    @property
    def revision(self) -> int:
        return self.store.revision - self.base

    async def get(self, key: str, *, revision: int = 0) -> Record | None:
        record = await self._do(self.store.get(key, revision=self._absolute(revision)))
        return self._record(record)

    async def range(self, prefix: str, *, start_after: str = "", limit: int = 0, revision: int = 0) -> Page:
        at = self._absolute(revision)
        page = await self._do(self.store.range(prefix, start_after=start_after, limit=limit, revision=at))
        return Page([self._record(record) for record in page.records], page.revision - self.base, page.remaining)

    async def commit(self, operations: Sequence[Operation]) -> int:
        return await self._do(self.store.commit([self._operation(operation) for operation in operations])) - self.base

    def watch(self, prefix: str, *, after: int) -> RelativeWatch:
        return RelativeWatch(self, prefix, after)

    async def lease(self, ttl_s: float) -> int:
        return await self.store.lease(ttl_s)

    async def compact(self, revision: int) -> None:
        await self._do(self.store.compact(self._absolute(revision)))

    async def snapshot(self, path: Path) -> int:
        return await self.store.snapshot(path) - self.base

    async def close(self) -> None:
        await self.store.close()

    def _absolute(self, revision: int) -> int:
        return revision + self.base if revision else 0

    def _operation(self, operation: Operation) -> Operation:
        expect = self._absolute(operation.expect) if operation.expect is not None else None
        if isinstance(operation, Put):
            return Put(operation.key, operation.value, expect, operation.lease)
        return Delete(operation.key, expect)

    def _record(self, record: Record | None) -> Record | None:
        if record is None:
            return None
        return Record(record.key, record.value, record.revision - self.base, record.created_revision - self.base)

    def event(self, event: Event) -> Event:
        return Event(event.key, event.revision - self.base, self._record(event.record), self._record(event.previous))

    async def _do(self, waiting: Awaitable[T]) -> T:
        try:
            return await waiting
        except Exception as error:
            raise self.error(error) from error

    def error(self, error: Exception) -> Exception:
        base = self.base
        match error:
            case Conflict(key=key, expected=expected, actual=actual):
                return Conflict(key, expected=expected and expected - base, actual=actual and actual - base)
            case Compacted(revision=revision, oldest=oldest):
                return Compacted(revision - base, oldest=oldest - base)
            case FutureRevision(revision=revision, newest=newest):
                return FutureRevision(revision - base, newest=newest - base)
        return error


class RelativeWatch:
    def __init__(self, owner: Relative, prefix: str, after: int) -> None:
        self._owner = owner
        self._cursor = owner.store.watch(prefix, after=after + owner.base)

    @property
    def progress(self) -> int:
        return self._cursor.progress - self._owner.base

    def __aiter__(self) -> RelativeWatch:
        return self

    async def __anext__(self) -> Sequence[Event]:
        try:
            return [self._owner.event(event) for event in await anext(self._cursor)]
        except StopAsyncIteration:
            raise
        except Exception as error:
            raise self._owner.error(error) from error

    def close(self) -> None:
        self._cursor.close()


@pytest.fixture
async def store(member: EtcdMember) -> AsyncIterator[Relative]:
    store = Relative(await open_store(member))
    yield store
    await store.close()


class TestEtcdStore(TransactionSuite, ReadSuite, CompactionSuite, WatchSuite, LifeSuite):
    async def test_keys_end_with_their_lease(self, store: Store) -> None:
        lease = await store.lease(1)
        for key in ("/a", "/b"):
            await put(store, key, lease=lease)
        await put(store, "/stays")
        events = await take(store.watch("", after=3), 2)
        assert [(event.key, event.record) for event in events] == [("/a", None), ("/b", None)]
        assert await keys_of(store) == ["/stays"]
        with pytest.raises(LeaseNotFound):
            await put(store, "/late", lease=lease)

    async def test_the_last_put_decides_the_lease(self, store: Store) -> None:
        short, long = await store.lease(1), await store.lease(1000)
        for key in ("/ends", "/freed", "/longer"):
            await put(store, key, lease=short)
        await put(store, "/freed")
        await put(store, "/longer", lease=long)
        await take(store.watch("/ends", after=5), 1)
        assert await keys_of(store) == ["/freed", "/longer"]

    async def test_a_lease_needs_a_time(self, store: Store) -> None:
        with pytest.raises(ValueError, match="lease of 0"):
            await store.lease(0)

    async def test_everything_is_as_it_was_after_a_restart(self, member: EtcdMember) -> None:
        first = await open_store(member, "/restart")
        start = first.revision
        for n in range(30):
            await put(first, f"/{n % 7}", str(n).encode())
        events = await take(first.watch("", after=start), 30)
        page = await first.range("")
        await first.close()
        again = await open_store(member, "/restart")
        assert await again.range("") == page
        assert await take(again.watch("", after=start), 30) == events
        await again.close()

    async def test_stores_of_one_etcd_do_not_see_each_other(self, member: EtcdMember) -> None:
        ours, others = await open_store(member, "/neighbour/a"), await open_store(member, "/neighbour/ab")
        start = ours.revision
        await put(others, "/x", b"theirs")
        await put(ours, "/x", b"ours")
        assert [record.value for record in (await ours.range("")).records] == [b"ours"]
        assert [event.record.value for event in await take(ours.watch("", after=start), 1) if event.record] == [b"ours"]
        await ours.close()
        await others.close()

    async def test_what_exceeds_an_answer_is_read_in_parts(self, member: EtcdMember) -> None:
        store = await EtcdStore.open(
            [member.endpoint], prefix="/parts", clock=SystemClock(), answer_max_bytes=ANSWER_MAX_BYTES
        )
        for n in range(25):
            await put(store, f"/{n:02}", b"x" * 400)
        assert len(await keys_of(store)) == 25
        assert (await store.range("/", limit=20)).remaining == 5
        with pytest.raises(Unavailable, match="exceeds what is read at once"):
            await put(store, "/large", b"x" * ANSWER_MAX_BYTES)
            await store.range("/large")
        await store.close()


async def test_an_etcd_that_was_killed_is_waited_for_and_nothing_is_lost(tmp_path: Path) -> None:
    member = EtcdMember(tmp_path / "data")
    member.start()
    store = await open_store(member)
    start = store.revision
    watch = store.watch("", after=start)
    first = await put(store, "/a", b"1")
    member.kill()
    with pytest.raises(Unavailable, match="etcd at"):
        await put(store, "/a", b"2", expect=first)
    with pytest.raises(Unavailable):
        await store.range("")
    member.start()
    async with asyncio.timeout(20):
        while True:
            try:
                await put(store, "/b", expect=0)
                break
            except Unavailable:
                await asyncio.sleep(0.05)
    assert [event.key for event in await take(watch, 2)] == ["/a", "/b"]
    await store.close()
    member.kill()


async def test_a_snapshot_is_restored_by_etcds_own_tool_and_a_server_that_knew_more_refuses_it(tmp_path: Path) -> None:
    member = EtcdMember(tmp_path / "data")
    member.start()
    store = await open_store(member, "/kept")
    for n in range(20):
        await put(store, f"/{n % 7}", str(n).encode())
    revision = await store.snapshot(tmp_path / "snapshot.db")
    assert (tmp_path / "snapshot.db").stat().st_mode & 0o777 == 0o600
    whole = await store.range("")
    assert revision == whole.revision
    for _ in range(5):
        await put(store, "/later")
    member.kill()
    member.restore(tmp_path / "snapshot.db", into=tmp_path / "restored")
    member.start()
    watch = store.watch("", after=store.revision)
    with pytest.raises(Unavailable, match="went back from revision"):
        await take(watch, 1)
    with pytest.raises(Unavailable, match="restored from a snapshot"):
        await put(store, "/refused")
    copy = await open_store(member, "/kept")
    assert (await copy.range("")).records == whole.records
    await store.close()
    await copy.close()
    member.kill()


async def test_no_etcd_is_named_with_its_address() -> None:
    with pytest.raises(Unavailable, match=r"etcd at 127\.0\.0\.1:9: cannot connect"):
        await EtcdStore.open([Endpoint("127.0.0.1", 9)], prefix="/x", clock=SystemClock())


async def test_a_history_that_etcd_compacted_itself_is_refused(member: EtcdMember) -> None:
    store = await open_store(member)
    start = store.revision
    for n in range(5):
        await put(store, "/a", str(n).encode())
    gateway = EtcdGateway([member.endpoint], tls=None)
    await gateway.call("/v3/kv/compaction", {"revision": str(store.revision)})
    await gateway.close()
    with pytest.raises(Compacted):
        await store.range("", revision=start + 1)
    fresh = await open_store(member)
    with pytest.raises(Compacted):
        await take(fresh.watch("", after=start), 1)
    await store.close()
    await fresh.close()


async def test_what_etcds_bounds_refuse_names_the_bound(tmp_path: Path, member: EtcdMember) -> None:
    store = await open_store(member)
    gateway = store._gateway
    with pytest.raises(TooLarge, match="--max-txn-ops"):
        puts = [{"request_put": {"key": "YQ=="}} for _ in range(1025)]
        await gateway.call("/v3/kv/txn", {"success": puts})
    await store.close()
