"""The files a build may read: those of one revision, by path, below a root that nothing leads out of."""

from __future__ import annotations

import posixpath

from reconciler.content import Source, TooLarge, Tree
from reconciler.model import Origin
from reconciler.render.kustomize.resource import BuildError

NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
READ_MAX_BYTES = 32 * 1024 * 1024
"""Bytes one build may read."""


class BuildTree:
    def __init__(self, source: Source, tree: Tree) -> None:
        self._source = source
        self._blobs = {file.path: file.blob for file in tree.files}
        self._directories = {""}
        for path in self._blobs:
            while path := posixpath.dirname(path):
                if path in self._directories:
                    break
                self._directories.add(path)
        self._skipped = frozenset(tree.skipped)
        self._left_bytes = READ_MAX_BYTES

    def resolve(self, directory: str, entry: str, origin: Origin) -> str:
        """The path from the root that `entry` means when it is written in `directory`.  Raises BuildError."""
        path = posixpath.normpath(posixpath.join(directory, entry))
        if not entry or entry.startswith("/") or path == ".." or path.startswith("../"):
            raise BuildError(f"{entry[:256]!r} leads out of the repository", origin)
        path = "" if path == "." else path
        if path in self._skipped or any(path.startswith(f"{link}/") for link in self._skipped):
            raise BuildError(f"{entry[:256]!r} is a symbolic link or a submodule, which are not followed", origin)
        if path not in self._blobs and path not in self._directories:
            raise BuildError(f"{entry[:256]!r} is not in the repository (remote bases are not fetched)", origin)
        return path

    def is_file(self, path: str) -> bool:
        return path in self._blobs

    def kustomization_of(self, directory: str) -> str:
        """The one kustomization file of a directory; empty without one.  Raises BuildError for several."""
        found = [path for name in NAMES if (path := posixpath.join(directory, name)) in self._blobs]
        if len(found) > 1:
            raise BuildError("the directory has several kustomization files", Origin(found[1], 0))
        return found[0] if found else ""

    async def read(self, directory: str, entry: str, origin: Origin) -> bytes:
        """A file at or below `directory`, as upstream restricts it.  Raises BuildError, StageError."""
        path = self.resolve(directory, entry, origin)
        if path not in self._blobs:
            raise BuildError(f"{entry[:256]!r} is a directory, a file is needed", origin)
        if directory and not path.startswith(f"{directory}/"):
            raise BuildError(f"{entry[:256]!r} is not in or below the directory of the kustomization", origin)
        data = (await self._source.read([self._blobs[path]]))[self._blobs[path]]
        if isinstance(data, TooLarge):
            raise BuildError(f"{entry[:256]!r} has {data.size_bytes} bytes, too many", origin)
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise BuildError(f"more than {READ_MAX_BYTES} bytes are read", origin)
        return data
