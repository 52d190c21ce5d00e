"""Mounting and giving away: tmpfs for secrets and memory volumes, bind mounts for subPaths, groups for fsGroup.

The system calls and nothing else.  Needs CAP_SYS_ADMIN; `can_mount` says whether we have it.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

MS_NOSUID, MS_NODEV, MS_BIND = 2, 4, 4096
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8


class Mounter(Protocol):
    """What volumes need rights for.  Implementations: SystemMounter, for agents without rights NoMounter, and
    `cluster.simulation.mounts`.
    """

    @property
    def can_mount(self) -> bool: ...

    def tmpfs(self, target: Path, *, size_bytes: int | None, mode: int) -> None:
        """Mount an empty tmpfs; does nothing where one is mounted.  Raises OSError."""
        ...

    def bind(self, descriptor: int, target: Path) -> None:
        """Mount the open file or directory `descriptor` over the existing `target`.  Raises OSError."""
        ...

    def unmount(self, target: Path) -> None:
        """Detach what is mounted at `target`; does nothing where nothing is."""
        ...

    def give_to_group(self, path: Path, group: int) -> None:
        """Make `group` the owning group of a file or directory.  Raises OSError."""
        ...


class SystemMounter:
    """The kernel's own mount calls."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    @property
    def can_mount(self) -> bool:
        return os.geteuid() == 0

    def tmpfs(self, target: Path, *, size_bytes: int | None, mode: int) -> None:
        if target.is_mount():
            return
        options = f"mode={mode:o}" + (f",size={size_bytes}" if size_bytes else "")
        self._mount("tmpfs", str(target), "tmpfs", MS_NOSUID | MS_NODEV, options)

    def bind(self, descriptor: int, target: Path) -> None:
        self._mount(f"/proc/self/fd/{descriptor}", str(target), "", MS_BIND, "")

    def unmount(self, target: Path) -> None:
        if self._libc.umount2(os.fsencode(target), MNT_DETACH | UMOUNT_NOFOLLOW) != 0:
            error = ctypes.get_errno()
            # EINVAL: not a mount point; ENOENT: not there at all.
            if error not in (22, 2):
                raise OSError(error, os.strerror(error), str(target))

    def give_to_group(self, path: Path, group: int) -> None:
        os.chown(path, -1, group)

    def _mount(self, source: str, target: str, kind: str, flags: int, options: str) -> None:
        result = self._libc.mount(
            os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), options.encode()
        )
        if result != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), target)


class NoMounter:
    """For an agent that may not mount: secrets lie in directories only it can read, and what needs a mount is refused."""

    @property
    def can_mount(self) -> bool:
        return False

    def tmpfs(self, target: Path, *, size_bytes: int | None, mode: int) -> None:
        raise PermissionError(1, "mounting needs root", str(target))

    def bind(self, descriptor: int, target: Path) -> None:
        raise PermissionError(1, "mounting needs root", str(target))

    def unmount(self, target: Path) -> None:
        """Nothing of ours can be mounted."""

    def give_to_group(self, path: Path, group: int) -> None:
        """A group that this user belongs to can be given to; another is refused by the kernel."""
        os.chown(path, -1, group)


def mounts_below(directory: Path) -> Sequence[Path]:
    """What is mounted below `directory`, the innermost first.  Source: proc(5), mountinfo, whose names are escaped."""
    lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    points = [Path(os.fsdecode(_unescaped(line.split()[4]))) for line in lines]
    return sorted((point for point in points if directory in point.parents), reverse=True)


def _unescaped(name: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes((int(match[1], 8),)), name)
