"""Logs in files of a bounded size: where no journald keeps them.

Each keeps itself and one older generation, `NAME.1`.  A disk that is full costs records, never the work.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

GENERATION_MAX_BYTES: Final = 8 << 20


def older(path: Path) -> Path:
    """The generation before the one at `path`."""
    return path.with_name(path.name + ".1")


class LogFile:
    """Lines appended to `path`.  Readers follow a file by its inode: a full one is renamed, never changed."""

    def __init__(self, path: Path, *, size_max_bytes: int = GENERATION_MAX_BYTES) -> None:
        self._path = path
        self._size_max_bytes = size_max_bytes
        self._descriptor = -1
        self._size_bytes = 0

    def write(self, line: bytes) -> None:
        """Append one line, given with its line break; what the disk does not take is dropped."""
        with contextlib.suppress(OSError):
            if self._descriptor >= 0 and self._size_bytes + len(line) > self._size_max_bytes:
                self.close()
                self._path.replace(older(self._path))
            if self._descriptor < 0:
                self._open()
            self._size_bytes += os.write(self._descriptor, line)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        size_bytes = os.fstat(descriptor).st_size
        if size_bytes and os.pread(descriptor, 1, size_bytes - 1) != b"\n":
            size_bytes += os.write(descriptor, b"\n")  # a crash left half a line
        self._descriptor, self._size_bytes = descriptor, size_bytes


def begin_anew_when_full(path: Path, *, streams: tuple[int, ...] = (1, 2)) -> None:
    """When this process's output goes to the file `path` and that is full, let it go to a new one.

    Whoever started the process opened the file; both ends keep their descriptors' numbers.  Raises nothing.
    """
    with contextlib.suppress(OSError):
        status = path.stat()
        if status.st_size <= GENERATION_MAX_BYTES:
            return
        ours = [stream for stream in streams if os.path.samestat(os.fstat(stream), status)]
        if not ours:
            return
        path.replace(older(path))
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        for stream in ours:
            os.dup2(descriptor, stream)
        os.close(descriptor)
