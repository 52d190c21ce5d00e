"""kill -9 in the middle of writing: nothing acknowledged is lost or half there, no revision is used for two things.

Writers print what the store acknowledged to them; what was printed outlives them.  (So does the page cache: this says
nothing about the sync itself.)
"""

from __future__ import annotations

import asyncio
import random
import sys
from dataclasses import dataclass
from pathlib import Path

from cluster.base.clock import SystemClock
from cluster.store.api import Compacted, Record
from cluster.store.sqlite import SqliteStore

CYCLES = 20
NAMES = "abcdefgh"

WRITER = """
import asyncio, itertools, os, pathlib, sys
from cluster.base.clock import SystemClock
from cluster.store.api import Delete, Put
from cluster.store.sqlite import SqliteStore

async def write(store, name):
    for n in itertools.count(int(sys.argv[2])):
        value = f"{n} ".encode() * (1 + n % 600)
        twin = Put(f"/twin/{name}", value, None) if n % 2 else Delete(f"/twin/{name}", None)
        revision = await store.commit([Put(f"/{name}", value, None), twin])
        os.write(1, f"{name} {n} {revision}\\n".encode())

async def compact(store):
    while True:
        await asyncio.sleep(0.002)
        await store.compact(max(store.revision - 100, 0))

async def main():
    store = await SqliteStore.open(pathlib.Path(sys.argv[1]), clock=SystemClock(), ballast_size_bytes=0)
    await asyncio.gather(compact(store), *(write(store, name) for name in "abcdefgh"))

asyncio.run(main())
"""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    name: str
    number: int
    revision: int


async def test_a_killed_writer_loses_nothing_it_was_told_is_written(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    chance = random.Random(20)
    newest, number = 0, 0
    for cycle in range(CYCLES):
        said = await _write_and_die(path, start=number, acknowledgements=chance.randrange(1, 400))
        assert min(one.revision for one in said) > newest, f"cycle {cycle} used a revision of an earlier life again"
        assert len({one.revision for one in said}) == len(said)
        store = await SqliteStore.open(path, clock=SystemClock(), ballast_size_bytes=0)
        newest = store.revision
        assert newest >= max(one.revision for one in said)
        for name in NAMES:
            record, twin = await store.get(f"/{name}"), await store.get(f"/twin/{name}")
            last = max((one for one in said if one.name == name), key=lambda one: one.revision, default=None)
            assert last is None or (record is not None and _number_of(record) >= last.number)
            if record is None:
                continue
            number = max(number, _number_of(record) + 1)
            # A transaction is there whole or not at all.
            assert (twin is not None) == (_number_of(record) % 2 == 1)
            assert twin is None or (twin.revision, twin.value) == (record.revision, record.value)
        for one in said:
            try:
                then = await store.get(f"/{one.name}", revision=one.revision)
            except Compacted:
                continue
            assert then is not None
            assert (_number_of(then), then.revision) == (one.number, one.revision)
        await store.close()


def _number_of(record: Record) -> int:
    return int(record.value.split()[0])


async def _write_and_die(path: Path, *, start: int, acknowledgements: int) -> list[Acknowledged]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, str(path), str(start), stdout=asyncio.subprocess.PIPE
    )
    if process.stdout is None:
        raise RuntimeError("the writer has no output")
    async with asyncio.timeout(30):
        lines = [await process.stdout.readline() for _ in range(acknowledgements)]
        process.kill()
        lines.extend((await process.stdout.read()).splitlines())
        await process.wait()
    said = [line.decode().split() for line in lines]
    return [Acknowledged(name, int(number), int(revision)) for name, number, revision in said]
