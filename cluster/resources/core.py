"""The core group's small kinds: Namespace, Node, ConfigMap, Secret, ServiceAccount.

Upstream: pkg/apis/core/{v1/defaults,validation/validation}.go, pkg/registry/core/*/strategy.go, pkg/printers/internalversion.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import orjson

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import duplicate, forbidden, invalid, not_supported, required, too_long
from cluster.machinery.names import config_key_errors, label_errors, label_value_errors, qualified_name_errors
from cluster.machinery.objects import (
    GroupKind,
    Obj,
    annotations_of,
    field_of,
    labels_of,
    name_of,
    with_field,
    without_field,
)
from cluster.resources.kind import Kind, text_at
from cluster.resources.pod_validation import TAINT_EFFECTS
from cluster.resources.printing import AGE, NAME, NONE, UNKNOWN, Column, field_cell
from cluster.resources.strategy import GenericStrategy, PlainStrategy, WriteContext

DATA_MAX_BYTES = 1024 * 1024
"""Upper bound of all values of a ConfigMap or Secret together (upstream MaxSecretSize)."""


class NamespaceStrategy(GenericStrategy):
    namespaced = False
    has_status = True

    def default(self, obj: Obj) -> Obj:
        name = name_of(obj)
        if not name or labels_of(obj).get("kubernetes.io/metadata.name") == name:
            return obj
        return with_field(obj, ("metadata", "labels"), {**labels_of(obj), "kubernetes.io/metadata.name": name})

    def prepare_create(self, obj: Obj, context: WriteContext) -> Obj:
        new = super().prepare_create(obj, context)
        finalizers = field_of(new, "spec", "finalizers", default=[])
        if "kubernetes" in finalizers:
            return new
        return with_field(new, ("spec", "finalizers"), [*finalizers, "kubernetes"])

    def prepare_update(self, new: Obj, old: Obj) -> Obj:
        prepared = super().prepare_update(new, old)
        # Only the finalize endpoint changes these; dropping one here would end a deletion early.
        return with_field(prepared, ("spec", "finalizers"), field_of(old, "spec", "finalizers", default=[]))

    def _name_check(self, name: str) -> tuple[str, ...]:
        return label_errors(name)

    def _first_status(self, obj: Obj) -> Any:
        return {"phase": "Active"}


def prepare_namespace_finalize(new: Obj, old: Obj) -> Obj:
    """What a write to a namespace's finalize endpoint stores: `old` with `new`'s metadata and spec.finalizers."""
    finalizers = field_of(new, "spec", "finalizers", default=[])
    return with_field({**old, "metadata": new["metadata"]}, ("spec", "finalizers"), finalizers)


class NodeStrategy(GenericStrategy):
    """A node's status is kept on create: the kubelet registers with it."""

    namespaced = False

    def default(self, obj: Obj) -> Obj:
        status = obj.get("status") or {}
        if status.get("capacity") and not status.get("allocatable"):
            return with_field(obj, ("status", "allocatable"), status["capacity"])
        return obj

    def prepare_update(self, new: Obj, old: Obj) -> Obj:
        prepared = dict(super().prepare_update(new, old))
        if "status" in old:
            prepared["status"] = old["status"]
        return prepared

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        found: list[Cause] = []
        seen: set[tuple[str, str]] = set()
        for index, taint in enumerate(field_of(obj, "spec", "taints", default=())):
            path = f"spec.taints[{index}]"
            key, effect = taint.get("key", ""), taint.get("effect", "")
            found.extend(invalid(f"{path}.key", key, why) for why in qualified_name_errors(key))
            found.extend(
                invalid(f"{path}.value", taint["value"], why) for why in label_value_errors(taint.get("value") or "")
            )
            if effect not in TAINT_EFFECTS:
                found.append(
                    not_supported(f"{path}.effect", effect, TAINT_EFFECTS) if effect else required(f"{path}.effect")
                )
            if (key, effect) in seen:
                found.append(duplicate(path, taint))
            seen.add((key, effect))
        return tuple(found)

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        found = list(self._validate(new))
        for field in ("podCIDR", "podCIDRs", "providerID"):
            before, after = field_of(old, "spec", field), field_of(new, "spec", field)
            if before and before != after:
                found.append(forbidden(f"spec.{field}", f'node updates may not change {field} except from "" to valid'))
        return tuple(found)


