"""Rows as aligned text, the way kubectl prints them.  Control characters from a repository never reach the terminal."""

from __future__ import annotations

from collections.abc import Sequence

GAP = "   "
CELL_MAX_CHARS = 60


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, cell_max: int = CELL_MAX_CHARS) -> str:
    cells = [list(header), *([clean(cell, cell_max) for cell in row] for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(header))]
    return "\n".join(
        GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def clean(text: str, size_max: int = 2000) -> str:
    """One printable line, cut with an ellipsis."""
    line = "".join(character if character.isprintable() else " " for character in text)
    return line if len(line) <= size_max else f"{line[: size_max - 1]}…"
