"""The storage group's StorageClass and VolumeAttachment.  What only drivers write is in `storage_drivers`.

Upstream: pkg/apis/storage/{v1/defaults,validation/validation}.go, pkg/registry/storage/*/strategy.go, pkg/printers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import duplicate, forbidden, invalid, not_supported, required, too_long
from cluster.machinery.names import qualified_name_errors, subdomain_errors
from cluster.machinery.objects import GroupKind, Obj, annotations_of, field_of, name_of
from cluster.resources.defaulting import filled
from cluster.resources.immutability import validate_immutable
from cluster.resources.kind import Kind
from cluster.resources.printing import AGE, UNSET, Column, field_cell
from cluster.resources.printing import NAME as PLAIN_NAME
from cluster.resources.storage_drivers import validate_driver_name
from cluster.resources.strategy import GenericStrategy

GROUP = "storage.k8s.io"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
DEFAULT_CLASS_BETA = "storageclass.beta.kubernetes.io/is-default-class"
RECLAIM_POLICIES = ("Delete", "Retain")
BINDING_MODES = ("Immediate", "WaitForFirstConsumer")
PARAMETERS_MAX = 512
PARAMETERS_SIZE_MAX_BYTES = 256 * 1024
_FIXED = ("parameters", "provisioner", "reclaimPolicy")


def is_default_class(obj: Obj) -> bool:
    """Claims that name no class get this one."""
    notes = annotations_of(obj)
    return "true" in (notes.get(DEFAULT_CLASS), notes.get(DEFAULT_CLASS_BETA))


class StorageClassStrategy(GenericStrategy):
    namespaced = False

    def default(self, obj: Obj) -> Obj:
        return filled(obj, {"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"})

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(_validate_class(obj))

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        changed = [
            forbidden(field, f"updates to {field} are forbidden.")
            for field in _FIXED
            if (new.get(field) or None) != (old.get(field) or None)
        ]
        return (*self._validate(new), *changed, *validate_immutable(new, old, "volumeBindingMode"))


def _validate_class(obj: Obj) -> Iterator[Cause]:
    provisioner = obj.get("provisioner") or ""
    if not provisioner:
        yield required("provisioner")
    else:
        for why in qualified_name_errors(provisioner.lower()):
            yield invalid("provisioner", provisioner, why)
    parameters = obj.get("parameters") or {}
    if len(parameters) > PARAMETERS_MAX:
        yield too_long("parameters", PARAMETERS_MAX)
    if "" in parameters:
        yield invalid("parameters", "", "field can not be empty.")
    if sum(len(key.encode()) + len(value.encode()) for key, value in parameters.items()) > PARAMETERS_SIZE_MAX_BYTES:
        yield too_long("parameters", PARAMETERS_SIZE_MAX_BYTES)
    for field, choices in (("reclaimPolicy", RECLAIM_POLICIES), ("volumeBindingMode", BINDING_MODES)):
        if obj.get(field) not in choices:
            yield not_supported(field, obj.get(field) or "", choices)
    for index, term in enumerate(obj.get("allowedTopologies") or ()):
        yield from _validate_topology(term, f"allowedTopologies[{index}]")


def _validate_topology(term: Obj, path: str) -> Iterator[Cause]:
    keys: set[str] = set()
    for index, requirement in enumerate(term.get("matchLabelExpressions") or ()):
        at, key = f"{path}.matchLabelExpressions[{index}]", requirement.get("key") or ""
        for why in qualified_name_errors(key):
            yield invalid(f"{at}.key", key, why)
        if key in keys:
            yield duplicate(f"{at}.key", key)
        keys.add(key)
        values = requirement.get("values") or ()
        if not values:
            yield required(f"{at}.values")
        for place, value in enumerate(values):
            if value in values[:place]:
                yield duplicate(f"{at}.values[{place}]", value)


class VolumeAttachmentStrategy(GenericStrategy):
    namespaced = False
    has_status = True

    def _first_status(self, obj: Obj) -> Any:
        return {"attached": False}

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(_validate_attachment(obj.get("spec") or {}))

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        return (*self._validate(new), *validate_immutable(new, old, "spec"))


def _validate_attachment(spec: Obj) -> Iterator[Cause]:
    yield from validate_driver_name(spec.get("attacher") or "", "spec.attacher")
    source = spec.get("source") or {}
    volume, inline = source.get("persistentVolumeName"), source.get("inlineVolumeSpec")
    if (volume is None) == (inline is None):
        why = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
        yield required("spec.source", why) if volume is None else forbidden("spec.source", why)
    elif volume is not None:
        if not volume:
            yield required("spec.source.persistentVolumeName", "must specify non empty persistentVolumeName")
        for why in subdomain_errors(volume) if volume else ():
            yield invalid("spec.source.persistentVolumeName", volume, why)
    node = spec.get("nodeName") or ""
    for why in subdomain_errors(node):
        yield invalid("spec.nodeName", node, why)


def _name_cell(obj: Obj, now: datetime) -> str:
    return f"{name_of(obj)} (default)" if is_default_class(obj) else name_of(obj)


def _persistent_volume_cell(obj: Obj, now: datetime) -> str:
    return str(field_of(obj, "spec", "source", "persistentVolumeName", default=""))


KINDS: Mapping[GroupKind, Kind] = {
    GroupKind(GROUP, "StorageClass"): Kind(
        StorageClassStrategy(),
        (
            Column("Name", _name_cell, format="name", description=PLAIN_NAME.description),
            Column("Provisioner", field_cell("provisioner"), description="The type of the provisioner"),
            Column("ReclaimPolicy", field_cell("reclaimPolicy", default="Delete")),
            Column("VolumeBindingMode", field_cell("volumeBindingMode", default=UNSET)),
            Column("AllowVolumeExpansion", field_cell("allowVolumeExpansion", default=False), "boolean"),
            AGE,
        ),
    ),
    GroupKind(GROUP, "VolumeAttachment"): Kind(
        VolumeAttachmentStrategy(),
        (
            PLAIN_NAME,
            Column("Attacher", field_cell("spec", "attacher")),
            Column("PV", _persistent_volume_cell),
            Column("Node", field_cell("spec", "nodeName")),
            Column("Attached", field_cell("status", "attached", default=False), "boolean"),
            AGE,
        ),
    ),
}
