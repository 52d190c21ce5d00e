"""A Git repository in memory: commits, reverts, and the `Source` that the daemon reads."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.base.clock import Clock
from cluster.machinery.objects import Key, Obj
from cluster.machinery.timestamps import format_time
from reconciler.content import File, TooLarge, Tree
from reconciler.daemon.opening import Opened
from reconciler.errors import Fault, source_error
from reconciler.model import Revision


@dataclass(frozen=True, slots=True)
class Commit:
    revision: Revision
    files: Mapping[str, bytes]
    parent: str


class Repository:
    """One branch.  `reachable` False: nobody can read it, as when its server is away."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._commits: dict[str, Commit] = {}
        self._head = ""
        self._blobs: dict[str, bytes] = {}
        self.reachable = True

    def commit(self, files: Mapping[str, str], subject: str = "change") -> str:
        """Make `files` the whole content; returns the commit's id."""
        content = {path: text.encode() for path, text in sorted(files.items())}
        tree = _hex(*(part for path, data in content.items() for part in (path.encode(), data)))
        identity = _hex(self._head.encode(), tree.encode(), str(len(self._commits)).encode())[:40]
        revision = Revision(identity, tree, "Ada", subject, format_time(self._clock.now()))
        self._commits[identity] = Commit(revision, content, self._head)
        self._blobs |= {_hex(data): data for data in content.values()}
        self._head = identity
        return identity

    def revert(self) -> str:
        """A new commit with the content before the newest."""
        newest = self._commits[self._head]
        before = self._commits[newest.parent].files
        return self.commit(
            {path: data.decode() for path, data in before.items()}, f'Revert "{newest.revision.subject}"'
        )

    # SourceOpener

    async def open(self, key: Key, repository: Obj) -> Opened:
        return Opened(self)

    # Source

    async def head(self) -> Revision:
        self._check()
        if not self._head:
            raise source_error("the repository has no commits", fault=Fault.REPOSITORY, retryable=True)
        return self._commits[self._head].revision

    async def tree(self, revision: Revision, path: str) -> Tree:
        self._check()
        files = self._commits[revision.id].files
        below = tuple(File(name, _hex(data)) for name, data in files.items() if not path or name.startswith(f"{path}/"))
        return Tree(_hex(*(part.encode() for file in below for part in file)), below)

    async def read(self, blobs: Sequence[str]) -> Mapping[str, bytes | TooLarge]:
        self._check()
        return {blob: self._blobs[blob] for blob in blobs}

    async def follows(self, revision: Revision, earlier: str) -> bool:
        at = revision.id
        while at:
            if at == earlier:
                return True
            at = self._commits[at].parent
        return False

    def fingerprint(self) -> str:
        self._check()
        return self._head

    def watched(self) -> Sequence[Path]:
        return ()

    async def close(self) -> None:
        """The next process opens it again."""

    def _check(self) -> None:
        if not self.reachable:
            raise source_error("the repository's server does not answer", fault=Fault.NETWORK, retryable=True)


def _hex(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
