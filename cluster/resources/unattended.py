"""Kinds that are served and stored while nothing here acts on them yet: one table, told to whoever writes one.

Whoever makes a kind work removes its line here and in docs/limits.md; a test compares both.  Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from cluster.machinery.objects import GroupKind

UNATTENDED: Mapping[GroupKind, str] = {
    GroupKind("networking.k8s.io", "IPAddress"): "Services are given addresses without it",
    GroupKind("networking.k8s.io", "Ingress"): "no controller serves it",
    GroupKind("networking.k8s.io", "NetworkPolicy"): "it protects nothing, since every pod reaches every pod",
    GroupKind("networking.k8s.io", "ServiceCIDR"): "Services are given addresses without it",
    GroupKind("node.k8s.io", "RuntimeClass"): "pods that name it are refused",
    GroupKind("storage.k8s.io", "CSIDriver"): "no CSI volumes are served",
    GroupKind("storage.k8s.io", "CSINode"): "no CSI volumes are served",
    GroupKind("storage.k8s.io", "CSIStorageCapacity"): "no CSI volumes are served",
    GroupKind("storage.k8s.io", "VolumeAttachment"): "nothing is attached",
}
"""Kind to what does not happen, as the end of a sentence."""


def warning_of(kind: GroupKind) -> str:
    """What its writer is told; empty when the kind works."""
    missing = UNATTENDED.get(kind, "")
    return f"{kind}: is stored, but not acted on by this cluster: {missing}" if missing else ""