_ROLE_PREFIX = "node-role.kubernetes.io/"


def _node_status_cell(obj: Obj, now: datetime) -> str:
    ready = next((c for c in field_of(obj, "status", "conditions", default=()) if c.get("type") == "Ready"), None)
    words = ["Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"]
    if field_of(obj, "spec", "unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _node_roles_cell(obj: Obj, now: datetime) -> str:
    roles = {key.removeprefix(_ROLE_PREFIX) for key in labels_of(obj) if key.startswith(_ROLE_PREFIX)} - {""}
    if role := labels_of(obj).get("kubernetes.io/role"):
        roles.add(role)
    return ",".join(sorted(roles)) or NONE


def _node_address(kind: str) -> Any:
    def cell(obj: Obj, now: datetime) -> str:
        addresses = field_of(obj, "status", "addresses", default=())
        return next((str(a["address"]) for a in addresses if a.get("type") == kind and a.get("address")), NONE)

    return cell


def _node_info(field: str) -> Any:
    return field_cell("status", "nodeInfo", field, default=UNKNOWN)


NODE_COLUMNS = (
    NAME,
    Column("Status", _node_status_cell, description="The status of the node"),
    Column("Roles", _node_roles_cell, description="The roles of the node"),
    AGE,
    Column("Version", field_cell("status", "nodeInfo", "kubeletVersion"), description="Kubelet version of the node."),
    Column("Internal-IP", _node_address("InternalIP"), wide=True),
    Column("External-IP", _node_address("ExternalIP"), wide=True),
    Column("OS-Image", _node_info("osImage"), wide=True),
    Column("Kernel-Version", _node_info("kernelVersion"), wide=True),
    Column("Container-Runtime", _node_info("containerRuntimeVersion"), wide=True),
)


class _DataStrategy(GenericStrategy):
    """ConfigMap and Secret: named values, optionally frozen for good."""

    data_fields: tuple[str, ...] = ()
    encoded_fields: tuple[str, ...] = ()

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        found: list[Cause] = []
        size = 0
        seen: dict[str, str] = {}
        for field in self.data_fields:
            for key, value in (obj.get(field) or {}).items():
                path = f"{field}[{key}]"
                found.extend(invalid(path, key, why) for why in config_key_errors(key))
                first = seen.setdefault(key, field)
                if first != field:
                    found.append(invalid(path, key, f"duplicate of key present in {first}"))
                if field in self.encoded_fields:
                    decoded = decoded_size(value)
                    if decoded is None:
                        found.append(Cause("FieldValueInvalid", "Invalid value: illegal base64 data", path))
                    size += decoded or 0
                else:
                    size += len(value.encode())
        if size > DATA_MAX_BYTES:
            found.append(too_long("data" if len(self.data_fields) == 1 else "", DATA_MAX_BYTES))
        return tuple(found)

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        found = list(self._validate(new))
        if old.get("immutable"):
            why = "field is immutable when `immutable` is set"
            if not new.get("immutable"):
                found.append(forbidden("immutable", why))
            found.extend(
                forbidden(field, why) for field in self.data_fields if (new.get(field) or {}) != (old.get(field) or {})
            )
        return tuple(found)


def decoded_size(value: str) -> int | None:
    """The length in bytes of what base64 text holds; None when it is not base64."""
    try:
        return len(base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        return None


class ConfigMapStrategy(_DataStrategy):
    data_fields = ("data", "binaryData")
    encoded_fields = ("binaryData",)


SERVICE_ACCOUNT_TOKEN = "kubernetes.io/service-account-token"
_REQUIRED_KEYS: Mapping[str, tuple[str, ...]] = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_JSON_KEYS = frozenset({".dockercfg", ".dockerconfigjson"})


class SecretStrategy(_DataStrategy):
    """No message here ever quotes a value."""

    data_fields = ("data",)
    encoded_fields = ("data",)

    def default(self, obj: Obj) -> Obj:
        if not obj.get("type"):
            obj = {**obj, "type": "Opaque"}
        text = obj.get("stringData")
        if text:
            encoded = {key: base64.b64encode(value.encode()).decode() for key, value in text.items()}
            obj = {**obj, "data": {**(obj.get("data") or {}), **encoded}}
        return without_field(obj, ("stringData",))

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return (*super()._validate(obj), *self._validate_type(obj))

    def _validate_type(self, obj: Obj) -> Iterator[Cause]:
        kind, data = obj.get("type", ""), obj.get("data") or {}
        if kind == SERVICE_ACCOUNT_TOKEN:
            if not annotations_of(obj).get("kubernetes.io/service-account.name"):
                yield required("metadata.annotations[kubernetes.io/service-account.name]")
        elif kind == "kubernetes.io/basic-auth" and "username" not in data and "password" not in data:
            yield required("data[username]")
            yield required("data[password]")
        for key in _REQUIRED_KEYS.get(kind, ()):
            if key not in data:
                yield required(f"data[{key}]")
            elif key in _JSON_KEYS and not _is_json(data[key]):
                yield invalid(f"data[{key}]", "<secret contents redacted>", "invalid character in JSON")

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        found = super()._validate_update(new, old)
        if new.get("type") != old.get("type"):
            return (*found, invalid("type", new.get("type", ""), "field is immutable"))
        return found


def _is_json(encoded: str) -> bool:
    try:
        orjson.loads(base64.b64decode(encoded, validate=True))
    except (ValueError, orjson.JSONDecodeError):
        return False
    return True


def _count_cell(*fields: str) -> Any:
    return lambda obj, now: sum(len(obj.get(field) or ()) for field in fields)


_DATA = "Number of entries."


def _component_cell(field: str) -> Any:
    """What the condition `Healthy` of a component says."""

    def cell(obj: Obj, now: datetime) -> str:
        healthy: Obj = next((c for c in obj.get("conditions") or () if c.get("type") == "Healthy"), {})
        if field == "status":
            return "Healthy" if healthy.get("status") == "True" else "Unhealthy"
        return str(healthy.get(field, ""))

    return cell


KINDS: Mapping[GroupKind, Kind] = {
    GroupKind("", "ComponentStatus"): Kind(
        PlainStrategy(namespaced=False),
        (
            NAME,
            Column("Status", _component_cell("status")),
            Column("Message", _component_cell("message")),
            Column("Error", _component_cell("error")),
        ),
    ),
    GroupKind("", "Namespace"): Kind(
        NamespaceStrategy(),
        (NAME, Column("Status", field_cell("status", "phase"), description="The status of the namespace"), AGE),
        {"status.phase": text_at("status", "phase")},
    ),
    GroupKind("", "Node"): Kind(
        NodeStrategy(), NODE_COLUMNS, {"spec.unschedulable": text_at("spec", "unschedulable", default="false")}
    ),
    GroupKind("", "ConfigMap"): Kind(
        ConfigMapStrategy(),
        (NAME, Column("Data", _count_cell("data", "binaryData"), "integer", description=_DATA), AGE),
    ),
    GroupKind("", "Secret"): Kind(
        SecretStrategy(),
        (
            NAME,
            Column("Type", field_cell("type")),
            Column("Data", _count_cell("data"), "integer", description=_DATA),
            AGE,
        ),
        {"type": text_at("type")},
    ),
    GroupKind("", "ServiceAccount"): Kind(
        GenericStrategy(), (NAME, Column("Secrets", _count_cell("secrets"), "integer"), AGE)
    ),
}
