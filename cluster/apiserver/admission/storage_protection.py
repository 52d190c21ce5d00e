"""Volumes and claims are not removed while in use, and claims grow only where their class allows it.

Upstream: plugin/pkg/admission/storage/{storageobjectinuseprotection,persistentvolume/resize}.
"""

from __future__ import annotations

from collections.abc import Mapping

from cluster.apiserver.admission.api import Attributes, Mutating, Validating, forbidden
from cluster.apiserver.state import State, TableId
from cluster.machinery.objects import Key, Obj, annotations_of, field_of, meta_of, with_field
from cluster.machinery.quantity import QuantityError, parse_quantity

FINALIZERS: Mapping[tuple[str, str], str] = {
    ("", "persistentvolumes"): "kubernetes.io/pv-protection",
    ("", "persistentvolumeclaims"): "kubernetes.io/pvc-protection",
}
_CLASSES = TableId("storage.k8s.io", "storageclasses")


class StorageObjectInUseProtection(Mutating):
    def mutate(self, attributes: Attributes) -> Obj:
        """Adds the finalizer that the controllers take away once nothing uses the object."""
        finalizer = FINALIZERS.get(attributes.group_resource)
        if finalizer is None or attributes.operation != "CREATE" or attributes.subresource:
            return attributes.obj
        present = meta_of(attributes.obj).get("finalizers") or ()
        if finalizer in present:
            return attributes.obj
        return with_field(attributes.obj, ("metadata", "finalizers"), [*present, finalizer])


class PersistentVolumeClaimResize(Validating):
    def __init__(self, state: State) -> None:
        self._state = state

    def validate(self, attributes: Attributes) -> None:
        """Raises Forbidden for a claim that grows although its class does not let it."""
        old, new = attributes.old, attributes.obj
        if old is None or attributes.operation != "UPDATE" or attributes.subresource:
            return
        if attributes.group_resource != ("", "persistentvolumeclaims") or not _grows(new, old):
            return
        name = field_of(new, "spec", "storageClassName", default="") or annotations_of(new).get(
            "volume.beta.kubernetes.io/storage-class", ""
        )
        row = self._state.table(_CLASSES).get(Key("", name)) if name else None
        if row is None or not self._state.obj(row).get("allowVolumeExpansion"):
            raise forbidden(
                attributes,
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must "
                "support resize",
            )


def _grows(new: Obj, old: Obj) -> bool:
    path = ("spec", "resources", "requests", "storage")
    try:
        return parse_quantity(field_of(new, *path, default="0")) > parse_quantity(field_of(old, *path, default="0"))
    except QuantityError:
        return False
