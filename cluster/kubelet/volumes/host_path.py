"""hostPath volumes: policy, then the type check, on the path as the kernel resolves it.

Upstream: pkg/volume/hostpath/host_path.go.
"""

from __future__ import annotations

import stat
from pathlib import Path

from cluster.kubelet.security import PodPolicy
from cluster.kubelet.volumes.content import VolumeError
from cluster.machinery.objects import Obj

FORBIDDEN = ("/var/run/docker.sock", "/run/docker.sock", "/var/lib/docker", "/run/containerd", "/run/docker")
"""Whoever holds one of these holds the host: only a policy that allows privileged pods gives them."""


def host_path(source: Obj, namespace: str, policy: PodPolicy, *, own_root: Path) -> Path:
    """The checked path to mount, made where its type says so.  Raises VolumeError."""
    wanted = str(source.get("path", ""))
    if not wanted.startswith("/") or ".." in Path(wanted).parts or "\0" in wanted:
        raise VolumeError(f"hostPath {wanted!r} must be absolute and must not contain '..'")
    kind = str(source.get("type") or "")
    path = Path(wanted).resolve()
    # Judged after links are followed: /innocent -> / is the whole host.
    check_policy(path, namespace, policy, own_root=own_root)
    match kind:
        case "":
            pass
        case "DirectoryOrCreate":
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
        case "FileOrCreate":
            path.touch(mode=0o644, exist_ok=True)
    _check_type(path, kind)
    return path


def check_policy(path: Path, namespace: str, policy: PodPolicy, *, own_root: Path) -> None:
    """Raises VolumeError unless the host's policy gives pods of `namespace` this resolved path."""
    if _overlap(path, own_root.resolve()):
        raise VolumeError(f"hostPath {path} is this node's own state")
    exempt = namespace in policy.exempt
    if not (policy.privileged or exempt):
        for forbidden in FORBIDDEN:
            if _overlap(path, Path(forbidden).resolve()):
                raise VolumeError(f"hostPath {path} would give away the host")
    allowed = [Path(prefix).resolve() for prefix in policy.host_paths]
    if not exempt and not any(path == prefix or prefix in path.parents for prefix in allowed):
        raise VolumeError(f"hostPath {path} is not allowed on this node")


def _overlap(one: Path, other: Path) -> bool:
    return one == other or one in other.parents or other in one.parents


def _check_type(path: Path, kind: str) -> None:
    if not kind:
        return
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise VolumeError(f"hostPath type check failed: {path} does not exist") from error
    checks = {
        "Directory": (stat.S_ISDIR, "a directory"),
        "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
        "File": (stat.S_ISREG, "a file"),
        "FileOrCreate": (stat.S_ISREG, "a file"),
        "Socket": (stat.S_ISSOCK, "a socket file"),
        "CharDevice": (stat.S_ISCHR, "a character device"),
        "BlockDevice": (stat.S_ISBLK, "a block device"),
    }
    if kind not in checks:
        raise VolumeError(f"hostPath type {kind!r} is not known")
    check, words = checks[kind]
    if not check(mode):
        raise VolumeError(f"hostPath type check failed: {path} is not {words}")
