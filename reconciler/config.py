"""What the operator decides about GitOps on this host; comes from the host's configuration, never from a repository."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SYSTEM_NAMESPACE = "reconciler-system"
"""Where the operator's own Repositories and Applications live."""


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """The first Repository and Application, with the operator's rights.  One of `url`, `path` and `folder` is set."""

    url: str = ""
    path: str = ""
    folder: str = ""
    branch: str = ""
    """Or a full commit id, to stay at it; empty: the source's HEAD."""
    directory: str = ""
    """The part of the source that is applied; empty: all of it."""
    target_namespace: str = "default"
    name: str = "bootstrap"
    prune: bool = True


@dataclass(frozen=True, slots=True)
class Settings:
    """`state_dir` holds caches only (mirrors, parsed files); `source_roots` are where local sources may lie."""

    state_dir: Path
    source_roots: tuple[Path, ...] = ()
    bootstrap: Bootstrap | None = None
    workers: int = 4
    """Applications synchronised at the same time."""
    watch_files: bool = True
    """False: local sources are only looked at once a second, without a watch on their directories."""
