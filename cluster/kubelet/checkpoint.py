"""What a pod's directory remembers for an agent that restarts while the API is away: the pod as last seen, and its address.

Files are replaced whole; a damaged one is as good as none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import orjson

from cluster.kubelet.volumes.content import VolumeError
from cluster.kubelet.volumes.setup import pod_directory
from cluster.machinery.objects import Obj, uid_of

POD = "pod.json"
ADDRESS = "address"


def write_pod(root: Path, pod: Obj) -> None:
    """Remember `pod`.  Raises OSError."""
    _replace(pod_directory(root, uid_of(pod)) / POD, orjson.dumps(dict(pod)))


def write_address(root: Path, uid: str, address: str) -> None:
    """Remember the pod's address.  Raises OSError."""
    _replace(pod_directory(root, uid) / ADDRESS, address.encode())


def read_pod(root: Path, uid: str) -> Obj | None:
    """The remembered pod, or None."""
    try:
        pod = orjson.loads((pod_directory(root, uid) / POD).read_bytes())
    except (OSError, ValueError, VolumeError):
        return None
    return pod if isinstance(pod, dict) and uid_of(pod) == uid else None


def read_address(root: Path, uid: str) -> str:
    """The remembered address, or the empty string."""
    try:
        return (pod_directory(root, uid) / ADDRESS).read_text().strip()
    except (OSError, ValueError, VolumeError):
        return ""


def read_pods(root: Path) -> Sequence[Obj]:
    """Every pod that has a directory here and was remembered, with its address: what this host ran when it was last known."""
    base = root / "pods"
    uids = sorted(entry.name for entry in base.iterdir()) if base.is_dir() else []
    pods: list[Obj] = []
    for uid in uids:
        if (pod := read_pod(root, uid)) is None:
            continue
        address = read_address(root, uid)
        status = {**(pod.get("status") or {}), **({"podIP": address} if address else {})}
        pods.append({**pod, "status": status})
    return pods


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.touch(mode=0o600)
    fresh.write_bytes(data)
    fresh.replace(path)
