"""PersistentVolumeClaim.  Upstream: pkg/apis/core/{v1/defaults,validation/validation}.go, pkg/printers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import forbidden, invalid, not_supported, required
from cluster.machinery.names import subdomain_errors
from cluster.machinery.objects import GroupKind, Obj, annotations_of, field_of, is_deleting
from cluster.machinery.quantity import QuantityError, parse_quantity
from cluster.resources.defaulting import filled
from cluster.resources.kind import Kind
from cluster.resources.pod_validation import validate_label_selector
from cluster.resources.printing import AGE, NAME, UNSET, Column, field_cell
from cluster.resources.strategy import GenericStrategy

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES = ("Block", "Filesystem")
CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
"""How a class was named before the field; it still counts."""
CLAIM_FIXED = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)
_SHORT_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def default_claim(claim: Obj) -> Obj:
    return {**claim, "spec": filled(claim.get("spec") or {}, absent={"volumeMode": "Filesystem"})}


class PersistentVolumeClaimStrategy(GenericStrategy):
    has_status = True

    def default(self, obj: Obj) -> Obj:
        return default_claim(obj)

    def _first_status(self, obj: Obj) -> Any:
        return {"phase": "Pending"}

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(validate_claim_spec(obj.get("spec") or {}, "spec"))

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        return (*self._validate(new), *_changes_refused(new, old))

    def validate_status(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        found = list(super().validate_status(new, old))
        capacity = field_of(new, "status", "capacity", default={})
        for name in capacity:
            found.extend(validate_positive(capacity[name], f"status.capacity[{name}]", zero=True))
        return tuple(found)


def validate_claim_spec(spec: Obj, path: str) -> Iterator[Cause]:
    """A claim's spec, in a claim or in a claim template."""
    modes = spec.get("accessModes") or ()
    if not modes:
        yield required(f"{path}.accessModes", "at least 1 access mode is required")
    yield from validate_access_modes(modes, f"{path}.accessModes")
    if selector := spec.get("selector"):
        yield from validate_label_selector(selector, f"{path}.selector")
    size = field_of(spec, "resources", "requests", "storage")
    if size is None:
        yield required(f"{path}.resources[storage]")
    else:
        yield from validate_positive(size, f"{path}.resources[storage]")
    if storage_class := spec.get("storageClassName"):
        for why in subdomain_errors(storage_class):
            yield invalid(f"{path}.storageClassName", storage_class, why)
    if (mode := spec.get("volumeMode")) is not None and mode not in VOLUME_MODES:
        yield not_supported(f"{path}.volumeMode", mode, VOLUME_MODES)
    for field in ("dataSource", "dataSourceRef"):
        if source := spec.get(field):
            yield from _validate_data_source(source, f"{path}.{field}")
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source and reference and source != reference:
        yield invalid(path, f"{path}.dataSource", "must match dataSourceRef")


def validate_access_modes(modes: Sequence[str], path: str) -> Iterator[Cause]:
    for mode in modes:
        if mode not in ACCESS_MODES:
            yield not_supported(path, mode, ACCESS_MODES)
    if "ReadWriteOncePod" in modes and len(set(modes)) > 1:
        yield forbidden(path, "may not use ReadWriteOncePod with other access modes")


def validate_positive(size: str, path: str, *, zero: bool = False) -> Iterator[Cause]:
    """A quantity above zero, or with `zero` at least that."""
    try:
        nanos = parse_quantity(size).nanos
    except QuantityError as error:
        yield invalid(path, size, str(error))
        return
    if zero and nanos < 0:
        yield invalid(path, size, "must be greater than or equal to 0")
    elif not zero and nanos <= 0:
        yield invalid(path, size, "must be greater than zero")


def _validate_data_source(source: Obj, path: str) -> Iterator[Cause]:
    for field in ("name", "kind"):
        if not source.get(field):
            yield required(f"{path}.{field}")
    if not source.get("apiGroup") and source.get("kind") != "PersistentVolumeClaim":
        why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        yield invalid(path, source.get("kind", ""), why)


def _changes_refused(new: Obj, old: Obj) -> Iterator[Cause]:
    before, after = dict(old.get("spec") or {}), dict(new.get("spec") or {})
    if not before.get("volumeName"):
        before["volumeName"] = after.get("volumeName")  # the binder says it, once
    if before.get("storageClassName") is None and CLASS_ANNOTATION not in annotations_of(old):
        before["storageClassName"] = after.get("storageClassName")  # a default class that came later
    size, wanted = (field_of(spec, "resources", "requests", "storage", default="0") for spec in (before, after))
    is_bound = field_of(old, "status", "phase") == "Bound"
    if is_bound:
        before["resources"] = _with_request(before.get("resources") or {}, wanted)
    if _set(before) != _set(after):
        yield forbidden("spec", CLAIM_FIXED)
        return
    capacity = field_of(old, "status", "capacity", "storage", default="0")
    try:
        shrinks = parse_quantity(wanted) < parse_quantity(size) and parse_quantity(wanted) <= parse_quantity(capacity)
    except QuantityError:
        return  # reported as such
    if is_bound and shrinks:
        yield forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")


def _with_request(resources: Obj, size: str) -> Obj:
    return {**resources, "requests": {**(resources.get("requests") or {}), "storage": size}}


def _set(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {field: value for field, value in spec.items() if value not in (None, "", [], {})} | {
        "storageClassName": spec.get("storageClassName")
    }


def class_of(obj: Obj) -> str:
    """The storage class of a volume or a claim, by annotation or field; empty: none."""
    return str(annotations_of(obj).get(CLASS_ANNOTATION) or field_of(obj, "spec", "storageClassName", default=""))


def modes_text(modes: Sequence[str]) -> str:
    return ",".join(dict.fromkeys(short for long, short in _SHORT_MODES.items() if long in modes))


def phase_cell(obj: Obj, now: datetime) -> str:
    return "Terminating" if is_deleting(obj) else str(field_of(obj, "status", "phase", default=""))


def _capacity_cell(claim: Obj, now: datetime) -> str:
    bound = field_of(claim, "spec", "volumeName")
    return str(field_of(claim, "status", "capacity", "storage", default="")) if bound else ""


def _modes_cell(claim: Obj, now: datetime) -> str:
    bound = field_of(claim, "spec", "volumeName")
    return modes_text(field_of(claim, "status", "accessModes", default=())) if bound else ""


KINDS: Mapping[GroupKind, Kind] = {
    GroupKind("", "PersistentVolumeClaim"): Kind(
        PersistentVolumeClaimStrategy(),
        (
            NAME,
            Column("Status", phase_cell),
            Column("Volume", field_cell("spec", "volumeName")),
            Column("Capacity", _capacity_cell),
            Column("Access Modes", _modes_cell),
            Column("StorageClass", lambda claim, now: class_of(claim)),
            Column("VolumeAttributesClass", field_cell("spec", "volumeAttributesClassName", default=UNSET)),
            AGE,
            Column("VolumeMode", field_cell("spec", "volumeMode", default=UNSET), wide=True),
        ),
    ),
}
