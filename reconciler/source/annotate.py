"""Which commit last changed each line of a file: `git blame`, within the limits every git process here has.

The repository may be anybody's: no program that it configures is run, and no file but the commit's own is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cluster.machinery.timestamps import format_time
from reconciler.errors import Fault, source_error
from reconciler.source.command import Git

TIMEOUT_S = 60.0
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_HEAD = re.compile(r"([0-9a-f]{40}(?:[0-9a-f]{24})?) \d+ (\d+)")


@dataclass(frozen=True, slots=True)
class Line:
    """One line as a commit left it.  `authored_at` is RFC 3339, UTC."""

    text: str
    commit: str
    author: str
    subject: str
    authored_at: str


async def annotate(git: Git, git_dir: Path, commit: str, path: str) -> Sequence[Line]:
    """The lines of `path` as of `commit` (a full id), the first being line 1.  Raises StageError."""
    if not _COMMIT.match(commit):
        raise source_error(f"{commit!r} is not the id of a commit", fault=Fault.REPOSITORY)
    _, output = await git.run(
        "blame",
        "--porcelain",
        "--no-textconv",
        "--no-progress",
        commit,
        "--",
        path,
        git_dir=git_dir,
        timeout_s=TIMEOUT_S,
    )
    return parse(output.decode("utf-8", "replace"))


def parse(text: str) -> Sequence[Line]:
    """What `git blame --porcelain` prints (git-blame(1)): a commit's own lines come with its first line only."""
    known: dict[str, dict[str, str]] = {}
    lines: list[Line] = []
    commit = ""
    for row in text.split("\n"):
        if row.startswith("\t"):
            lines.append(_line(row[1:], commit, known.get(commit, {})))
        elif match := _HEAD.match(row):
            commit = match[1]
            known.setdefault(commit, {})
        elif commit:
            name, _, value = row.partition(" ")
            known[commit].setdefault(name, value)
    return lines


def _line(text: str, commit: str, facts: Mapping[str, str]) -> Line:
    stamp = facts.get("author-time", "")
    try:
        at = format_time(datetime.fromtimestamp(int(stamp), UTC))
    except (ValueError, OverflowError, OSError):
        at = ""
    return Line(text, commit, facts.get("author", ""), facts.get("summary", ""), at)
