"""What the embedded store costs: `python -m tests.bench.store_bench [FOLDER]`, about 8 seconds.

CPU time is the number to trust; wall time depends on the disk.  Values are 3.5 KB, a pod's size, and differ.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from cluster.base.clock import SystemClock
from cluster.store.api import Put, Store
from cluster.store.sqlite import SqliteStore

VALUE_SIZE_BYTES = 3500
PUTS = {1: 1000, 32: 6000, 256: 10_000}
LIVE = 100_000
GROUP = 1000


def _value(n: int) -> bytes:
    return n.to_bytes(8, "big") + os.urandom(1) * (VALUE_SIZE_BYTES - 8)


def _rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def _puts(store: Store, *, concurrency: int, count: int) -> None:
    values = [_value(n) for n in range(count)]
    each = count // concurrency
    waits: list[float] = []

    async def writer(number: int) -> None:
        for n in range(number * each, (number + 1) * each):
            asked_at = time.perf_counter()
            await store.commit([Put(f"/registry/pods/default/pod-{n % 2000:06}", values[n], None)])
            waits.append(time.perf_counter() - asked_at)

    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(writer(number) for number in range(concurrency)))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    waits.sort()
    print(
        f"put, {concurrency:3} at once   {cpu / count * 1e6:6.0f} us CPU   {count / wall:6.0f} /s"
        f"   p50 {waits[len(waits) // 2] * 1e3:6.2f} ms   p99 {waits[len(waits) * 99 // 100] * 1e3:6.2f} ms"
    )


async def _reads(store: Store) -> None:
    cpu = time.process_time()
    for n in range(20_000):
        await store.get(f"/registry/pods/default/pod-{n % 2000:06}")
    print(f"get                {(time.process_time() - cpu) / 20_000 * 1e6:6.1f} us CPU")
    cpu = time.process_time()
    for _ in range(20):
        await store.range("/registry/pods/default/")
    print(f"range of 2000      {(time.process_time() - cpu) / 20 * 1e3:6.2f} ms CPU")


async def _compaction(store: Store) -> None:
    history = store.revision - 2000
    cpu = time.process_time()
    await store.compact(store.revision)
    print(f"compact            {(time.process_time() - cpu) / history * 1e6:6.1f} us CPU a revision ({history})")


async def _fill(path: Path) -> None:
    store = await SqliteStore.open(path, clock=SystemClock(), ballast_size_bytes=0)
    for start in range(0, LIVE, GROUP):
        keys: Sequence[int] = range(start, start + GROUP)
        await store.commit([Put(f"/registry/pods/namespace-{n % 50}/pod-{n:06}", _value(n), 0) for n in keys])
    await store.close()


async def _open(path: Path) -> None:
    before_bytes, wall, cpu = _rss_bytes(), time.perf_counter(), time.process_time()
    store = await SqliteStore.open(path, clock=SystemClock(), ballast_size_bytes=0)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"open {LIVE} live    {wall:6.2f} s   {cpu:6.2f} s CPU   {path.stat().st_size / 1e6:.0f} MB file")
    print(f"memory             {(_rss_bytes() - before_bytes) / LIVE:6.0f} bytes an object, value included")
    await store.close()


async def main(folder: Path) -> None:
    store = await SqliteStore.open(folder / "puts.db", clock=SystemClock(), ballast_size_bytes=0)
    for concurrency, count in PUTS.items():
        await _puts(store, concurrency=concurrency, count=count)
    await _reads(store)
    await _compaction(store)
    await store.close()
    # Each in a process of its own, so that memory the one before left behind is not used again and not counted.
    for step in STEPS:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.store_bench", step, str(folder / "many.db")
        )
        if await process.wait():
            raise SystemExit(f"the bench failed at {step}")


STEPS = {"--fill": _fill, "--open": _open}

if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] in STEPS:
        asyncio.run(STEPS[sys.argv[1]](Path(sys.argv[2])))
    else:
        with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
            asyncio.run(main(Path(name)))
