"""Branch heads read straight from a repository's files: asking once a second costs no process.

Knows HEAD, loose refs, packed-refs and linked work trees; a repository with another ref storage is refused.
Source: gitrepository-layout(5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from reconciler.errors import source_error

_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_REDIRECTS_MAX = 5
_SMALL_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Layout:
    """`git_dir` holds HEAD; `common_dir` the objects and shared refs (they differ in linked work trees)."""

    git_dir: Path
    common_dir: Path


def layout_of(directory: Path) -> Layout:
    """Find the repository at `directory`: bare, or with a `.git` directory or file.  Raises StageError."""
    dot = directory / ".git"
    git_dir = directory
    if dot.is_dir():
        git_dir = dot
    elif dot.is_file():
        text = _small(dot)
        if not text.startswith("gitdir: "):
            raise source_error(f"{dot} is no link to a Git repository")
        git_dir = (directory / text.removeprefix("gitdir: ").strip()).resolve()
    common = git_dir / "commondir"
    common_dir = (git_dir / _small(common).strip()).resolve() if common.is_file() else git_dir
    if not (git_dir / "HEAD").is_file() or not (common_dir / "objects").is_dir():
        raise source_error(f"{directory} is not a Git repository", retryable=True)
    if (common_dir / "reftable").is_dir():
        raise source_error(f"{directory} keeps its refs in a reftable, which is not supported")
    return Layout(git_dir, common_dir)


def resolve(layout: Layout, name: str) -> str:
    """The object id that the full ref `name` (or HEAD) points to; empty when it does not exist."""
    for _ in range(_REDIRECTS_MAX):
        text = _loose(layout, name)
        if text.startswith("ref: "):
            name = text.removeprefix("ref: ").strip()
            continue
        if _ID.match(text):
            return text
        return _packed(layout).get(name, "")
    raise source_error(f"{name} is a ref to a ref without end")


def target_of(layout: Layout, name: str) -> str:
    """The full name of the ref that `name` points to; empty when it holds an object id or does not exist."""
    text = _loose(layout, name)
    return text.removeprefix("ref: ").strip() if text.startswith("ref: ") else ""


def _loose(layout: Layout, name: str) -> str:
    if ".." in name.split("/") or name.startswith("/"):
        raise source_error("a ref points outside of the repository")
    for base in (layout.git_dir, layout.common_dir):
        try:
            return _small(base / name).strip()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            continue
    return ""


def _packed(layout: Layout) -> dict[str, str]:
    try:
        lines = (layout.common_dir / "packed-refs").read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.partition(" ") for line in lines if line and line[0] not in "#^")
    return {name: object_id for object_id, _, name in pairs if _ID.match(object_id)}


def _small(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_SMALL_BYTES).decode("utf-8", "replace")


def fingerprint_of(layout: Layout, name: str) -> str:
    """Changes whenever `resolve(layout, name)` may have: two or three small reads."""
    try:
        return resolve(layout, name)
    except OSError:
        return ""
