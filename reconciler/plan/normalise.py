"""Declared objects made comparable: namespaces filled in, server-owned fields dropped, doubles refused.

Every fault is reported, each with its place; a faulty object is left out and stops no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.machinery.objects import GroupKind, Obj, field_of, meta_of
from reconciler.model import Manifest, Problem, Ref, manifest_of

Scopes = Mapping[GroupKind, bool]
"""Is a kind namespaced; a kind that is absent is not served."""

_SERVER_OWNED = frozenset(
    {"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "managedFields", "selfLink"}
)


@dataclass(frozen=True, slots=True)
class Normalised:
    """`refused` are whole objects that may not be applied, with why; their live counterparts are left alone."""

    manifests: Sequence[Manifest]
    refused: Sequence[tuple[Manifest, str]]


def normalise(manifests: Iterable[Manifest], *, scopes: Scopes, target_namespace: str) -> Normalised:
    """Each object under its final name.  Kinds that a definition among `manifests` brings count as served.

    Of several that declare one object, the first by place is applied and the others are refused.
    """
    ordered = sorted(manifests, key=lambda manifest: (manifest.origin, manifest.digest))
    known = {**scopes, **_defined_scopes(ordered)}
    first: dict[Ref, Manifest] = {}
    refused: list[tuple[Manifest, str]] = []
    for manifest in ordered:
        namespaced = known.get(manifest.gvk.group_kind)
        if namespaced is None:
            gvk = manifest.gvk
            refused.append((manifest, f'no matches for kind "{gvk.kind}" in version "{gvk.api_version}"'))
            continue
        obj, problem = _placed(manifest.obj, namespaced=namespaced, target_namespace=target_namespace)
        if problem:
            refused.append((manifest, problem))
            continue
        placed = manifest if obj is manifest.obj else manifest_of(obj, manifest.origin)
        earlier = first.setdefault(placed.ref, placed)
        if earlier is not placed:
            refused.append((placed, f"already declared at {earlier.origin}"))
    return Normalised(tuple(first.values()), tuple(refused))


def problems_of(normalised: Normalised) -> Sequence[Problem]:
    return [Problem(reason, manifest.origin, manifest.ref) for manifest, reason in normalised.refused]


def _defined_scopes(manifests: Sequence[Manifest]) -> dict[GroupKind, bool]:
    scopes: dict[GroupKind, bool] = {}
    for manifest in manifests:
        if manifest.gvk.group_kind == GroupKind("apiextensions.k8s.io", "CustomResourceDefinition"):
            spec = manifest.obj.get("spec")
            kind = field_of(manifest.obj, "spec", "names", "kind")
            if isinstance(spec, Mapping) and isinstance(kind, str):
                scopes[GroupKind(str(spec.get("group", "")), kind)] = spec.get("scope") == "Namespaced"
    return scopes


def _placed(obj: Obj, *, namespaced: bool, target_namespace: str) -> tuple[Obj, str]:
    """The object as it is applied, itself when nothing changes; or why it cannot be."""
    meta = meta_of(obj)
    kept: dict[str, Any] = {name: value for name, value in meta.items() if name not in _SERVER_OWNED}
    if not namespaced:
        kept.pop("namespace", None)
    elif not kept.get("namespace"):
        if not target_namespace:
            return obj, "it names no namespace and the application has no targetNamespace"
        kept["namespace"] = target_namespace
    if kept == meta and "status" not in obj:
        return obj, ""
    return {**{name: value for name, value in obj.items() if name != "status"}, "metadata": kept}, ""
