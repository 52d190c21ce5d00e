from __future__ import annotations

from pathlib import Path

import pytest

from cluster.kubelet.pressure import Pressure, read_pressure
from cluster.machinery.objects import Key, Obj
from cluster.resources.builtin import NODES
from tests.unit.kubelet.node import TestNode, node


def host(directory: Path, *, available_kb: int = 1 << 20, processes: int = 100) -> Path:
    """A /proc that says so."""
    (directory / "sys" / "kernel").mkdir(parents=True)
    (directory / "meminfo").write_text(f"MemTotal: 9999999 kB\nMemFree: 1 kB\nMemAvailable: {available_kb} kB\n")
    (directory / "loadavg").write_text(f"0.1 0.2 0.3 2/{processes} 4711\n")
    (directory / "sys" / "kernel" / "pid_max").write_text("32768\n")
    return directory


@pytest.mark.parametrize(
    ("state", "pressure"),
    [
        ({}, Pressure()),
        ({"available_kb": 102_399}, Pressure(memory=True)),
        ({"available_kb": 102_400}, Pressure()),
        ({"processes": 29_492}, Pressure(pids=True)),
        ({"processes": 29_491}, Pressure()),
    ],
)
def test_a_host_is_short_below_the_thresholds(tmp_path: Path, state: dict[str, int], pressure: Pressure) -> None:
    found = read_pressure(tmp_path, proc=host(tmp_path / "proc", **state))
    assert (found.memory, found.pids) == (pressure.memory, pressure.pids)


def test_what_cannot_be_read_is_no_pressure(tmp_path: Path) -> None:
    assert read_pressure(tmp_path / "nowhere", proc=tmp_path) == Pressure()


async def test_a_node_says_what_it_is_short_of_and_when_that_began(tmp_path: Path) -> None:
    async with node(tmp_path) as machine:
        fine = await conditions(machine, 12)
        assert {kind: fine[kind]["status"] for kind in fine} == {
            "MemoryPressure": "False",
            "DiskPressure": "False",
            "PIDPressure": "False",
            "Ready": "True",
        }
        machine.host.pressed = Pressure(disk=True)
        pressed = await conditions(machine, 12)
        assert (pressed["DiskPressure"]["status"], pressed["DiskPressure"]["reason"]) == (
            "True",
            "KubeletHasDiskPressure",
        )
        assert pressed["DiskPressure"]["lastTransitionTime"] > fine["DiskPressure"]["lastTransitionTime"]
        assert pressed["MemoryPressure"] == {**pressed["MemoryPressure"], "status": "False"}
        assert pressed["MemoryPressure"]["lastTransitionTime"] == fine["MemoryPressure"]["lastTransitionTime"]
        machine.host.pressed = Pressure()
        assert (await conditions(machine, 12))["DiskPressure"]["status"] == "False"


async def conditions(machine: TestNode, after_s: int) -> dict[str, Obj]:
    for _ in range(after_s):
        await machine.step()
    seen = await machine.api.get(NODES, Key("", "n1"))
    return {condition["type"]: condition for condition in seen["status"]["conditions"]}
