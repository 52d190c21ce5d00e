"""Outputs that must not change unnoticed.

A golden file that is missing is written by its test, which then fails: look at the file, and commit it.
"""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent


def matches(name: str, text: str) -> bool:
    """Whether `text` is what the file `name` here holds."""
    path = _HERE / name
    if not path.exists():
        path.write_text(text)
        return False
    return path.read_text() == text
