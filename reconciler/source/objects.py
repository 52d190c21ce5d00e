"""Git objects by id through one persistent `git cat-file --batch`: no process per file, no work tree, no links followed.

Trees are remembered by id, so that reading a new commit costs the changed directories only.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple

from reconciler.content import BLOB_MAX_BYTES, FILES_MAX, File, TooLarge, Tree
from reconciler.errors import Fault, source_error
from reconciler.model import Revision
from reconciler.source.command import Credentials, Git

BATCH = 64
"""Ids asked for at once: few enough that the question always fits into a pipe."""

META_MAX_BYTES = 16 * 1024 * 1024
"""A larger commit or tree is refused."""

SKIPPABLE_BYTES = 64 * 1024 * 1024
"""A blob beyond this is not read to its end; the reader starts anew instead."""

TREES_MAX = 20_000
LISTED_MAX = 2_000
"""Directories whose files are remembered by their paths."""

DEPTH_MAX = 64
SUBJECT_MAX_CHARS = 200
TRAILERS_MAX = 64
ANSWER_TIMEOUT_S = 30.0

_TRAILER = re.compile(r"^([A-Za-z][A-Za-z0-9-]{0,63}): +(\S.{0,999})$", re.MULTILINE)

_TREE, _FILE, _EXECUTABLE = b"40000", b"100644", b"100755"


class _Entry(NamedTuple):
    mode: bytes
    name: str
    id: str


class _Below(NamedTuple):
    files: Sequence[File]
    skipped: Sequence[str]


class ObjectReader:
    """Objects of one repository.  Calls are answered one after the other; a child that died is started again."""

    def __init__(self, git: Git, git_dir: Path) -> None:
        self._git = git
        self._git_dir = git_dir
        self._child: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._trees: OrderedDict[str, tuple[_Entry, ...]] = OrderedDict()
        self._listed: OrderedDict[tuple[str, str], _Below] = OrderedDict()

    async def commit(self, commit_id: str) -> Revision:
        kind, data = await self._one(commit_id)
        while kind == "tag":
            kind, data = await self._one(data.split(b"\n", 1)[0].removeprefix(b"object ").decode())
        if kind != "commit":
            raise source_error(f"{commit_id} is a {kind}, not a commit", fault=Fault.REPOSITORY)
        return _revision(commit_id, data)

    async def parents(self, commit_id: str) -> Sequence[str]:
        _, data = await self._one(commit_id)
        head = data.decode("utf-8", "replace").partition("\n\n")[0]
        return [line.removeprefix("parent ") for line in head.split("\n") if line.startswith("parent ")]

    async def tree(self, root: str, path: str) -> Tree:
        """The files below `path` of the tree `root`.  Raises StageError when there is no such path."""
        here = _Entry(_TREE, "", root)
        for part in [part for part in path.split("/") if part]:
            found = None
            if here.mode == _TREE:
                found = next((entry for entry in await self._entries(here.id) if entry.name == part), None)
            if found is None:
                raise source_error(f"the revision has no path {path!r}", fault=Fault.REPOSITORY)
            here = found
        if here.mode in (_FILE, _EXECUTABLE):
            return Tree(here.id, (File(path, here.id),))
        if here.mode != _TREE:
            raise source_error(f"{path!r} is a link or a submodule", fault=Fault.REPOSITORY)
        files, skipped = await self._below(here.id, f"{path}/" if path else "", depth=0)
        return Tree(here.id, tuple(sorted(files)), tuple(sorted(skipped)))

    async def read(self, blobs: Sequence[str]) -> Mapping[str, bytes | TooLarge]:
        found: dict[str, bytes | TooLarge] = {}
        for start in range(0, len(blobs), BATCH):
            batch = blobs[start : start + BATCH]
            for blob, (kind, data) in zip(batch, await self._ask(batch, BLOB_MAX_BYTES), strict=True):
                if kind != "blob":
                    raise source_error(f"object {blob} is {kind}", fault=Fault.REPOSITORY, retryable=True)
                found[blob] = data
        return found

    async def close(self) -> None:
        async with self._turn:
            await self._stop()

    async def _below(self, tree_id: str, prefix: str, *, depth: int) -> _Below:
        """What lies below a tree, remembered: a commit changes the directories on the way to its files only."""
        if (known := self._listed.get((tree_id, prefix))) is not None:
            self._listed.move_to_end((tree_id, prefix))
            return known
        if depth > DEPTH_MAX:
            raise source_error(f"directories are nested deeper than {DEPTH_MAX}", fault=Fault.REPOSITORY)
        files: list[File] = []
        skipped: list[str] = []
        for mode, name, entry_id in await self._entries(tree_id):
            if mode == _TREE:
                below = await self._below(entry_id, f"{prefix}{name}/", depth=depth + 1)
                files += below.files
                skipped += below.skipped
            elif mode in (_FILE, _EXECUTABLE):
                files.append(File(prefix + name, entry_id))
            else:
                skipped.append(prefix + name)
            if len(files) + len(skipped) > FILES_MAX:
                raise source_error(f"more than {FILES_MAX} files", fault=Fault.REPOSITORY)
        found = self._listed[tree_id, prefix] = _Below(tuple(files), tuple(skipped))
        if len(self._listed) > LISTED_MAX:
            self._listed.popitem(last=False)
        return found

    async def _entries(self, tree_id: str) -> tuple[_Entry, ...]:
        if (known := self._trees.get(tree_id)) is not None:
            self._trees.move_to_end(tree_id)
            return known
        kind, data = await self._one(tree_id)
        if kind != "tree":
            raise source_error(f"object {tree_id} is a {kind}, not a tree", fault=Fault.REPOSITORY)
        entries = self._trees[tree_id] = tuple(_parse_tree(data, id_bytes=len(tree_id) // 2))
        if len(self._trees) > TREES_MAX:
            self._trees.popitem(last=False)
        return entries

    async def _one(self, object_id: str) -> tuple[str, bytes]:
        ((kind, data),) = await self._ask((object_id,), META_MAX_BYTES)
        if isinstance(data, TooLarge):
            raise source_error(f"object {object_id} has {data.size_bytes} bytes", fault=Fault.REPOSITORY)
        if kind == "missing":
            raise source_error(f"object {object_id} is missing from the repository", retryable=True)
        return kind, data

    async def _ask(self, ids: Sequence[str], limit_bytes: int) -> list[tuple[str, bytes | TooLarge]]:
        async with self._turn:
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    try:
                        return await self._exchange(ids, limit_bytes)
                    except (BrokenPipeError, ConnectionResetError, asyncio.IncompleteReadError):
                        # The child was killed, or ended over a corrupt object: once more with a fresh one.
                        await self._stop()
                        return await self._exchange(ids, limit_bytes)
            except (BrokenPipeError, ConnectionResetError, asyncio.IncompleteReadError) as error:
                await self._stop()
                raise source_error("git cat-file ended: is the repository damaged?", retryable=True) from error
            except TimeoutError as error:
                await self._stop()
                raise source_error("git cat-file does not answer", retryable=True) from error
            except BaseException:
                # Interrupted between question and answer: the next answer would not be to the next question.
                await self._stop()
                raise

    async def _exchange(self, ids: Sequence[str], limit_bytes: int) -> list[tuple[str, bytes | TooLarge]]:
        answers: list[tuple[str, bytes | TooLarge]] = []
        remaining = list(ids)
        while remaining:
            child = await self._running()
            if child.stdin is None or child.stdout is None:
                raise RuntimeError("a child started with pipes has none")
            child.stdin.write("".join(f"{object_id}\n" for object_id in remaining).encode())
            await child.stdin.drain()
            while remaining:
                header = (await child.stdout.readuntil(b"\n")).decode().split()
                remaining.pop(0)
                if len(header) != 3:
                    answers.append(("missing", b""))
                    continue
                size = int(header[2])
                if size > SKIPPABLE_BYTES:
                    answers.append((header[1], TooLarge(size)))
                    await self._stop()
                    break
                data = await child.stdout.readexactly(size + 1)
                answers.append((header[1], data[:-1] if size <= limit_bytes else TooLarge(size)))
        return answers

    async def _running(self) -> asyncio.subprocess.Process:
        if self._child is None or self._child.returncode is not None:
            self._child = await asyncio.create_subprocess_exec(
                *self._git.argv(self._git_dir, ("cat-file", "--batch"), Credentials()),
                env=self._git.environment(Credentials(), network=False),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
                limit=1024 * 1024,
            )
        return self._child

    async def _stop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        if child.stdin is not None:
            child.stdin.close()
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()


def _parse_tree(data: bytes, *, id_bytes: int) -> list[_Entry]:
    """`MODE NAME\\0ID` repeated, the id in binary (git's tree object format)."""
    entries: list[_Entry] = []
    position = 0
    while position < len(data):
        space = data.index(b" ", position)
        end = data.index(b"\0", space)
        following = end + 1 + id_bytes
        name = data[space + 1 : end].decode("utf-8", "backslashreplace")
        entries.append(_Entry(data[position:space], name, data[end + 1 : following].hex()))
        position = following
    return entries


def _revision(commit_id: str, data: bytes) -> Revision:
    """A commit object: header lines, an empty line, the message."""
    head, _, message = data.decode("utf-8", "replace").partition("\n\n")
    fields: dict[str, str] = {}
    for line in head.split("\n"):
        name, _, value = line.partition(" ")
        fields.setdefault(name, value)
    author, _, _ = fields.get("author", "").rpartition("> ")
    _, _, stamp = fields.get("committer", "").rpartition("> ")
    subject = message.strip().split("\n", 1)[0][:SUBJECT_MAX_CHARS]
    return Revision(
        id=commit_id,
        tree=fields.get("tree", ""),
        author=f"{author}>" if author else "",
        subject=subject,
        committed_at=_instant(stamp),
        trailers=_trailers(message),
    )


def _trailers(message: str) -> Sequence[tuple[str, str]]:
    """The `Name: value` lines of the last paragraph, which is not the only one (git-interpret-trailers(1))."""
    paragraphs = message.strip().split("\n\n")
    if len(paragraphs) < 2:
        return ()
    return tuple((match[1], match[2]) for match in _TRAILER.finditer(paragraphs[-1]))[:TRAILERS_MAX]


def _instant(stamp: str) -> str:
    """`SECONDS +HHMM` as RFC 3339 in that zone; empty when it is nonsense."""
    seconds, _, zone = stamp.partition(" ")
    try:
        offset = timedelta(hours=int(zone[:3]), minutes=int(zone[0] + zone[3:5])) if zone else timedelta()
        return datetime.fromtimestamp(int(seconds), UTC).astimezone(timezone(offset)).isoformat()
    except (ValueError, OverflowError, OSError):
        return ""
