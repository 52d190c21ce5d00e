"""Git as a source: a local repository read in place, or a bare mirror of a remote."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.content import TooLarge, Tree
from reconciler.errors import Fault, StageError, source_error
from reconciler.model import Revision
from reconciler.source import refs
from reconciler.source.address import checked_ref
from reconciler.source.command import CredentialsOf, Git
from reconciler.source.going_back import GoingBack, merges_between, returning_commit
from reconciler.source.objects import ObjectReader
from reconciler.source.peek import Peek


@dataclass(frozen=True, slots=True)
class GitRef:
    """Which revision: at most one is set; none is the repository's HEAD.  Values are checked (`address`)."""

    branch: str = ""
    tag: str = ""
    commit: str = ""

    @property
    def full_name(self) -> str:
        if self.branch:
            return f"refs/heads/{self.branch}"
        return f"refs/tags/{self.tag}" if self.tag else "HEAD"


class _Repository:
    """What both have in common once the objects are on this host."""

    def __init__(self, git: Git, git_dir: Path) -> None:
        self._git = git
        self._git_dir = git_dir
        self._reader = ObjectReader(git, git_dir)

    async def tree(self, revision: Revision, path: str) -> Tree:
        return await self._reader.tree(revision.tree, path)

    async def read(self, blobs: Sequence[str]) -> Mapping[str, bytes | TooLarge]:
        return await self._reader.read(blobs)

    async def follows(self, revision: Revision, earlier: str) -> bool:
        """False also when `earlier` is unknown here, as after a rewritten and pruned history."""
        # Nearly always the next commit: its parents are read without a process.
        if revision.id == earlier or earlier in await self._reader.parents(revision.id):
            return True
        code, _ = await self._git.run(
            "merge-base", "--is-ancestor", earlier, revision.id, git_dir=self._git_dir, accept=(0, 1, 128)
        )
        return code == 0

    async def at(self, commit_id: str) -> Revision:
        """A revision by its full id.  Raises StageError when it is not here."""
        return await self._reader.commit(commit_id)

    async def merges_between(self, good: str, head: str) -> int:
        return await merges_between(self._git, self._git_dir, good, head)

    async def close(self) -> None:
        await self._reader.close()


class LocalRepository(_Repository):
    """A repository on this host, `directory` already checked to be allowed.  Only `go_back` writes to it."""

    def __init__(self, git: Git, directory: Path, ref: GitRef) -> None:
        self._directory = directory
        self._layout = refs.layout_of(directory)
        self._ref = ref
        super().__init__(git, self._layout.common_dir)

    async def head(self) -> Revision:
        commit = self._ref.commit or refs.resolve(self._layout, self._ref.full_name)
        if not commit:
            raise source_error(
                f"the repository has no {self._ref.full_name} yet", fault=Fault.REPOSITORY, retryable=True
            )
        return await self._reader.commit(commit)

    async def go_back(self, wanted: GoingBack) -> str:
        """Make the returning commit and move the branch to it, the files of its work tree too.  Raises StageError.

        A work tree of somebody else is not touched: its configuration may name programs that would run as us.
        """
        branch = await self._branch()
        work_tree = self._directory if self._layout.git_dir != self._directory else None
        checked_out = work_tree is not None and refs.target_of(self._layout, "HEAD") == branch
        if checked_out and self._directory.stat().st_uid != os.geteuid():
            raise source_error(f"the work tree {self._directory} belongs to somebody else, so it is not changed")
        commit = await returning_commit(self._git, self._git_dir, wanted)
        if checked_out:
            await self._git.run(
                *(f"--work-tree={work_tree}", "merge", "--quiet", "--ff-only", commit), git_dir=self._layout.git_dir
            )
        else:
            await self._git.run("update-ref", "--", branch, commit, wanted.head, git_dir=self._git_dir)
        return commit

    async def _branch(self) -> str:
        name = self._ref.full_name
        branch = refs.target_of(self._layout, name) if name == "HEAD" else name
        if self._ref.commit or not branch.startswith("refs/heads/"):
            raise source_error("the repository is not followed at a branch: no commit can be added")
        return branch

    def fingerprint(self) -> str:
        return self._ref.commit or refs.fingerprint_of(self._layout, self._ref.full_name)

    def watched(self) -> Sequence[Path]:
        """HEAD and packed-refs lie directly in these directories, branches below refs/heads."""
        common = self._layout.common_dir
        return tuple(dict.fromkeys((self._layout.git_dir, common, common / "refs" / "heads", common / "refs" / "tags")))


_ADVERTISED = re.compile(r"([0-9a-f]{40}(?:[0-9a-f]{24})?)\t(\S+)\Z")


