"""Objects as the wire has them: read-only dictionaries, the keys that name them, and how to change a copy.

An `Obj` is shared by everyone who read it: changing one means copying the path that changes (`with_field`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

Obj: TypeAlias = Mapping[str, Any]
"""A Kubernetes object, or a part of one, decoded from JSON.  Never mutated after it is built."""


class Key(NamedTuple):
    """What names an object within its resource; `namespace` is empty for cluster-scoped ones."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class GroupKind(NamedTuple):
    group: str
    kind: str

    def __str__(self) -> str:
        return f"{self.kind}.{self.group}" if self.group else self.kind


class GroupVersionKind(NamedTuple):
    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_kind(self) -> GroupKind:
        return GroupKind(self.group, self.kind)


def gvk_of(obj: Obj) -> GroupVersionKind:
    """The type an object says it is; missing parts are empty strings."""
    group, _, version = str(obj.get("apiVersion", "")).rpartition("/")
    return GroupVersionKind(group, version, str(obj.get("kind", "")))


def meta_of(obj: Obj) -> Obj:
    meta: Obj = obj.get("metadata") or {}
    return meta


def key_of(obj: Obj) -> Key:
    meta = meta_of(obj)
    return Key(meta.get("namespace", ""), meta.get("name", ""))


def name_of(obj: Obj) -> str:
    return str(meta_of(obj).get("name", ""))


def namespace_of(obj: Obj) -> str:
    return str(meta_of(obj).get("namespace", ""))


def uid_of(obj: Obj) -> str:
    return str(meta_of(obj).get("uid", ""))


def labels_of(obj: Obj) -> Mapping[str, str]:
    labels: Mapping[str, str] = meta_of(obj).get("labels") or {}
    return labels


def annotations_of(obj: Obj) -> Mapping[str, str]:
    annotations: Mapping[str, str] = meta_of(obj).get("annotations") or {}
    return annotations


def generation_of(obj: Obj) -> int:
    return int(meta_of(obj).get("generation", 0))


def resource_version_of(obj: Obj) -> str:
    return str(meta_of(obj).get("resourceVersion", ""))


def is_deleting(obj: Obj) -> bool:
    return bool(meta_of(obj).get("deletionTimestamp"))


def owner_references_of(obj: Obj) -> Sequence[Obj]:
    references: Sequence[Obj] = meta_of(obj).get("ownerReferences") or ()
    return references


def controller_of(obj: Obj) -> Obj | None:
    """The owner reference marked `controller`, if any."""
    return next((ref for ref in owner_references_of(obj) if ref.get("controller")), None)


def owner_reference_to(owner: Obj, *, controller: bool = True) -> dict[str, Any]:
    """The reference by which a dependent names `owner` (upstream: metav1.NewControllerRef)."""
    reference: dict[str, Any] = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name_of(owner),
        "uid": uid_of(owner),
    }
    if controller:
        reference |= {"controller": True, "blockOwnerDeletion": True}
    return reference


def field_of(obj: Obj, *path: str, default: Any = None) -> Any:
    """The value at `path` of nested mappings, or `default` where the path ends early or at null."""
    value: Any = obj
    for part in path:
        if not isinstance(value, Mapping):
            return default
        value = value.get(part)
        if value is None:
            return default
    return value


def with_field(obj: Obj, path: Sequence[str], value: Any) -> dict[str, Any]:
    """A copy of `obj` with `value` at `path`; only the mappings along the path are copied, missing ones are made."""
    copy = dict(obj)
    if len(path) == 1:
        copy[path[0]] = value
    else:
        copy[path[0]] = with_field(copy.get(path[0]) or {}, path[1:], value)
    return copy


def without_field(obj: Obj, path: Sequence[str]) -> Obj:
    """A copy of `obj` without the field at `path`; `obj` itself when it has no such field."""
    head, *rest = path
    if head not in obj:
        return obj
    if not rest:
        return {key: value for key, value in obj.items() if key != head}
    inner = obj[head]
    if not isinstance(inner, Mapping):
        return obj
    shorter = without_field(inner, rest)
    return obj if shorter is inner else {**obj, head: shorter}
