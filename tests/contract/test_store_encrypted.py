"""A store with encrypted values passes the suite; what lies in the engine beneath is unreadable and cannot be exchanged."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster.base.entropy import SeededEntropy
from cluster.store.api import (
    TRANSACTION_SIZE_MAX_BYTES,
    VALUE_SIZE_MAX_BYTES,
    Put,
    Record,
    Store,
    TooLarge,
    Unavailable,
)
from cluster.store.encryption import OVERHEAD_BYTES, EncryptedStore, KeyFileError, KeyRing, load_keys
from cluster.store.memory import MemoryStore
from tests.clocks import SteppedClock
from tests.contract.store_suite import Reopen, StoreSuite, keys_of, put

RANDOM = SeededEntropy(3).token_bytes
OLD, NEW = RANDOM(32), RANDOM(32)


def over(inner: Store, *keys: bytes, prefixes: tuple[str, ...] = ("/",)) -> EncryptedStore:
    return EncryptedStore(inner, KeyRing(keys or (NEW,)), prefixes, random=RANDOM)


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def inner(clock: SteppedClock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
async def store(inner: MemoryStore) -> AsyncIterator[Store]:
    store = over(inner)
    yield store
    await store.close()


@pytest.fixture
def reopen(clock: SteppedClock) -> Reopen:
    async def open_snapshot(path: Path) -> Store:
        return over(MemoryStore.open(path, clock))

    return open_snapshot


class TestEncryptedStore(StoreSuite):
    """Sizes are the engine's, of which encryption takes its part."""

    async def test_a_value_may_have_the_largest_size_and_no_more(self, store: Store) -> None:
        largest = VALUE_SIZE_MAX_BYTES - OVERHEAD_BYTES
        await put(store, "/a", b"x" * largest)
        with pytest.raises(TooLarge):
            await put(store, "/a", b"x" * (largest + 1))
        assert store.revision == 1

    async def test_a_transaction_has_a_largest_size(self, store: Store) -> None:
        largest = VALUE_SIZE_MAX_BYTES - OVERHEAD_BYTES
        many = TRANSACTION_SIZE_MAX_BYTES // VALUE_SIZE_MAX_BYTES
        await store.commit([Put(f"/{n}", b"x" * largest, 0) for n in range(many)])
        with pytest.raises(TooLarge):
            await store.commit([Put(f"/more/{n}", b"x" * largest, 0) for n in range(many + 1)])
        assert await keys_of(store, "/more/") == []


async def raw(inner: Store, key: str) -> bytes:
    record = await inner.get(key)
    assert record is not None
    return record.value


async def value(store: Store, key: str) -> bytes:
    record = await store.get(key)
    assert record is not None
    return record.value


async def test_only_the_prefixes_named_are_encrypted(inner: MemoryStore, tmp_path: Path) -> None:
    store = over(inner, prefixes=("/secrets/",))
    await put(store, "/secrets/a", b"hidden")
    await put(store, "/plain/a", b"visible")
    assert b"hidden" not in await raw(inner, "/secrets/a")
    assert await raw(inner, "/plain/a") == b"visible"
    await store.snapshot(tmp_path / "copy")
    assert b"hidden" not in (tmp_path / "copy").read_bytes()
    assert await value(store, "/secrets/a") == b"hidden"


async def test_two_writes_of_one_value_do_not_look_alike(inner: MemoryStore) -> None:
    store = over(inner)
    await put(store, "/a", b"same")
    first = await raw(inner, "/a")
    await put(store, "/a", b"same")
    assert await raw(inner, "/a") != first


@pytest.mark.parametrize("at", [9, 14, 25, -1])
async def test_a_changed_bit_is_noticed(inner: MemoryStore, at: int) -> None:
    store = over(inner)
    await put(store, "/a", b"value")
    damaged = bytearray(await raw(inner, "/a"))
    damaged[at] ^= 1
    await put(inner, "/a", bytes(damaged))
    with pytest.raises(Unavailable, match="/a cannot be decrypted"):
        await store.get("/a")
    with pytest.raises(Unavailable):
        await store.range("/")


async def test_a_value_moved_to_another_key_is_noticed(inner: MemoryStore) -> None:
    store = over(inner)
    await put(store, "/a", b"value")
    await put(inner, "/b", await raw(inner, "/a"))
    with pytest.raises(Unavailable, match="/b"):
        await store.get("/b")


async def test_plain_values_and_older_keys_are_read_and_rewritten(inner: MemoryStore) -> None:
    await put(inner, "/s/plain", b"one")
    await put(over(inner, OLD), "/s/old", b"two")
    store = over(inner, NEW, OLD, prefixes=("/s/",))
    await put(store, "/s/new", b"three")
    assert [record.value for record in (await store.range("/s/")).records] == [b"three", b"two", b"one"]
    assert await store.rewrite() == 2
    assert await store.rewrite() == 0
    alone = over(inner, NEW, prefixes=("/s/",))
    assert [record.value for record in (await alone.range("/s/")).records] == [b"three", b"two", b"one"]
    with pytest.raises(Unavailable):
        await over(inner, OLD).get("/s/old")


async def test_a_watch_tells_plain_values(inner: MemoryStore) -> None:
    store = over(inner)
    await put(store, "/a", b"1")
    await store.commit([Put("/a", b"2", None)])
    watch = store.watch("/", after=1)
    async for batch in watch:
        (event,) = batch
        assert event.record == Record("/a", b"2", 2, 1)
        assert event.previous is not None
        assert event.previous.value == b"1"
        break
    watch.close()


def test_a_key_file_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    first = load_keys(path, random=RANDOM)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_keys(path, random=RANDOM) == first
    text = path.read_text()
    path.write_text("# newest first\n" + base64.b64encode(OLD).decode() + "\n\n" + text)
    assert load_keys(path, random=RANDOM).keys == (OLD, *first.keys)
    assert base64.b64encode(OLD).decode() not in repr(load_keys(path, random=RANDOM))


@pytest.mark.parametrize(
    ("text", "why"), [("", "1 to 16 keys"), ("AAAA\n", ":1: a key is 32 bytes"), ("not base64!\n", ":1: a key")]
)
def test_a_key_file_that_cannot_be_used_is_refused_by_line(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "keys"
    path.touch(mode=0o600)
    path.write_text(text)
    with pytest.raises(KeyFileError, match=why):
        load_keys(path, random=RANDOM)
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match="0600"):
        load_keys(path, random=RANDOM)
