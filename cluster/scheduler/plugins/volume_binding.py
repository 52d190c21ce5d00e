"""Pods go where their claims' volumes are, or can be made.  Upstream: plugins/volumebinding.

A claim that waits for its first consumer is told the node (`selected`); its volume is made or bound there, and confines the
pod to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from cluster.client.cache import Cache
from cluster.machinery.objects import Key, Obj, field_of, is_deleting, name_of
from cluster.resources.builtin import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES
from cluster.resources.node_selection import term_holds
from cluster.scheduler.framework import Reject, Verdict, Wake
from cluster.scheduler.requests import PodInfo
from cluster.scheduler.snapshot import Cluster, NodeInfo

CONFLICT = "node(s) had volume node affinity conflict"
NOT_FOUND = "node(s) didn't find available persistent volumes to bind"
UNBOUND = "pod has unbound immediate PersistentVolumeClaims"
NO_PROVISIONER = "kubernetes.io/no-provisioner"


class VolumeBinding:
    name: ClassVar = "VolumeBinding"
    wakes_on: ClassVar = frozenset({Wake.NODE_ADDED, Wake.NODE_RELABELED, Wake.STORAGE_CHANGED})
    weight: ClassVar = 0

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def prepare(self, pod: PodInfo, cluster: Cluster) -> _Volumes | None:
        names = claim_names_of(pod)
        if not names:
            return None
        bound: list[Obj] = []
        unbound: list[tuple[Obj, ...]] = []
        for name in names:
            claim = self._cache.get(PERSISTENT_VOLUME_CLAIMS, Key(pod.key.namespace, name))
            if claim is None:
                return _Volumes(f'persistentvolumeclaim "{name}" not found')
            if is_deleting(claim):
                return _Volumes(f'persistentvolumeclaim "{name}" is being deleted')
            if field_of(claim, "status", "phase") == "Lost":
                return _Volumes(f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume')
            volume_name = field_of(claim, "spec", "volumeName", default="")
            volume = self._cache.get(PERSISTENT_VOLUMES, Key("", volume_name)) if volume_name else None
            if field_of(claim, "status", "phase") == "Bound" and volume is not None:
                bound.append(volume)
                continue
            storage_class = self._class(claim)
            if (storage_class or {}).get("volumeBindingMode") != "WaitForFirstConsumer" or storage_class is None:
                return _Volumes(UNBOUND)
            if storage_class.get("provisioner") == NO_PROVISIONER:
                unbound.append(self._free_of_class(name_of(storage_class)))
        return _Volumes("", bound, unbound)

    def waiting_claims(self, pod: PodInfo) -> Sequence[Obj]:
        """Claims of the pod that wait to be told its node."""
        claims = [
            self._cache.get(PERSISTENT_VOLUME_CLAIMS, Key(pod.key.namespace, name)) for name in claim_names_of(pod)
        ]
        return [claim for claim in claims if claim is not None and field_of(claim, "status", "phase") != "Bound"]

    def _class(self, claim: Obj) -> Obj | None:
        return self._cache.get(STORAGE_CLASSES, Key("", field_of(claim, "spec", "storageClassName", default="")))

    def _free_of_class(self, name: str) -> tuple[Obj, ...]:
        return tuple(
            volume
            for volume in self._cache.list(PERSISTENT_VOLUMES)
            if field_of(volume, "spec", "storageClassName", default="") == name
            and field_of(volume, "spec", "claimRef") is None
        )


class _Volumes:
    """One pod's question: where all of its volumes can be reached.  With `refused` nowhere."""

    def __init__(self, refused: str, bound: Sequence[Obj] = (), unbound: Sequence[tuple[Obj, ...]] = ()) -> None:
        self._refused = refused
        self._bound = bound
        self._unbound = unbound

    def filter(self, node: NodeInfo) -> Verdict:
        if self._refused:
            return Reject((self._refused,), final=True, whole=True)
        if not all(reaches(volume, node) for volume in self._bound):
            return Reject((CONFLICT,), final=True)
        if not all(any(reaches(volume, node) for volume in volumes) for volumes in self._unbound):
            return Reject((NOT_FOUND,), final=True)
        return None

    def scores(self, nodes: Sequence[NodeInfo]) -> Sequence[int] | None:
        return None


def claim_names_of(pod: PodInfo) -> Sequence[str]:
    return [
        str(claim)
        for volume in field_of(pod.pod, "spec", "volumes", default=())
        if (claim := field_of(volume, "persistentVolumeClaim", "claimName")) is not None
    ]


def reaches(volume: Obj, node: NodeInfo) -> bool:
    """Whether the volume's own node affinity lets it be used there."""
    required = field_of(volume, "spec", "nodeAffinity", "required")
    return required is None or any(
        term_holds(term, labels=node.labels, name=node.name) for term in required.get("nodeSelectorTerms") or ()
    )
