"""A store whose values under some prefixes are encrypted: AES-256-GCM, with the key's own path as associated data.

A layer over any engine: what the engine keeps, logs, compacts and snapshots of those prefixes is ciphertext.  A value moved to
another key, or changed in any bit, is refused (`Unavailable`).  Values that are not encrypted yet are read as they are.
Other prefixes cost the look at one byte.  NIST SP 800-38D: nonces are 96 random bits, so one key is good for 2^32 writes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cluster.base.files import write_atomically
from cluster.store.api import Delete, Event, Operation, Page, Put, Record, Store, Unavailable, Watch

MARK = b"\x00aesgcm1"
"""Begins an encrypted value; none of the plain ones begins with a zero byte."""
KEY_SIZE_BYTES = 32
KEYS_MAX = 16
_ID_SIZE, _NONCE_SIZE = 4, 12
_HEAD_SIZE = len(MARK) + _ID_SIZE + _NONCE_SIZE
OVERHEAD_BYTES = _HEAD_SIZE + 16
"""What encryption adds to a value, which counts against the engine's bound of its size."""
REWRITTEN_AT_ONCE = 8
"""Values of a transaction: even the largest fit its bound."""


class KeyFileError(ValueError):
    """The key file cannot be used; the message never shows a key."""


@dataclass(frozen=True, slots=True, repr=False)
class KeyRing:
    """The first key writes, all of them read."""

    keys: Sequence[bytes]

    def encrypted(self, path: str, value: bytes, nonce: bytes) -> bytes:
        key = self.keys[0]
        return MARK + _id_of(key) + nonce + AESGCM(key).encrypt(nonce, value, path.encode())

    def decrypted(self, path: str, value: bytes) -> bytes:
        """Raises Unavailable for what was changed, moved, or encrypted with a key that is not here."""
        key_id = value[len(MARK) : len(MARK) + _ID_SIZE]
        for key in self.keys:
            if _id_of(key) == key_id:
                try:
                    nonce = value[len(MARK) + _ID_SIZE : _HEAD_SIZE]
                    return AESGCM(key).decrypt(nonce, value[_HEAD_SIZE:], path.encode())
                except (InvalidTag, ValueError):
                    break
        raise Unavailable(f"{path} cannot be decrypted: it was changed, or its key is not in the key file")

    def is_current(self, value: bytes) -> bool:
        """Encrypted with the key that writes."""
        return value.startswith(MARK + _id_of(self.keys[0]))


def _id_of(key: bytes) -> bytes:
    return hashlib.sha256(b"key id" + key).digest()[:_ID_SIZE]


def load_keys(path: Path, *, random: Callable[[int], bytes]) -> KeyRing:
    """The keys in a file, base64, one a line; made with one key where there is none.  Raises KeyFileError, OSError."""
    if not path.exists():
        write_atomically(path, base64.b64encode(random(KEY_SIZE_BYTES)) + b"\n", mode=0o600)
    if path.stat().st_mode & 0o077:
        raise KeyFileError(f"{path} can be read by others: it must have mode 0600")
    keys: list[bytes] = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        text = line.strip()
        if not text or text.startswith(b"#"):
            continue
        try:
            key = base64.b64decode(text, validate=True)
        except binascii.Error:
            key = b""
        if len(key) != KEY_SIZE_BYTES:
            raise KeyFileError(f"{path}:{number}: a key is {KEY_SIZE_BYTES} bytes in base64")
        keys.append(key)
    if not 0 < len(keys) <= KEYS_MAX:
        raise KeyFileError(f"{path}: 1 to {KEYS_MAX} keys are needed, {len(keys)} are there")
    return KeyRing(tuple(keys))


class EncryptedStore:
    """See `Store`.  `prefixes` end with a slash; `random` gives bytes nobody can guess and none twice."""

    def __init__(self, inner: Store, keys: KeyRing, prefixes: Sequence[str], *, random: Callable[[int], bytes]) -> None:
        self._inner = inner
        self._keys = keys
        self._prefixes = tuple(prefixes)
        self._random = random

    @property
    def revision(self) -> int:
        return self._inner.revision

    async def get(self, key: str, *, revision: int = 0) -> Record | None:
        record = await self._inner.get(key, revision=revision)
        return None if record is None else self._opened(record)

    async def range(self, prefix: str, *, start_after: str = "", limit: int = 0, revision: int = 0) -> Page:
        page = await self._inner.range(prefix, start_after=start_after, limit=limit, revision=revision)
        if not any(record.value.startswith(b"\0") for record in page.records):
            return page
        return replace(page, records=[self._opened(record) for record in page.records])

    async def commit(self, operations: Sequence[Operation]) -> int:
        return await self._inner.commit([self._sealed(operation) for operation in operations])

    def watch(self, prefix: str, *, after: int) -> Watch:
        return _DecryptingWatch(self._inner.watch(prefix, after=after), self._opened)

    async def lease(self, ttl_s: float) -> int:
        return await self._inner.lease(ttl_s)

    async def compact(self, revision: int) -> None:
        await self._inner.compact(revision)

    async def snapshot(self, path: Path) -> int:
        return await self._inner.snapshot(path)

    async def close(self) -> None:
        await self._inner.close()

    async def rewrite(self) -> int:
        """Encrypt what is plain or was written with an older key; returns how many values.  Nobody else may write yet.

        Raises Unavailable, so for a value that cannot be decrypted.
        """
        rewritten = 0
        for prefix in self._prefixes:
            page = await self._inner.range(prefix)
            stale = [record for record in page.records if not self._keys.is_current(record.value)]
            for start in range(0, len(stale), REWRITTEN_AT_ONCE):
                batch = stale[start : start + REWRITTEN_AT_ONCE]
                await self.commit([Put(each.key, self._opened(each).value, each.revision) for each in batch])
            rewritten += len(stale)
        return rewritten

    def _opened(self, record: Record) -> Record:
        if not record.value.startswith(MARK):
            return record
        return replace(record, value=self._keys.decrypted(record.key, record.value))

    def _sealed(self, operation: Operation) -> Operation:
        if isinstance(operation, Delete) or not operation.key.startswith(self._prefixes):
            return operation
        value = self._keys.encrypted(operation.key, operation.value, self._random(_NONCE_SIZE))
        return replace(operation, value=value)


class _DecryptingWatch:
    def __init__(self, inner: Watch, opened: Callable[[Record], Record]) -> None:
        self._inner = inner
        self._opened = opened

    @property
    def progress(self) -> int:
        return self._inner.progress

    def close(self) -> None:
        self._inner.close()

    async def __aiter__(self) -> AsyncIterator[Sequence[Event]]:
        async for batch in self._inner:
            if any(_is_sealed(event.record) or _is_sealed(event.previous) for event in batch):
                yield [self._opened_event(event) for event in batch]
            else:
                yield batch

    def _opened_event(self, event: Event) -> Event:
        record, previous = event.record, event.previous
        return replace(
            event,
            record=None if record is None else self._opened(record),
            previous=None if previous is None else self._opened(previous),
        )


def _is_sealed(record: Record | None) -> bool:
    return record is not None and record.value.startswith(b"\0")
