"""What processes cost, from /proc: processor time and proportional memory of one process and everything below it."""

from __future__ import annotations

import re
from pathlib import Path


def tree_of(pid: int) -> list[int]:
    """`pid` and its living descendants."""
    found = [pid]
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        try:
            children = (thread / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            found += tree_of(int(child))
    return found


def cpu_s(pid: int) -> float:
    """Processor seconds of the process, its living descendants and the children it has waited for.

    Threads are read by the scheduler's nanosecond account; ended children only by the kernel's 10 ms ticks.
    """
    total = 0.0
    for each in tree_of(pid):
        for thread in Path(f"/proc/{each}/task").glob("*"):
            try:
                total += int((thread / "schedstat").read_text().split()[0]) / 1e9
            except OSError:
                continue
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return total + (int(fields[13]) + int(fields[14])) / 100


def pss_mib(pid: int) -> float:
    """Proportional set size of the process and its descendants."""
    total_kib = 0
    for each in tree_of(pid):
        try:
            text = Path(f"/proc/{each}/smaps_rollup").read_text()
        except OSError:
            continue
        match = re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)
        total_kib += int(match[1]) if match else 0
    return total_kib / 1024
