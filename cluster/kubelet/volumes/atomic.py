"""Files of a volume that change all at once: readers see the old set or the new one, never a mixture.

Layout (as upstream's AtomicWriter, which programs rely on): `..2026_01_01_00_00_00.N/` holds the files, `..data` is a link
to it that is replaced by a rename, and each top-level name is a link through `..data`.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

DATA = "..data"
NEW_DATA = "..data_tmp"


@dataclass(frozen=True, slots=True)
class File:
    """One file's bytes and permission bits."""

    data: bytes
    mode: int = 0o644


def checked_path(path: str) -> PurePosixPath:
    """A relative path that stays inside its volume and cannot be mistaken for our own names.  Raises ValueError."""
    pure = PurePosixPath(path)
    if not path or "\0" in path or pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise ValueError(f"invalid path {path!r}: it must be relative and stay inside the volume")
    if pure.parts[0].startswith(".."):
        raise ValueError(f"invalid path {path!r}: it must not start with '..'")
    return pure


def write_payload(
    target: Path, payload: Mapping[str, File], *, stamp: str, give: Callable[[Path], None] | None = None
) -> bool:
    """Make `target` hold exactly `payload`; whether anything changed.  `stamp` names the new version and must be fresh.

    `give` is called with every new file, before readers see it, to set who owns it.

    Raises ValueError for a path that would leave the volume, OSError when the disk refuses.
    """
    files = {str(checked_path(path)): file for path, file in payload.items()}
    target.mkdir(mode=0o755, parents=True, exist_ok=True)
    current = target / DATA
    if current.is_symlink() and _read(current) == {path: (file.data, file.mode) for path, file in files.items()}:
        return False
    version = f"..{stamp}"
    directory = target / version
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o755)
    directory.chmod(0o755)
    for path in sorted(files):
        place = directory / path
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        place.write_bytes(files[path].data)
        place.chmod(files[path].mode)
        if give is not None:
            give(place)
    replacement = target / NEW_DATA
    replacement.unlink(missing_ok=True)
    replacement.symlink_to(version)
    replacement.replace(current)
    _link_names(target, {PurePosixPath(path).parts[0] for path in files})
    for entry in sorted(target.iterdir()):
        if entry.name.startswith("..") and entry.name not in (DATA, version):
            shutil.rmtree(entry, ignore_errors=True)
    return True


def _link_names(target: Path, names: set[str]) -> None:
    for name in sorted(names):
        link = target / name
        if not link.is_symlink():
            link.symlink_to(f"{DATA}/{name}")
    for entry in sorted(target.iterdir()):
        if not entry.name.startswith("..") and entry.name not in names and entry.is_symlink():
            entry.unlink()


def _read(directory: Path) -> dict[str, tuple[bytes, int]]:
    found: dict[str, tuple[bytes, int]] = {}
    for parent, _, names in os.walk(directory.resolve()):
        for name in names:
            path = Path(parent, name)
            found[str(path.relative_to(directory.resolve()))] = (path.read_bytes(), stat.S_IMODE(path.lstat().st_mode))
    return found
