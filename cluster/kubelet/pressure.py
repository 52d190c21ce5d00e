"""Whether the host runs short of memory, disk or process ids, by upstream's default eviction thresholds."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

MEMORY_MIN_BYTES = 100 << 20
DISK_MIN_SHARE = 0.10
PIDS_MAX_SHARE = 0.90


@dataclass(frozen=True, slots=True)
class Pressure:
    memory: bool = False
    disk: bool = False
    pids: bool = False


def read_pressure(root: Path, *, proc: Path = Path("/proc")) -> Pressure:
    """The host's state now; what cannot be read counts as no pressure."""
    return Pressure(_memory(proc), _disk(root), _pids(proc))


def _memory(proc: Path) -> bool:
    try:
        lines = (proc / "meminfo").read_text().splitlines()
    except OSError:
        return False
    available = next((int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)
    return available is not None and available * 1024 < MEMORY_MIN_BYTES


def _disk(root: Path) -> bool:
    try:
        state = os.statvfs(root)
    except OSError:
        return False
    return state.f_blocks > 0 and state.f_bavail / state.f_blocks < DISK_MIN_SHARE


def _pids(proc: Path) -> bool:
    try:
        used = int((proc / "loadavg").read_text().split()[3].partition("/")[2])
        limit = int((proc / "sys/kernel/pid_max").read_text())
    except (OSError, ValueError, IndexError):
        return False
    return used > limit * PIDS_MAX_SHARE
