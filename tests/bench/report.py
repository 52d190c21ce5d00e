"""A benchmark's table: what was measured, what it is compared with, the ratio, and the target."""

from __future__ import annotations

import platform
import sys
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """`peer` is the same unit measured in the same run; without one, `target` is an absolute budget in that unit."""

    what: str
    value: float
    unit: str
    target: float
    peer: float | None = None

    @property
    def reached(self) -> bool:
        return (self.value if self.peer is None else self.value / self.peer) <= self.target

    def cells(self) -> tuple[str, ...]:
        against = "" if self.peer is None else f"{self.peer:.4g} {self.unit}"
        ratio = self.value / (self.target if self.peer is None else self.peer)
        target = f"<= {self.target:g} {self.unit if self.peer is None else 'x peer'}"
        verdict = "ok" if self.reached else "MISSED"
        return (self.what, f"{self.value:.4g} {self.unit}", against, f"{ratio:.2f}", target, verdict)


def print_table(rows: list[Row]) -> None:
    """The ratio is to the peer where there is one, else to the budget."""
    print(f"{time.strftime('%Y-%m-%d')}  python -m {module_name()}  Python {platform.python_version()}")
    lines = [("what", "measured", "peer", "ratio", "target", ""), *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def module_name() -> str:
    """The benchmark that runs, as it was started."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec is not None else "?"
