"""Which volume a claim gets, or what keeps it waiting.  Pure.

Upstream: pkg/controller/volume/persistentvolume/pv_controller.go, index.go (the smallest volume that will do).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cluster.client.transport import Patch, PatchType
from cluster.client.writes import Create, PatchObject, SetStatus, Update, Write
from cluster.machinery.objects import (
    Obj,
    annotations_of,
    field_of,
    is_deleting,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    uid_of,
)
from cluster.machinery.quantity import QuantityError, parse_quantity
from cluster.machinery.selectors import SelectorError, selector_of
from cluster.resources.builtin import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from cluster.resources.local_path import DRIVER

SELECTED_NODE = "volume.kubernetes.io/selected-node"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
HOSTNAME = "kubernetes.io/hostname"


def class_of(claim: Obj) -> str:
    """The storage class's name; empty when the claim asks for none."""
    return str(field_of(claim, "spec", "storageClassName", default=""))


def is_held_by(volume: Obj, claim: Obj) -> bool:
    """The volume is reserved for this very claim, or for its name and no uid yet."""
    reference = field_of(volume, "spec", "claimRef", default={})
    if (reference.get("namespace"), reference.get("name")) != (namespace_of(claim), name_of(claim)):
        return False
    return reference.get("uid") in (None, "", uid_of(claim))


def fits(volume: Obj, claim: Obj) -> bool:
    """A free volume has what the claim asks for: size, class, modes, labels."""
    spec, wanted = volume.get("spec") or {}, claim.get("spec") or {}
    if spec.get("claimRef") is not None or is_deleting(volume):
        return False
    if str(spec.get("storageClassName") or "") != class_of(claim):
        return False
    if (spec.get("volumeMode") or "Filesystem") != (wanted.get("volumeMode") or "Filesystem"):
        return False
    if not set(wanted.get("accessModes") or ()) <= set(spec.get("accessModes") or ()):
        return False
    try:
        selector = wanted.get("selector")
        if selector is not None and not selector_of(selector).matches(labels_of(volume)):
            return False
        return _size(volume, "spec", "capacity") >= _size(claim, "spec", "resources", "requests")
    except (SelectorError, QuantityError):
        return False


def choose(claim: Obj, volumes: Sequence[Obj]) -> Obj | None:
    """A volume reserved for the claim, else the smallest that fits; the first by name of equals."""
    held = [volume for volume in volumes if is_held_by(volume, claim) and not is_deleting(volume)]
    if held:
        return min(held, key=name_of)
    free = [volume for volume in volumes if fits(volume, claim)]
    return min(free, key=lambda volume: (_size(volume, "spec", "capacity"), name_of(volume)), default=None)


def plan_bind(claim: Obj, volume: Obj) -> tuple[Write, ...]:
    """Reserve the volume, point the claim at it, say so in its status: each step once, in an order that survives a crash."""
    reference = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": namespace_of(claim),
        "name": name_of(claim),
        "uid": uid_of(claim),
    }
    if field_of(volume, "spec", "claimRef", "uid") != uid_of(claim):
        spec = {**volume["spec"], "claimRef": reference}
        meta = {**volume["metadata"], "annotations": {**annotations_of(volume), BOUND_BY_CONTROLLER: "yes"}}
        return (Update(PERSISTENT_VOLUMES, {**volume, "metadata": meta, "spec": spec}),)
    if field_of(claim, "spec", "volumeName", default="") != name_of(volume) or BIND_COMPLETED not in annotations_of(
        claim
    ):
        meta = {**claim["metadata"], "annotations": {**annotations_of(claim), BIND_COMPLETED: "yes"}}
        spec = {**claim["spec"], "volumeName": name_of(volume)}
        return (Update(PERSISTENT_VOLUME_CLAIMS, {**claim, "metadata": meta, "spec": spec}),)
    status = {
        **(claim.get("status") or {}),
        "phase": "Bound",
        "accessModes": field_of(volume, "spec", "accessModes", default=[]),
        "capacity": field_of(volume, "spec", "capacity", default={}),
    }
    return (SetStatus(PERSISTENT_VOLUME_CLAIMS, claim, status),)


def plan_expand(claim: Obj, volume: Obj, storage_class: Obj | None) -> tuple[Write, ...]:
    """A directory grows by saying so: the volume first, then (by `plan_bind`) the claim's status."""
    wanted = field_of(claim, "spec", "resources", "requests", "storage")
    if wanted is None or not (storage_class or {}).get("allowVolumeExpansion"):
        return ()
    if field_of(volume, "spec", "csi", "driver") != DRIVER:
        return ()
    if _size(claim, "spec", "resources", "requests") <= _size(volume, "spec", "capacity"):
        return ()
    body = {"spec": {"capacity": {"storage": wanted}}}
    return (PatchObject(PERSISTENT_VOLUMES, key_of(volume), Patch(PatchType.MERGE, body)),)


def provisioned(claim: Obj, storage_class: Obj, node: Obj) -> Create:
    """A new directory volume on `node`, reserved for the claim."""
    name = f"pvc-{uid_of(claim)}"
    expression = {"key": HOSTNAME, "operator": "In", "values": [labels_of(node).get(HOSTNAME) or name_of(node)]}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: DRIVER}},
        "spec": {
            "capacity": {"storage": field_of(claim, "spec", "resources", "requests", "storage", default="0")},
            "accessModes": field_of(claim, "spec", "accessModes", default=[]),
            "volumeMode": "Filesystem",
            "storageClassName": name_of(storage_class),
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
            "csi": {"driver": DRIVER, "volumeHandle": name},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": namespace_of(claim),
                "name": name_of(claim),
                "uid": uid_of(claim),
            },
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}},
        },
    }
    return Create(PERSISTENT_VOLUMES, volume, exists_ok=True)


def phase_of(volume: Obj, claim: Obj | None) -> str:
    """What the volume's status says, given the claim that its claimRef names."""
    reference: Mapping[str, str] = field_of(volume, "spec", "claimRef", default={})
    if not reference.get("uid"):
        return "Available"
    if claim is None or uid_of(claim) != reference["uid"]:
        return "Released"
    if field_of(claim, "spec", "volumeName", default="") == name_of(volume):
        return "Bound"
    return str(field_of(volume, "status", "phase", default="")) or "Pending"


def _size(obj: Obj, *path: str) -> int:
    return parse_quantity(field_of(obj, *path, "storage", default="0")).value
