"""PersistentVolume.  Upstream: pkg/apis/core/{v1/defaults,validation/validation}.go, pkg/registry/core/persistentvolume."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import forbidden, invalid, not_supported, required
from cluster.machinery.names import subdomain_errors
from cluster.machinery.objects import GroupKind, Obj, field_of
from cluster.resources.defaulting import filled
from cluster.resources.kind import Kind
from cluster.resources.pod_validation import validate_node_selector
from cluster.resources.printing import AGE, NAME, UNSET, Column, field_cell
from cluster.resources.strategy import GenericStrategy
from cluster.resources.volumes_claim import (
    VOLUME_MODES,
    class_of,
    modes_text,
    phase_cell,
    validate_access_modes,
    validate_positive,
)
from cluster.resources.workload import validate_immutable

RECLAIM_POLICIES = ("Delete", "Recycle", "Retain")
SOURCES: Mapping[str, tuple[str, ...]] = {
    "awsElasticBlockStore": ("volumeID",), "azureDisk": ("diskName", "diskURI"), "azureFile": ("secretName", "shareName"),
    "cephfs": ("monitors",), "cinder": ("volumeID",), "csi": ("driver", "volumeHandle"), "fc": (),
    "flexVolume": ("driver",), "flocker": (), "gcePersistentDisk": ("pdName",), "glusterfs": ("endpoints", "path"),
    "hostPath": ("path",), "iscsi": ("targetPortal", "iqn"), "local": ("path",), "nfs": ("server", "path"),
    "photonPersistentDisk": ("pdID",), "portworxVolume": ("volumeID",), "quobyte": ("registry", "volume"),
    "rbd": ("monitors", "image"), "scaleIO": ("gateway", "system", "volumeName"), "storageos": (),
    "vsphereVolume": ("volumePath",),
}  # fmt: skip
"""Every source of a volume, with what it cannot do without."""
SOURCE_FIXED = "spec.persistentvolumesource is immutable after creation"


class PersistentVolumeStrategy(GenericStrategy):
    namespaced = False
    has_status = True

    def default(self, obj: Obj) -> Obj:
        spec = filled(obj.get("spec") or {}, {"persistentVolumeReclaimPolicy": "Retain"}, {"volumeMode": "Filesystem"})
        if (host_path := spec.get("hostPath")) is not None:
            spec["hostPath"] = filled(host_path, absent={"type": ""})
        return {**obj, "spec": spec}

    def _first_status(self, obj: Obj) -> Any:
        return {"phase": "Pending"}

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(_validate_spec(obj.get("spec") or {}))

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        found = [*self._validate(new), *validate_immutable(new, old, "spec", "volumeMode")]
        before, after = ({name: field_of(obj, "spec", name) for name in SOURCES} for obj in (old, new))
        if before != after:
            found.append(forbidden("spec.persistentvolumesource", SOURCE_FIXED))
        if field_of(old, "spec", "nodeAffinity"):
            found.extend(validate_immutable(new, old, "spec", "nodeAffinity"))
        return tuple(found)


def _validate_spec(spec: Obj) -> Iterator[Cause]:
    modes, capacity = spec.get("accessModes") or (), spec.get("capacity") or {}
    if not modes:
        yield required("spec.accessModes")
    yield from validate_access_modes(modes, "spec.accessModes")
    if not capacity:
        yield required("spec.capacity")
    elif set(capacity) != {"storage"}:
        yield not_supported("spec.capacity", capacity, ("storage",))
    for name in capacity:
        yield from validate_positive(capacity[name], f"spec.capacity[{name}]")
    policy = spec.get("persistentVolumeReclaimPolicy", "")
    if policy not in RECLAIM_POLICIES:
        yield not_supported("spec.persistentVolumeReclaimPolicy", policy, RECLAIM_POLICIES)
    affinity = spec.get("nodeAffinity")
    if affinity is not None:
        if affinity.get("required") is None:
            yield required("spec.nodeAffinity.required", "must specify required node constraints")
        else:
            yield from validate_node_selector(affinity["required"], "spec.nodeAffinity.required")
    yield from _validate_source(spec)
    if name := spec.get("storageClassName"):
        for why in subdomain_errors(name):
            yield invalid("spec.storageClassName", name, why)
    if (mode := spec.get("volumeMode")) is not None and mode not in VOLUME_MODES:
        yield not_supported("spec.volumeMode", mode, VOLUME_MODES)


def _validate_source(spec: Obj) -> Iterator[Cause]:
    chosen = [name for name in SOURCES if spec.get(name) is not None]
    if not chosen:
        yield required("spec", "must specify a volume type")
        return
    for name in chosen[1:]:
        yield forbidden(f"spec.{name}", "may not specify more than 1 volume type")
    kind = chosen[0]
    source = spec[kind]
    for field in SOURCES[kind]:
        if not source.get(field):
            yield required(f"spec.{kind}.{field}")
    path = str(source.get("path") or "")
    if kind in ("hostPath", "local") and ".." in path.split("/"):
        yield invalid(f"spec.{kind}.path", path, "must not contain '..'")
    if kind == "local" and spec.get("nodeAffinity") is None:
        yield required("spec.nodeAffinity", "Local volume requires node affinity")
    if kind == "nfs" and path and not path.startswith("/"):
        yield invalid("spec.nfs.path", path, "must be an absolute path")
    if kind == "hostPath" and path == "/" and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        why = "may not be 'recycle' for a hostPath volume mapped to '/'"
        yield forbidden("spec.persistentVolumeReclaimPolicy", why)


def _claim_cell(volume: Obj, now: datetime) -> str:
    claim = field_of(volume, "spec", "claimRef")
    return f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else ""


KINDS: Mapping[GroupKind, Kind] = {
    GroupKind("", "PersistentVolume"): Kind(
        PersistentVolumeStrategy(),
        (
            NAME,
            Column("Capacity", field_cell("spec", "capacity", "storage")),
            Column("Access Modes", lambda volume, now: modes_text(field_of(volume, "spec", "accessModes", default=()))),
            Column("Reclaim Policy", field_cell("spec", "persistentVolumeReclaimPolicy")),
            Column("Status", phase_cell),
            Column("Claim", _claim_cell),
            Column("StorageClass", lambda volume, now: class_of(volume)),
            Column("VolumeAttributesClass", field_cell("spec", "volumeAttributesClassName", default=UNSET)),
            Column("Reason", field_cell("status", "reason")),
            AGE,
            Column("VolumeMode", field_cell("spec", "volumeMode", default=UNSET), wide=True),
        ),
    ),
}
