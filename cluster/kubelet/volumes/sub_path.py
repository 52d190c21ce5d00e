"""subPath: a file or directory inside a volume, found without ever following a link that a container could swap.

The path is resolved once, then walked again from the volume's root with O_NOFOLLOW, and what was opened is bound to a place
only root can change: later swaps change nothing.  (CVE-2017-1002101, CVE-2021-25741.)  Upstream: pkg/volume/util/subpath.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from cluster.kubelet.volumes.content import VolumeError
from cluster.kubelet.volumes.mounts import Mounter


def open_inside(root: Path, sub_path: str, *, mode: int = 0o750) -> int:
    """An O_PATH descriptor of `sub_path` under `root`, closed by the caller; makes missing directories.  Raises VolumeError."""
    pure = PurePosixPath(sub_path)
    if pure.is_absolute() or ".." in pure.parts or "\0" in sub_path:
        raise VolumeError(f"subPath {sub_path!r} must be relative and must not contain '..'")
    base = Path(os.path.realpath(root))
    resolved = Path(os.path.realpath(base / pure))
    if resolved != base and base not in resolved.parents:
        raise VolumeError(f"subPath {sub_path!r} is not inside its volume")
    return open_parts(base, resolved.relative_to(base).parts, mode=mode)


def open_parts(base: Path, parts: Sequence[str], *, mode: int) -> int:
    """An O_PATH descriptor reached from `base` name by name; a link on the way is refused.  Raises VolumeError."""
    sub_path = "/".join(parts)
    descriptor = os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for place, part in enumerate(parts):
            try:
                inner = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
            except FileNotFoundError:
                os.mkdir(part, mode, dir_fd=descriptor)
                inner = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
            kind = os.fstat(descriptor).st_mode
            if stat.S_ISLNK(kind) or (place < len(parts) - 1 and not stat.S_ISDIR(kind)):
                raise VolumeError(f"subPath {sub_path!r} leads through something that is not a directory")
    except OSError as error:
        os.close(descriptor)
        raise VolumeError(f"subPath {sub_path!r}: {error.strerror}") from error
    except VolumeError:
        os.close(descriptor)
        raise
    return descriptor


def bind_sub_path(root: Path, sub_path: str, target: Path, mounter: Mounter) -> Path:
    """Bind what `sub_path` names to `target`, a place of ours; that place.  Raises VolumeError."""
    if not mounter.can_mount:
        raise VolumeError("subPath needs an agent that runs as root")
    descriptor = open_inside(root, sub_path)
    try:
        mounter.unmount(target)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            target.mkdir(exist_ok=True)
        else:
            target.touch(exist_ok=True)
        mounter.bind(descriptor, target)
    except OSError as error:
        raise VolumeError(f"subPath {sub_path!r} cannot be mounted: {error.strerror}") from error
    finally:
        os.close(descriptor)
    return target
