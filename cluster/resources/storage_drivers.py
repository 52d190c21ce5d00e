"""What storage drivers write about themselves: CSIDriver, CSINode, CSIStorageCapacity.

Upstream: pkg/apis/storage/{v1/defaults,validation/validation}.go, pkg/printers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import duplicate, invalid, not_supported, required, too_long
from cluster.machinery.names import qualified_name_errors, subdomain_errors
from cluster.machinery.objects import GroupKind, Obj, field_of
from cluster.machinery.quantity import QuantityError, parse_quantity
from cluster.resources.defaulting import filled
from cluster.resources.immutability import validate_immutable
from cluster.resources.kind import Kind
from cluster.resources.pod_validation import validate_label_selector
from cluster.resources.printing import AGE, NAME, UNSET, Column, field_cell
from cluster.resources.strategy import GenericStrategy

GROUP = "storage.k8s.io"
DRIVER_NAME_MAX = 63
NODE_ID_MAX_BYTES = 192
TOKEN_MIN_S = 600
TOKEN_MAX_S = 1 << 32
GROUP_POLICIES = ("ReadWriteOnceWithFSType", "File", "None")
LIFECYCLES = ("Persistent", "Ephemeral")
_DRIVER_FIELDS = {
    "attachRequired": True,
    "podInfoOnMount": False,
    "storageCapacity": False,
    "fsGroupPolicy": GROUP_POLICIES[0],
    "requiresRepublish": False,
    "seLinuxMount": False,
}


def validate_driver_name(name: str, path: str) -> Iterator[Cause]:
    """A driver's name, in any case.  Upstream: ValidateCSIDriverName."""
    if not name:
        yield required(path)
        return
    if len(name) > DRIVER_NAME_MAX:
        yield too_long(path, DRIVER_NAME_MAX)
    for why in subdomain_errors(name.lower()):
        yield invalid(path, name, why)


class CSIDriverStrategy(GenericStrategy):
    namespaced = False

    def default(self, obj: Obj) -> Obj:
        spec = filled(obj.get("spec") or {}, absent=_DRIVER_FIELDS)
        return {**obj, "spec": {**spec, "volumeLifecycleModes": spec.get("volumeLifecycleModes") or ["Persistent"]}}

    def _name_check(self, name: str) -> tuple[str, ...]:
        return tuple(cause.message for cause in validate_driver_name(name, ""))

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(_validate_driver(obj.get("spec") or {}))

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        fixed = validate_immutable(new, old, "spec.attachRequired", "spec.volumeLifecycleModes")
        return (*self._validate(new), *fixed)


def _validate_driver(spec: Obj) -> Iterator[Cause]:
    policy = spec.get("fsGroupPolicy")
    if policy not in GROUP_POLICIES:
        yield not_supported("spec.fsGroupPolicy", policy or "", GROUP_POLICIES)
    for mode in spec.get("volumeLifecycleModes") or ():
        if mode not in LIFECYCLES:
            yield not_supported("spec.volumeLifecycleModes", mode, LIFECYCLES)
    audiences: set[str] = set()
    for index, request in enumerate(spec.get("tokenRequests") or ()):
        at, audience = f"spec.tokenRequests[{index}]", request.get("audience") or ""
        if audience in audiences:
            yield duplicate(f"{at}.audience", audience)
        audiences.add(audience)
        lifetime_s = request.get("expirationSeconds")
        if lifetime_s is not None and lifetime_s < TOKEN_MIN_S:
            yield invalid(f"{at}.expirationSeconds", lifetime_s, "may not specify a duration less than 10 minutes")
        if lifetime_s is not None and lifetime_s > TOKEN_MAX_S:
            yield invalid(f"{at}.expirationSeconds", lifetime_s, "may not specify a duration larger than 2^32 seconds")


