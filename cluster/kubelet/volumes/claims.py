"""Claims' volumes on this node: directories of our own below `local-path/`, and what administrators name by path.

A directory whose volume is gone is set aside and kept for REMOVED_KEPT_S: a server restored from an older backup, which
does not know the volume, must not cost its data.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cluster.kubelet.security import PodPolicy
from cluster.kubelet.volumes.content import VolumeError
from cluster.kubelet.volumes.host_path import host_path
from cluster.machinery.objects import Obj, field_of, uid_of
from cluster.resources.local_path import DRIVER

REMOVED_KEPT_S = 86_400.0
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")
_REMOVED = ".removed-"


def claim_directory(claim: Obj | None, volume: Obj | None, namespace: str, policy: PodPolicy, *, root: Path) -> Path:
    """Where a bound claim's data lies on this node, made when it is ours.  Raises VolumeError, OSError."""
    if claim is None:
        raise VolumeError("the claim does not exist")
    if volume is None or field_of(volume, "spec", "claimRef", "uid") != uid_of(claim):
        raise VolumeError("the claim is not bound")
    spec = volume["spec"]
    if (spec.get("volumeMode") or "Filesystem") != "Filesystem":
        raise VolumeError("block volumes are not supported on this node")
    if field_of(spec, "csi", "driver") == DRIVER:
        return _own_directory(root, str(spec["csi"].get("volumeHandle", "")))
    for kind in ("hostPath", "local"):
        if (source := spec.get(kind)) is not None:
            wanted = source if kind == "hostPath" else {"path": source.get("path"), "type": "Directory"}
            return host_path(wanted, namespace, policy, own_root=root)
    raise VolumeError("volumes of this kind are not supported on this node")


def directories(root: Path) -> Sequence[str]:
    """The handles of the volumes that lie here, sorted."""
    base = root / "local-path"
    return sorted(entry.name for entry in base.iterdir() if _NAME.match(entry.name)) if base.is_dir() else ()


def set_aside(root: Path, handle: str, now: datetime) -> None:
    """The volume is gone: its directory is kept under another name for REMOVED_KEPT_S."""
    aside = root / "local-path" / f"{_REMOVED}{handle}"
    (root / "local-path" / handle).rename(aside)
    os.utime(aside, (now.timestamp(), now.timestamp()))


def remove_old(root: Path, now: datetime) -> None:
    """Remove what was set aside long enough ago.  Links are never followed."""
    base = root / "local-path"
    for entry in sorted(base.glob(f"{_REMOVED}*")) if base.is_dir() else ():
        if now.timestamp() - entry.lstat().st_mtime > REMOVED_KEPT_S:
            shutil.rmtree(entry)


def _own_directory(root: Path, handle: str) -> Path:
    if not _NAME.match(handle):
        raise VolumeError("the volume's handle is not a name")
    path = root / "local-path" / handle
    aside = path.with_name(f"{_REMOVED}{handle}")
    if aside.is_dir() and not path.exists():
        aside.rename(path)
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    if not path.exists():
        path.mkdir()
        path.chmod(0o777)
    return path
