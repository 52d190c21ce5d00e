"""What must hold of `metadata`, on create and on update, whatever the kind.

Upstream: apimachinery/pkg/api/validation/objectmeta.go.  Server-owned fields (uid, creationTimestamp, deletionTimestamp,
resourceVersion, managedFields) are the registry's and are not looked at here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import forbidden, invalid, required
from cluster.machinery.names import annotations_causes, label_errors, labels_causes, qualified_name_errors
from cluster.machinery.objects import Obj

NameCheck: TypeAlias = Callable[[str], tuple[str, ...]]
"""A name to what is wrong with it, in upstream's words; empty when nothing is."""


_OMITTED_WHEN_EMPTY = ("labels", "annotations", "finalizers", "ownerReferences", "generateName")


def without_empty(meta: Obj) -> Obj:
    """`meta` without the optional parts that are empty or null: Go servers never write them, so clients never expect them."""
    empty = [name for name in _OMITTED_WHEN_EMPTY if name in meta and not meta[name]]
    return {name: value for name, value in meta.items() if name not in empty} if empty else meta


def validate_metadata(meta: Obj, *, namespaced: bool, name_check: NameCheck) -> tuple[Cause, ...]:
    found: list[Cause] = []
    if prefix := meta.get("generateName"):
        # The suffix makes a trailing dash whole, so the prefix is checked as if one were there.
        stem = prefix[:-1] + "a" if prefix.endswith("-") else prefix
        found.extend(invalid("metadata.generateName", prefix, why) for why in name_check(stem))
    name = meta.get("name", "")
    if not name:
        found.append(required("metadata.name", "name or generateName is required"))
    else:
        found.extend(invalid("metadata.name", name, why) for why in name_check(name))
    namespace = meta.get("namespace", "")
    if namespaced:
        if not namespace:
            found.append(required("metadata.namespace"))
        else:
            found.extend(invalid("metadata.namespace", namespace, why) for why in label_errors(namespace))
    elif namespace:
        found.append(forbidden("metadata.namespace", "not allowed on this type"))
    if labels := meta.get("labels"):
        found.extend(labels_causes(labels, "metadata.labels"))
    if annotations := meta.get("annotations"):
        found.extend(annotations_causes(annotations, "metadata.annotations"))
    if references := meta.get("ownerReferences"):
        found.extend(_validate_owner_references(references))
    for finalizer in meta.get("finalizers") or ():
        found.extend(_validate_finalizer(finalizer))
    return tuple(found)


_STANDARD_FINALIZERS = frozenset(
    {"kubernetes", "orphan", "foregroundDeletion", "customresourcecleanup.apiextensions.k8s.io"}
)


def _validate_finalizer(finalizer: str) -> tuple[Cause, ...]:
    path = "metadata.finalizers"
    if found := tuple(invalid(path, finalizer, why) for why in qualified_name_errors(finalizer)):
        return found
    if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
        return (invalid(path, finalizer, "name is neither a standard finalizer name nor is it fully qualified"),)
    return ()


def _validate_owner_references(references: list[Obj]) -> tuple[Cause, ...]:
    found: list[Cause] = []
    path = "metadata.ownerReferences"
    controller = ""
    for reference in references:
        api_version, kind = reference.get("apiVersion", ""), reference.get("kind", "")
        if not api_version.rpartition("/")[2]:
            found.append(invalid(f"{path}.apiVersion", api_version, "version must not be empty"))
        found.extend(
            invalid(f"{path}.{field}", reference.get(field, ""), "must not be empty")
            for field in ("kind", "name", "uid")
            if not reference.get(field)
        )
        if kind == "Event" and api_version in ("v1", "events.k8s.io/v1"):
            found.append(invalid(path, reference, f"{api_version}, Kind=Event is disallowed from being an owner"))
        if reference.get("controller"):
            if controller:
                why = (
                    'Only one reference can have Controller set to true. Found "true" in references for '
                    f"{controller} and {reference.get('name', '')}"
                )
                found.append(invalid(path, references, why))
            controller = reference.get("name", "")
    return tuple(found)


def validate_metadata_update(new: Obj, old: Obj) -> tuple[Cause, ...]:
    """What no update may change.  Finalizers of what is being deleted are the registry's to keep, for subresources too."""
    return tuple(
        invalid(f"metadata.{field}", new.get(field, ""), "field is immutable")
        for field in ("name", "namespace", "uid", "creationTimestamp")
        if new.get(field) != old.get(field)
    )
