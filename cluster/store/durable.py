"""Files that are on disk when a function returns: what every engine's snapshot ends with."""

from __future__ import annotations

import os
from pathlib import Path


def replace_durably(partial: Path, path: Path) -> None:
    """Give the finished file `partial` the name `path`: file and folder are on disk before it returns."""
    sync(partial)
    partial.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until the file's content, or the folder's entries, are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
