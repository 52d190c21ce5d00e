"""The checkout as the tidy tests see it: which files are the project's, and their text."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def committed() -> tuple[Path, ...]:
    """Every file of the project, without what Git ignores; relative to ROOT, sorted."""
    found = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        capture_output=True,
        check=True,
    )
    names = sorted(set(found.stdout.decode().split("\0")) - {""})
    return tuple(Path(name) for name in names if (ROOT / name).is_file())


def sources() -> tuple[Path, ...]:
    """The modules that are shipped."""
    return tuple(path for path in committed() if path.suffix == ".py" and path.parts[0] in ("cluster", "reconciler"))


def text_of(path: Path | str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def is_text(path: Path) -> bool:
    return b"\0" not in (ROOT / path).read_bytes()[:8192] and path.suffix != ".z"


def table_rows(document: str, heading: str) -> dict[str, tuple[str, ...]]:
    """The first table below `heading` of a page of docs: first cell, without its code marks, to the other cells."""
    _, found, rest = text_of(document).partition(f"{heading}\n")
    assert found, f"{document} has no heading {heading!r}"
    rows: dict[str, tuple[str, ...]] = {}
    lines = rest.partition("\n#")[0].splitlines()
    start = next((number for number, line in enumerate(lines) if line.startswith("|")), len(lines))
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        first, *others = (cell.strip() for cell in line.strip("|").split("|"))
        rows[first.strip("`")] = tuple(others)
    return rows
