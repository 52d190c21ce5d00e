"""A commit that takes one path of a repository back to an earlier commit's content and leaves everything else as it is.

Made from trees alone: no index, no work tree, no hook and no filter takes part.  Publishing it is the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from reconciler.errors import Fault, source_error
from reconciler.model import Revision
from reconciler.source.command import Git

REVERT_TRAILER = "Reconciler-Revert"
"""The commit that a returning commit takes back."""

GOOD_TRAILER = "Reconciler-Good"
APPLICATION_TRAILER = "Reconciler-Application"


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    email: str


@dataclass(frozen=True, slots=True)
class GoingBack:
    """From the content of `head` to that of `good`, both full commit ids, below `path` (empty: everything)."""

    head: str
    good: str
    path: str
    message: str
    author: Person


@runtime_checkable
class Reversible(Protocol):
    """A source that keeps earlier revisions and takes new commits.  Every method raises StageError."""

    async def at(self, commit_id: str) -> Revision: ...

    async def follows(self, revision: Revision, earlier: str) -> bool: ...

    async def merges_between(self, good: str, head: str) -> int: ...

    async def go_back(self, wanted: GoingBack) -> str:
        """Make the commit and publish it on the branch that is followed; its id."""
        ...


class _Entry(NamedTuple):
    mode: str
    kind: str
    id: str
    name: str

    @property
    def line(self) -> str:
        return f"{self.mode} {self.kind} {self.id}\t{self.name}\0"


async def returning_commit(git: Git, git_dir: Path, wanted: GoingBack) -> str:
    """Make the commit, whose parent is `head`; its id.  Raises StageError, also when there is nothing to take back."""
    parts = [part for part in wanted.path.split("/") if part]
    before = await _tree_of(git, git_dir, wanted.head)
    after = await _tree_of(git, git_dir, wanted.good)
    if parts:
        earlier = await _entry_at(git, git_dir, after, parts)
        after = await _replaced(git, git_dir, before, parts, earlier)
    if after == before:
        where = wanted.path or "the repository"
        raise source_error(f"{where} is already as it was at {wanted.good[:8]}", fault=Fault.REPOSITORY)
    identity = {
        f"GIT_{role}_{field}": value
        for role in ("AUTHOR", "COMMITTER")
        for field, value in (("NAME", wanted.author.name), ("EMAIL", wanted.author.email))
    }
    _, output = await git.run(
        *("commit-tree", after, "-p", wanted.head, "-F", "-"),
        git_dir=git_dir,
        stdin=wanted.message.encode(),
        extra=identity,
    )
    return output.decode().strip()


async def merges_between(git: Git, git_dir: Path, good: str, head: str) -> int:
    """How many merges would be taken back with what is between the two."""
    _, output = await git.run("rev-list", "--count", "--merges", f"{good}..{head}", "--", git_dir=git_dir)
    return int(output)


def message_of(subject: str, body: Sequence[str], trailers: Sequence[tuple[str, str]]) -> str:
    """A commit message; control characters, which may come from anywhere, become spaces."""
    lines = [subject, "", *body, "", *(f"{name}: {value}" for name, value in trailers)]
    return "\n".join("".join(char if char.isprintable() else " " for char in line) for line in lines) + "\n"


async def _tree_of(git: Git, git_dir: Path, commit: str) -> str:
    _, output = await git.run("rev-parse", "--verify", "--end-of-options", f"{commit}^{{tree}}", git_dir=git_dir)
    return output.decode().strip()


async def _entries(git: Git, git_dir: Path, tree: str) -> list[_Entry]:
    _, output = await git.run("ls-tree", "-z", tree, git_dir=git_dir)
    found: list[_Entry] = []
    for line in output.decode("utf-8", "surrogateescape").split("\0"):
        if line:
            head, _, name = line.partition("\t")
            mode, kind, object_id = head.split(" ")
            found.append(_Entry(mode, kind, object_id, name))
    return found


async def _entry_at(git: Git, git_dir: Path, tree: str, parts: Sequence[str]) -> _Entry | None:
    """What a path is in a tree; None when it is nothing."""
    for depth, part in enumerate(parts, 1):
        found = next((entry for entry in await _entries(git, git_dir, tree) if entry.name == part), None)
        if found is None or depth == len(parts):
            return found
        if found.kind != "tree":
            return None
        tree = found.id
    return None


async def _replaced(git: Git, git_dir: Path, tree: str, parts: Sequence[str], earlier: _Entry | None) -> str:
    """The id of `tree` with `earlier` (None: nothing) in place of what is at the path."""
    entries = await _entries(git, git_dir, tree) if tree else []
    name = parts[0]
    new = earlier
    if len(parts) > 1:
        below = next((entry.id for entry in entries if entry.name == name and entry.kind == "tree"), "")
        if not below and earlier is None:
            return tree
        new = _Entry("040000", "tree", await _replaced(git, git_dir, below, parts[1:], earlier), name)
    lines = [entry.line for entry in entries if entry.name != name] + ([new.line] if new is not None else [])
    listing = "".join(lines).encode("utf-8", "surrogateescape")
    _, output = await git.run("mktree", "-z", git_dir=git_dir, stdin=listing)
    return output.decode().strip()
