"""Power cuts: what was acknowledged survives losing, keeping or tearing every write that was not synced.

A preloaded recorder notes the order of writes, syncs and acknowledgements of a real run.  Each cut is a point in that order:
files are rebuilt with what was synced before it and, by chance, some of what was not, and the store is opened on them.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cluster.base.clock import SystemClock
from cluster.store.sqlite import SqliteStore

CUTS = 150
SECTOR_SIZE_BYTES = 512

WRITER = """
import asyncio, os, pathlib, sys
from cluster.base.clock import SystemClock
from cluster.store.api import Put
from cluster.store.sqlite import SqliteStore

async def write(store, name):
    for n in range(100):
        revision = await store.commit([Put(f"/{name}", f"{name}{n} ".encode() * (1 + n * 90), None)])
        os.write(1, f"{name} {n} {revision}".encode())

async def main():
    store = await SqliteStore.open(pathlib.Path(sys.argv[1]), clock=SystemClock(), ballast_size_bytes=0)
    store._connection.execute(f"PRAGMA synchronous={sys.argv[2]}")
    await asyncio.gather(*(write(store, name) for name in "abcd"))
    os._exit(0)

asyncio.run(main())
"""


@dataclass(frozen=True, slots=True)
class Step:
    kind: str
    path: str
    offset: int
    size: int
    data: bytes


@dataclass(slots=True)
class Disk:
    """One file: what is on the disk, and what the kernel was given since the last sync."""

    synced: bytearray
    unsynced: list[Step] = field(default_factory=list)

    def sync(self) -> None:
        for step in self.unsynced:
            self._apply(step, step.size)
        self.unsynced.clear()

    def cut(self, chance: random.Random) -> bytes:
        """The file as found after the power comes back."""
        for step in self.unsynced:
            match chance.choice(["lost", "kept", "torn"]):
                case "kept":
                    self._apply(step, step.size)
                case "torn" if step.kind == "W":
                    self._apply(step, chance.randrange(step.size + 1) // SECTOR_SIZE_BYTES * SECTOR_SIZE_BYTES)
        return bytes(self.synced)

    def _apply(self, step: Step, size: int) -> None:
        if step.kind == "T":
            del self.synced[step.size :]
            return
        if len(self.synced) < step.offset:
            self.synced.extend(bytes(step.offset - len(self.synced)))
        self.synced[step.offset : step.offset + size] = step.data[:size]


def _steps(log: bytes) -> list[Step]:
    steps: list[Step] = []
    offset = 0
    while offset < len(log):
        kind, length, at, size = struct.unpack_from("<cIqq", log, offset)
        offset += 21
        path = log[offset : offset + length].decode()
        offset += length
        data = log[offset : offset + size] if kind in b"WA" else b""
        offset += len(data)
        steps.append(Step(kind.decode(), path, at, size, data))
    return steps


async def _record(folder: Path, synchronous: str) -> list[Step]:
    library, log = folder / "recorder.so", folder / "recorded"
    source = Path(__file__).with_name("recorder.c")
    compiler = await asyncio.create_subprocess_exec("gcc", "-shared", "-fPIC", "-o", library, source, "-ldl")
    assert await compiler.wait() == 0
    path = folder / "store.db"
    await (await SqliteStore.open(path, clock=SystemClock(), ballast_size_bytes=0)).close()
    shutil.copy(path, folder / "base.db")
    environment = {**os.environ, "LD_PRELOAD": str(library), "RECORD_LOG": str(log), "RECORD_FILES": str(path)}
    writer = await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, str(path), synchronous, env=environment)
    async with asyncio.timeout(60):
        assert await writer.wait() == 0
    return _steps(log.read_bytes())


async def _lost(steps: Sequence[Step], folder: Path, *, base: bytes, chance: random.Random) -> list[str]:
    """The acknowledgements before a cut after `steps` that the store opened afterwards does not honour."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    disks = {"store.db": Disk(bytearray(base)), "store.db-wal": Disk(bytearray())}
    acknowledged: list[str] = []
    for step in steps:
        name = Path(step.path).name
        if step.kind == "A":
            acknowledged.append(step.data.decode())
        elif name in disks and step.kind == "S":
            disks[name].sync()
        elif name in disks:
            disks[name].unsynced.append(step)
    for name, disk in disks.items():
        (folder / name).write_bytes(disk.cut(chance))
    store = await SqliteStore.open(folder / "store.db", clock=SystemClock(), ballast_size_bytes=0)
    lost: list[str] = []
    for line in acknowledged:
        name, number, revision = line.split()
        record = await store.get(f"/{name}", revision=int(revision)) if int(revision) <= store.revision else None
        if record is None or not record.value.startswith(f"{name}{number} ".encode()):
            lost.append(line)
    await store.close()
    return lost


async def _losses(tmp_path: Path, synchronous: str) -> int:
    """How many of CUTS cuts lose something acknowledged."""
    steps = await _record(tmp_path, synchronous)
    base = (tmp_path / "base.db").read_bytes()
    names = {Path(step.path).name for step in steps if step.kind == "W"}
    assert names >= {"store.db", "store.db-wal"}, "the run must pass a checkpoint"
    chance = random.Random(7)
    losses = 0
    for _ in range(CUTS):
        cut = chance.randrange(len(steps) + 1)
        losses += bool(await _lost(steps[:cut], tmp_path / "cut", base=base, chance=chance))
    return losses


@pytest.mark.needs("gcc")
async def test_no_power_cut_loses_what_was_acknowledged(tmp_path: Path) -> None:
    assert await _losses(tmp_path, "FULL") == 0


@pytest.mark.needs("gcc")
async def test_the_method_sees_the_loss_when_commits_are_not_synced(tmp_path: Path) -> None:
    assert await _losses(tmp_path, "NORMAL") > CUTS // 10
