"""The snapshot file of `memory`: one JSON line of facts, then per record one JSON line and the value's bytes.

The first line counts the records and the last ends with a digest of all before it, so that a file cut short or altered is
refused.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from cluster.store.api import Record
from cluster.store.durable import replace_durably

MAGIC = "reconciler memory store 1"


@dataclass(frozen=True, slots=True)
class Image:
    """What a snapshot holds: the live records in key order, and the leases (seconds left; key to lease)."""

    revision: int
    records: Sequence[Record]
    lease_newest: int
    lease_remaining_s: Mapping[int, float]
    lease_of: Mapping[str, int]


def write(path: Path, image: Image) -> None:
    """Write `image` to `path`, durable before it returns; mode 0600."""
    digest = hashlib.sha256()
    partial = path.with_name(f"{path.name}.partial")
    with open(partial, "wb", opener=_private) as file:
        for piece in _pieces(image):
            digest.update(piece)
            file.write(piece)
        file.write(digest.digest())
    replace_durably(partial, path)


def read(path: Path) -> Image:
    """The image in `path`.  Raises OSError, ValueError for what is no whole snapshot."""
    content = path.read_bytes()
    body, digest = content[:-32], content[-32:]
    if hashlib.sha256(body).digest() != digest:
        raise ValueError(f"{path}: no snapshot of a memory store, or a damaged one")
    line, _, rest = body.partition(b"\n")
    facts = orjson.loads(line)
    if facts["magic"] != MAGIC:
        raise ValueError(f"{path}: a snapshot of another version, {facts['magic']!r} instead of {MAGIC!r}")
    records: list[Record] = []
    lease_of: dict[str, int] = {}
    offset = 0
    for _ in range(facts["records"]):
        end = rest.index(b"\n", offset)
        key, size_bytes, revision, created, lease = orjson.loads(rest[offset:end])
        offset = end + 1 + size_bytes
        records.append(Record(key, rest[end + 1 : offset], revision, created))
        if lease:
            lease_of[key] = lease
    remaining_s = {int(lease): seconds for lease, seconds in facts["leases"].items()}
    return Image(facts["revision"], records, facts["lease_newest"], remaining_s, lease_of)


def _pieces(image: Image) -> Iterator[bytes]:
    facts = {
        "magic": MAGIC,
        "revision": image.revision,
        "records": len(image.records),
        "lease_newest": image.lease_newest,
        "leases": {str(lease): seconds for lease, seconds in image.lease_remaining_s.items()},
    }
    yield orjson.dumps(facts) + b"\n"
    for record in image.records:
        row = [record.key, len(record.value), record.revision, record.created_revision]
        yield orjson.dumps([*row, image.lease_of.get(record.key, 0)]) + b"\n"
        yield record.value


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
