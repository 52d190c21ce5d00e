"""Counters of a process's control group, or of the whole host, from the kernel's own files: a few reads, no engine asked.

Version 1 and 2 of control groups.  Upstream: cadvisor's working set, which is usage without the file cache nobody used lately.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HOST = 0
"""In place of a process: everything on this machine."""
_TICK_NS = 10_000_000
"""/proc/stat counts hundredths of a second on every Linux there is (USER_HZ)."""
_BUSY = (0, 1, 2, 5, 6, 7)
"""user, nice, system, irq, softirq, steal: the columns of /proc/stat that are work."""


@dataclass(frozen=True, slots=True)
class Counters:
    """`cpu_ns` only grows while its group lives."""

    cpu_ns: int
    memory_bytes: int


def read_usage(pid: int, *, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> Counters | None:
    """Of the group that the process is in, or of the host for HOST; None when it cannot be read: it has ended."""
    try:
        if pid == HOST:
            return _host(proc)
        groups = _groups_of((proc / str(pid) / "cgroup").read_text())
        if "cpuacct" in groups and "memory" in groups:
            return _version_1(cgroups / "cpuacct" / groups["cpuacct"], cgroups / "memory" / groups["memory"])
        return _version_2(cgroups / groups[""])
    except (OSError, ValueError, KeyError, IndexError):
        return None


def _groups_of(text: str) -> dict[str, str]:
    """The path of each controller's group, relative to its mount; the unified hierarchy's under the empty name."""
    groups: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            groups[controller] = path.lstrip("/")
    return groups


def _version_1(cpu: Path, memory: Path) -> Counters:
    usage = int((memory / "memory.usage_in_bytes").read_text())
    inactive = _fields(memory / "memory.stat")["total_inactive_file"]
    return Counters(int((cpu / "cpuacct.usage").read_text()), max(0, usage - inactive))


def _version_2(group: Path) -> Counters:
    usage = int((group / "memory.current").read_text())
    inactive = _fields(group / "memory.stat")["inactive_file"]
    return Counters(_fields(group / "cpu.stat")["usage_usec"] * 1000, max(0, usage - inactive))


def _host(proc: Path) -> Counters:
    ticks = (proc / "stat").read_text().split("\n", 1)[0].split()[1:]
    amounts = {name.rstrip(":"): int(value) * 1024 for name, value in _pairs(proc / "meminfo")}
    used = amounts["MemTotal"] - amounts["MemFree"] - amounts["Inactive(file)"]
    return Counters(sum(int(ticks[column]) for column in _BUSY) * _TICK_NS, max(0, used))


def _fields(path: Path) -> dict[str, int]:
    return {name: int(value) for name, value in _pairs(path)}


def _pairs(path: Path) -> list[tuple[str, str]]:
    return [(words[0], words[1]) for line in path.read_text().splitlines() if len(words := line.split()) >= 2]