class CSINodeStrategy(GenericStrategy):
    namespaced = False

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(_validate_node_drivers(field_of(obj, "spec", "drivers", default=())))

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        before = {driver.get("name"): driver for driver in field_of(old, "spec", "drivers", default=())}
        drivers = field_of(new, "spec", "drivers", default=())
        changed = [driver for driver in drivers if before.get(driver.get("name"), driver) != driver]
        return (*self._validate(new), *(invalid("spec.drivers", driver, "field is immutable") for driver in changed))


def _validate_node_drivers(drivers: list[Obj] | tuple[Obj, ...]) -> Iterator[Cause]:
    names: set[str] = set()
    for index, driver in enumerate(drivers):
        at, name = f"spec.drivers[{index}]", driver.get("name") or ""
        yield from validate_driver_name(name, f"{at}.name")
        if name in names:
            yield duplicate(f"{at}.name", name)
        names.add(name)
        node_id = driver.get("nodeID") or ""
        if not node_id:
            yield required(f"{at}.nodeID")
        if len(node_id.encode()) > NODE_ID_MAX_BYTES:
            yield invalid(f"{at}.nodeID", node_id, f"must be {NODE_ID_MAX_BYTES} bytes or less")
        count = field_of(driver, "allocatable", "count")
        if count is not None and count < 0:
            yield invalid(f"{at}.allocatable.count", count, "must be greater than or equal to 0")
        for key in driver.get("topologyKeys") or ():
            if not key:
                yield required(f"{at}.topologyKeys")
            for why in qualified_name_errors(key) if key else ():
                yield invalid(f"{at}.topologyKeys", key, why)


class CSIStorageCapacityStrategy(GenericStrategy):
    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(_validate_capacity(obj))

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        return (*self._validate(new), *validate_immutable(new, old, "nodeTopology", "storageClassName"))


def _validate_capacity(obj: Obj) -> Iterator[Cause]:
    name = obj.get("storageClassName") or ""
    for why in subdomain_errors(name):
        yield invalid("storageClassName", name, why)
    if (topology := obj.get("nodeTopology")) is not None:
        yield from validate_label_selector(topology, "nodeTopology")
    for field in ("capacity", "maximumVolumeSize"):
        text = obj.get(field)
        if text is None:
            continue
        try:
            if parse_quantity(text).nanos < 0:
                yield invalid(field, text, "must be greater than or equal to 0")
        except QuantityError as error:
            yield invalid(field, text, str(error))


def _tokens_cell(obj: Obj, now: datetime) -> str:
    requests = field_of(obj, "spec", "tokenRequests", default=())
    return ",".join(str(request.get("audience", "")) for request in requests) if requests else UNSET


def _modes_cell(obj: Obj, now: datetime) -> str:
    return ",".join(field_of(obj, "spec", "volumeLifecycleModes", default=())) or "<none>"


def _drivers_cell(obj: Obj, now: datetime) -> int:
    return len(field_of(obj, "spec", "drivers", default=()))


KINDS: Mapping[GroupKind, Kind] = {
    GroupKind(GROUP, "CSIDriver"): Kind(
        CSIDriverStrategy(),
        (
            NAME,
            Column("AttachRequired", field_cell("spec", "attachRequired", default=True), "boolean"),
            Column("PodInfoOnMount", field_cell("spec", "podInfoOnMount", default=False), "boolean"),
            Column("StorageCapacity", field_cell("spec", "storageCapacity", default=False), "boolean"),
            Column("TokenRequests", _tokens_cell),
            Column("RequiresRepublish", field_cell("spec", "requiresRepublish", default=False), "boolean"),
            Column("Modes", _modes_cell),
            AGE,
        ),
    ),
    GroupKind(GROUP, "CSINode"): Kind(CSINodeStrategy(), (NAME, Column("Drivers", _drivers_cell, "integer"), AGE)),
    GroupKind(GROUP, "CSIStorageCapacity"): Kind(
        CSIStorageCapacityStrategy(),
        (NAME, Column("StorageClassName", field_cell("storageClassName")), Column("Capacity", field_cell("capacity"))),
    ),
}
