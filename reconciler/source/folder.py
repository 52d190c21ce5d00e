"""A plain folder as a source: its content is its revision.  Links are never followed, not even by a race.

Every directory is opened relative to its parent's descriptor with O_NOFOLLOW, so that replacing one by a link leads
nowhere.  Contents are hashed when a file's status changed and read again, and checked, when they are asked for.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from reconciler.content import BLOB_MAX_BYTES, FILES_MAX, File, TooLarge, Tree
from reconciler.errors import Fault, source_error
from reconciler.model import Revision

DEPTH_MAX = 64

_TEMPORARY = re.compile(
    r"""\.                                             # hidden: .git, .a.yaml.swp of vim, .#a.yaml of emacs
    | .*(?:~|\.sw[a-p]|\.tmp|\.bak|\.orig|\.part)\Z   # backups and files that are moved into place
    | \#.*\#\Z                                       # emacs saves unasked
    | 4913\Z                                         # vim tries whether it may write
    | sed[A-Za-z0-9]{6}\Z                            # sed -i
    | .*___jb_(?:tmp|old)___\Z""",
    re.VERBOSE,
)
"""No content of the folder: were they, saving one file would be several revisions."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class _Seen(NamedTuple):
    """A file's status; equal status is taken to mean equal content."""

    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class Folder:
    """`directory` is already checked to be allowed.  Hidden entries and what editors write on the way are ignored."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._hashes: dict[str, tuple[_Seen, str]] = {}
        self._files: tuple[File, ...] = ()
        self._skipped: tuple[str, ...] = ()
        self._paths: dict[str, str] = {}
        self._tree = ""

    async def head(self) -> Revision:
        files: list[File] = []
        skipped: list[str] = []
        hashes: dict[str, tuple[_Seen, str]] = {}
        for path, seen, parent in self._walk():
            if seen is None:
                skipped.append(path)
                continue
            known = self._hashes.get(path)
            blob = known[1] if known and known[0] == seen else _hash(parent, path)
            hashes[path] = (seen, blob)
            files.append(File(path, blob))
            if len(files) > FILES_MAX:
                raise source_error(f"more than {FILES_MAX} files", fault=Fault.REPOSITORY)
        self._hashes = hashes
        self._files, self._skipped = tuple(sorted(files)), tuple(sorted(skipped))
        self._paths = {file.blob: file.path for file in self._files}
        self._tree = _digest(self._files)
        return Revision(id=f"sha256:{self._tree}", tree=self._tree, subject=f"content of {self._directory.name}")

    async def tree(self, revision: Revision, path: str) -> Tree:
        """Only the newest revision can be read: a folder keeps no history."""
        if revision.tree != self._tree:
            raise source_error("the folder has changed since this revision was read", retryable=True)
        files = tuple(file for file in self._files if not path or file.path == path or file.path.startswith(f"{path}/"))
        if path and not files and not (self._directory / path).is_dir():
            raise source_error(f"the folder has no path {path!r}", fault=Fault.REPOSITORY)
        skipped = tuple(name for name in self._skipped if not path or name.startswith(f"{path}/"))
        return Tree(_digest(files), files, skipped)

    async def read(self, blobs: Sequence[str]) -> Mapping[str, bytes | TooLarge]:
        found: dict[str, bytes | TooLarge] = {}
        for blob in blobs:
            path = self._paths.get(blob)
            if path is None:
                raise source_error("the folder has changed since this revision was read", retryable=True)
            data = self._content(path)
            if not isinstance(data, TooLarge) and hashlib.sha256(data).hexdigest() != blob:
                raise source_error(f"{path} is being written", retryable=True)
            found[blob] = data
        return found

    async def follows(self, revision: Revision, earlier: str) -> bool:
        return True

    def fingerprint(self) -> str:
        statuses = sorted((path, seen) for path, seen, _ in self._walk() if seen is not None)
        return hashlib.sha256(repr(statuses).encode()).hexdigest()

    def watched(self) -> Sequence[Path]:
        return (self._directory,)

    async def close(self) -> None:
        return None

    def _content(self, path: str) -> bytes | TooLarge:
        try:
            descriptor = os.open(self._directory, _DIRECTORY)
        except OSError as error:
            raise source_error(f"the folder cannot be read: {error.strerror}", retryable=True) from error
        try:
            *parents, name = path.split("/")
            for parent in parents:
                below = os.open(parent, _DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            return _read(descriptor, name)
        except OSError as error:
            raise source_error(f"{path} cannot be read: {error.strerror}", retryable=True) from error
        finally:
            os.close(descriptor)

    def _walk(self) -> Iterator[tuple[str, _Seen | None, int]]:
        """Each path with its status (None: neither file nor directory) and its directory's descriptor."""
        try:
            root = os.open(self._directory, _DIRECTORY)
        except OSError as error:
            raise source_error(f"the folder cannot be read: {error.strerror}", retryable=True) from error
        try:
            yield from _below(root, "", depth=0)
        finally:
            os.close(root)


def _below(descriptor: int, prefix: str, *, depth: int) -> Iterator[tuple[str, _Seen | None, int]]:
    if depth > DEPTH_MAX:
        raise source_error(f"directories are nested deeper than {DEPTH_MAX}", fault=Fault.REPOSITORY)
    with os.scandir(descriptor) as entries:
        names = sorted(entry.name for entry in entries if not _TEMPORARY.match(entry.name))
    for name in names:
        try:
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                below = os.open(name, _DIRECTORY, dir_fd=descriptor)
                try:
                    yield from _below(below, f"{prefix}{name}/", depth=depth + 1)
                finally:
                    os.close(below)
            elif stat.S_ISREG(status.st_mode):
                seen = _Seen(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
                yield prefix + name, seen, descriptor
            else:
                yield prefix + name, None, descriptor
        except (FileNotFoundError, NotADirectoryError):
            continue  # gone between listing and looking: the next event tells


def _hash(descriptor: int, path: str) -> str:
    """The content's SHA-256; of an over-large file, of its size and name only, as it is refused when read."""
    try:
        data = _read(descriptor, path.rsplit("/", 1)[-1])
    except OSError as error:
        raise source_error(f"{path} cannot be read: {error.strerror}", retryable=True) from error
    return hashlib.sha256(data if isinstance(data, bytes) else f"{path}\0{data.size_bytes}".encode()).hexdigest()


def _read(descriptor: int, name: str) -> bytes | TooLarge:
    with open(os.open(name, _FILE, dir_fd=descriptor), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "not a regular file")
        data = file.read(BLOB_MAX_BYTES + 1)
        return data if len(data) <= BLOB_MAX_BYTES else TooLarge(status.st_size)


def _digest(files: Sequence[File]) -> str:
    whole = hashlib.sha256()
    for path, blob in files:
        whole.update(f"{path}\0{blob}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()