class RemoteRepository(_Repository):
    """A bare mirror below `cache`, named by the address; asked with ls-remote before anything is fetched."""

    def __init__(
        self, git: Git, url: str, ref: GitRef, *, cache: Path, credentials: CredentialsOf, timeout_s: float
    ) -> None:
        self._url = url
        self._ref = ref
        self._credentials = credentials
        self._timeout_s = timeout_s
        mirror = cache / f"{hashlib.sha256(url.encode()).hexdigest()[:24]}.git"
        self._peek = Peek(url, timeout_s=timeout_s)
        self._newest: Revision | None = None
        super().__init__(git, mirror)

    async def head(self) -> Revision:
        newest = self._newest
        if newest is not None and newest.id == (self._ref.commit or await self._peeked()):
            return newest
        self._newest = await self._fetched()
        return self._newest

    async def read(self, blobs: Sequence[str]) -> Mapping[str, bytes | TooLarge]:
        try:
            return await super().read(blobs)
        except StageError:
            self._newest = None  # the mirror may be damaged: the next look is a whole one
            raise

    async def close(self) -> None:
        await self._peek.close()
        await super().close()

    async def go_back(self, wanted: GoingBack) -> str:
        """Make the returning commit and push it; a remote that has moved on meanwhile refuses.  Raises StageError."""
        if self._ref.commit or self._ref.tag:
            raise source_error("the repository is not followed at a branch: no commit can be added")
        branch = self._ref.full_name if self._ref.branch else await self._default_branch()
        commit = await returning_commit(self._git, self._git_dir, wanted)
        await self._network("push", "--quiet", "--", self._url, f"{commit}:{branch}", git_dir=self._git_dir)
        return commit

    async def _default_branch(self) -> str:
        _, output = await self._network("ls-remote", "--symref", "--", self._url, "HEAD")
        for line in output.decode("utf-8", "replace").splitlines():
            if line.startswith("ref: refs/heads/") and line.endswith("\tHEAD"):
                return f"refs/heads/{checked_ref(line.removeprefix('ref: refs/heads/').removesuffix(chr(9) + 'HEAD'))}"
        raise source_error("the remote does not say which branch its HEAD is: name one in spec.ref.branch")

    async def _peeked(self) -> str:
        return await self._peek.commit(self._ref.full_name, await self._credentials())

    async def _fetched(self) -> Revision:
        commit = self._ref.commit or await self._advertised()
        await self._initialise()
        if not await self._has(commit):
            try:
                await self._fetch(commit)
            except StageError:
                if await self._is_sound():
                    raise
                # A damaged mirror is only a cache: a fresh one takes its place.
                await self._reader.close()
                shutil.rmtree(self._git_dir)
                await self._initialise()
                await self._fetch(commit)
        return await self._reader.commit(commit)

    def fingerprint(self) -> str:
        return ""

    def watched(self) -> Sequence[Path]:
        return ()

    async def _advertised(self) -> str:
        """What the remote's ref points to; an annotated tag's commit, not the tag."""
        name = self._ref.full_name
        _, output = await self._network("ls-remote", "--quiet", "--", self._url, name, f"{name}^{{}}")
        found: dict[str, str] = {}
        for line in output.decode("utf-8", "replace").splitlines():
            if match := _ADVERTISED.match(line):
                found[match[2]] = match[1]
        commit = found.get(f"{name}^{{}}") or found.get(name)
        if not commit:
            raise source_error(f"the remote has no {name}", fault=Fault.REPOSITORY, retryable=True)
        return commit

    async def _initialise(self) -> None:
        if not (self._git_dir / "HEAD").is_file():
            self._git_dir.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            await self._git.run("init", "--quiet", "--bare", "--", str(self._git_dir))

    async def _fetch(self, commit: str) -> None:
        options = ("--quiet", "--no-tags", "--force", "--no-recurse-submodules", "--no-write-fetch-head")
        refspec = "+refs/heads/*:refs/heads/*" if self._ref.commit else f"+{self._ref.full_name}:refs/mirror/{commit}"
        await self._network("fetch", *options, "--", self._url, refspec, git_dir=self._git_dir)
        if not await self._has(commit):
            raise source_error(f"the remote did not give commit {commit}", fault=Fault.NETWORK, retryable=True)

    async def _has(self, commit: str) -> bool:
        code, _ = await self._git.run(
            "cat-file", "-e", f"{commit}^{{commit}}", git_dir=self._git_dir, accept=(0, 1, 128)
        )
        return code == 0

    async def _is_sound(self) -> bool:
        code, _ = await self._git.run(
            "fsck", "--connectivity-only", "--no-dangling", git_dir=self._git_dir, accept=tuple(range(256))
        )
        return code == 0

    async def _network(self, *arguments: str, git_dir: Path | None = None) -> tuple[int, bytes]:
        return await self._git.run(
            *arguments, git_dir=git_dir, credentials=await self._credentials(), network=True, timeout_s=self._timeout_s
        )
