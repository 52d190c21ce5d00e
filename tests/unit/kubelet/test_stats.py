"""A node's statistics: read from control groups, averaged between two readings, made only when asked for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.client.node_stats import BadStats, ContainerUse, NodeStats, Use, decode_stats, encode_stats
from cluster.kubelet.identity import Identity
from cluster.kubelet.observe import ObservedContainer, PodObservation
from cluster.kubelet.runtime.api import Container, State
from cluster.kubelet.stats import NodeStatsReader
from cluster.kubelet.stats_cgroups import Counters, read_usage
from cluster.simulation.host import SimulatedHost
from tests.clocks import SteppedClock


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_version_1_groups_are_read_without_the_idle_file_cache(tmp_path: Path) -> None:
    write(tmp_path, {
        "proc/7/cgroup": "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n0::/\n",
        "cg/cpuacct/docker/abc/cpuacct.usage": "123456\n",
        "cg/memory/docker/abc/memory.usage_in_bytes": "5000\n",
        "cg/memory/docker/abc/memory.stat": "cache 1\ntotal_inactive_file 2000\n",
    })  # fmt: skip
    assert read_usage(7, proc=tmp_path / "proc", cgroups=tmp_path / "cg") == Counters(123456, 3000)


def test_version_2_groups_are_read_too(tmp_path: Path) -> None:
    write(tmp_path, {
        "proc/7/cgroup": "0::/system.slice/docker-abc.scope\n",
        "cg/system.slice/docker-abc.scope/cpu.stat": "usage_usec 123\nuser_usec 100\n",
        "cg/system.slice/docker-abc.scope/memory.current": "5000\n",
        "cg/system.slice/docker-abc.scope/memory.stat": "anon 1\ninactive_file 6000\n",
    })  # fmt: skip
    assert read_usage(7, proc=tmp_path / "proc", cgroups=tmp_path / "cg") == Counters(123000, 0)


def test_the_host_is_read_and_what_has_ended_is_not(tmp_path: Path) -> None:
    write(tmp_path, {
        "stat": "cpu 10 1 4 1000 50 0 2 3 0 0\ncpu0 1 1 1 1\n",
        "meminfo": "MemTotal: 100 kB\nMemFree: 30 kB\nInactive(file): 20 kB\n",
    })  # fmt: skip
    assert read_usage(0, proc=tmp_path) == Counters(20 * 10_000_000, 50 * 1024)
    assert read_usage(99, proc=tmp_path) is None


class View:
    def __init__(self, *pids: int) -> None:
        self.pids = pids
        self.looks = 0

    async def look(self) -> dict[str, PodObservation]:
        self.looks += 1
        return {f"u{pid}": PodObservation(f"u{pid}", None, (container(pid),)) for pid in self.pids}


def container(pid: int) -> ObservedContainer:
    identity = Identity(f"u{pid}", "d", f"p{pid}", "c", 0, "h", "s")
    return ObservedContainer(identity, Container(f"c{pid}", "n", "i", "i", {}, State.RUNNING, pid=pid))


async def asked(reader: NodeStatsReader, clock: SteppedClock) -> NodeStats:
    asking = asyncio.create_task(reader.stats())
    while not asking.done():
        await clock.step(0.25)
    return asking.result()


def reader_of(view: Any, host: SimulatedHost, clock: SteppedClock) -> NodeStatsReader:
    return NodeStatsReader(view=view, host=host, clock=clock)


async def test_use_is_the_average_since_the_last_asker() -> None:
    clock, host, view = SteppedClock(), SimulatedHost("n", "192.0.2.1"), View(5)
    reader = reader_of(view, host, clock)
    host.used = {0: Counters(0, 900), 5: Counters(1_000_000_000, 100)}
    first = await asked(reader, clock)
    assert first.containers[0].use == Use(0, 100)
    await clock.step(10)
    host.used = {0: Counters(20_000_000_000, 900), 5: Counters(6_000_000_000, 200)}
    second = await asked(reader, clock)
    window_s = second.window_ms / 1000
    assert 10 <= window_s < 11
    expected = Use(round(5_000_000_000 / window_s), 200)
    assert second.containers == (ContainerUse("d", "p5", "u5", "c", expected),)
    assert second.node == Use(round(20_000_000_000 / window_s), 900)
    looks = view.looks
    assert await reader.stats() == second
    assert view.looks == looks


async def test_a_counter_that_begins_anew_is_no_negative_use() -> None:
    clock, host, view = SteppedClock(), SimulatedHost("n", "192.0.2.1"), View(5)
    reader = reader_of(view, host, clock)
    host.used = {5: Counters(10**12, 1)}
    await asked(reader, clock)
    await clock.step(5)
    host.used = {5: Counters(5, 1)}
    assert (await asked(reader, clock)).containers[0].use.cpu_nanocores == 0


USES = st.builds(Use, st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))


@given(st.builds(NodeStats, st.text(), st.integers(0, 10**6), USES, st.lists(
    st.builds(ContainerUse, st.text(), st.text(), st.text(), st.text(), USES), max_size=3).map(tuple)))  # fmt: skip
def test_statistics_arrive_as_they_were_sent(stats: NodeStats) -> None:
    assert decode_stats(encode_stats(stats)) == stats


@pytest.mark.parametrize("data", [
    b"", b"[]", b"{}", b'{"at":"","window_ms":1,"node":{"cpu_nanocores":-1,"memory_bytes":0},"containers":[]}',
    b'{"at":"","window_ms":1,"node":{"cpu_nanocores":1,"memory_bytes":"x"},"containers":[]}',
    b'{"at":1,"window_ms":1,"node":{"cpu_nanocores":1,"memory_bytes":1},"containers":[]}',
    b'{"at":"","window_ms":1,"node":{"cpu_nanocores":1,"memory_bytes":1},"containers":[3]}',
])  # fmt: skip
def test_what_an_agent_makes_up_is_refused(data: bytes) -> None:
    with pytest.raises(BadStats):
        decode_stats(data)
