"""A claim that names no storage class gets the default one.  Upstream: plugin/pkg/admission/storage/storageclass/setdefault."""

from __future__ import annotations

from cluster.apiserver.admission.api import Attributes, Mutating
from cluster.apiserver.state import State, TableId
from cluster.machinery.objects import Obj, annotations_of, field_of, meta_of, name_of, with_field
from cluster.resources.storage import GROUP, is_default_class

BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
_CLASSES = TableId(GROUP, "storageclasses")


class DefaultStorageClass(Mutating):
    def __init__(self, state: State) -> None:
        self._state = state

    def mutate(self, attributes: Attributes) -> Obj:
        claim = attributes.obj
        if attributes.operation != "CREATE" or attributes.group_resource != ("", "persistentvolumeclaims"):
            return claim
        # The empty name is a choice: no class at all.
        if field_of(claim, "spec", "storageClassName") is not None or BETA_CLASS in annotations_of(claim):
            return claim
        classes = [self._state.obj(row) for row in self._state.table(_CLASSES).ordered()]
        defaults = [one for one in classes if is_default_class(one)]
        if not defaults:
            return claim
        # The newest wins; of those made in the same second the first by name.
        newest = max(str(meta_of(one).get("creationTimestamp", "")) for one in defaults)
        chosen = next(one for one in defaults if meta_of(one).get("creationTimestamp", "") == newest)
        return with_field(claim, ("spec", "storageClassName"), name_of(chosen))
