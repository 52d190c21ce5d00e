"""What a source is to the rest: revisions, and files by content id.  Git and folders look the same from here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from reconciler.model import Revision

BLOB_MAX_BYTES = 4 * 1024 * 1024
"""A larger file is a problem of that file: no object of a Kubernetes API may be nearly as large."""

FILES_MAX = 50_000
"""Files of one path; more is refused."""


class File(NamedTuple):
    """A regular file: its path from the source's root, with slashes, and the id of its content."""

    path: str
    blob: str


@dataclass(frozen=True, slots=True)
class Tree:
    """The files below a path, sorted.  `digest` is equal exactly when names and contents are.

    `skipped` are entries that are neither files nor directories (symbolic links, submodules): never followed.
    """

    digest: str
    files: Sequence[File]
    skipped: Sequence[str] = ()


class TooLarge(NamedTuple):
    """In place of a content beyond BLOB_MAX_BYTES."""

    size_bytes: int


class Source(Protocol):
    """Every method raises StageError with stage `source`."""

    async def head(self) -> Revision:
        """The newest revision; a remote is asked and fetched."""
        ...

    async def tree(self, revision: Revision, path: str) -> Tree:
        """The files at `path` (empty: everything); a path to a file is that file alone."""
        ...

    async def read(self, blobs: Sequence[str]) -> Mapping[str, bytes | TooLarge]:
        """Contents by id.  The caller asks for bounded batches."""
        ...

    async def follows(self, revision: Revision, earlier: str) -> bool:
        """Does `revision` descend from the revision with the id `earlier` (or is it)?  A folder always says yes."""
        ...

    def fingerprint(self) -> str:
        """Changes when `head` may have; costs a few file status calls, starts no process.  A remote's never changes."""
        ...

    def watched(self) -> Sequence[Path]:
        """Directories whose events announce a change; none for a remote."""
        ...

    async def close(self) -> None: ...
