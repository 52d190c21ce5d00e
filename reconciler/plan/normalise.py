"""Declared objects made comparable: namespaces filled in, server-owned fields dropped, doubles refused.

Every fault is reported, each with its place; a faulty object is left out and stops no other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from operator import attrgetter
from typing import Any, NamedTuple

from cluster.machinery.objects import GroupKind, GroupVersionKind, Obj, field_of, meta_of
from reconciler.model import Manifest, Problem, Ref, manifest_of

Scopes = Mapping[GroupKind, bool]
"""Is a kind namespaced; a kind that is absent is not served."""

CLOSE = 0.75
"""How alike two kinds are (as difflib counts it) for one to be a slip for the other."""

_BY_PLACE = attrgetter("origin", "digest")
_SERVER_OWNED = frozenset(
    {"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "managedFields", "selfLink"}
)


@dataclass(frozen=True, slots=True)
class Normalised:
    """`refused` are whole objects that may not be applied, with why; their live counterparts are left alone."""

    manifests: Sequence[Manifest]
    refused: Sequence[tuple[Manifest, str]]


class Placements:
    """What each manifest became the last time: the same manifest, placed the same way, is the same value again."""

    def __init__(self) -> None:
        self._before: dict[int, _Placement] = {}
        self._now: dict[int, _Placement] = {}

    def begin(self) -> None:
        """What was not asked for since the last beginning is forgotten."""
        self._before, self._now = self._now, {}

    def place(self, manifest: Manifest, *, namespaced: bool, target_namespace: str) -> _Placement:
        known = self._before.get(id(manifest))
        if known is None or known.namespaced is not namespaced or known.target_namespace != target_namespace:
            obj, problem = _placed(manifest.obj, namespaced=namespaced, target_namespace=target_namespace)
            placed = manifest if obj is manifest.obj else manifest_of(obj, manifest.origin)
            known = _Placement(manifest, namespaced, target_namespace, placed, problem)
        self._now[id(manifest)] = known
        return known


class _Placement(NamedTuple):
    """Holds the manifest too, so that nothing else can get its identity."""

    manifest: Manifest
    namespaced: bool
    target_namespace: str
    placed: Manifest
    problem: str


def normalise(
    manifests: Iterable[Manifest], *, scopes: Scopes, target_namespace: str, placements: Placements | None = None
) -> Normalised:
    """Each object under its final name.  Kinds that a definition among `manifests` brings count as served.

    Of several that declare one object, the first by place is applied and the others are refused.
    """
    placements = placements or Placements()
    placements.begin()
    ordered = sorted(manifests, key=_BY_PLACE)
    known = {**scopes, **_defined_scopes(ordered)}
    first: dict[Ref, Manifest] = {}
    refused: list[tuple[Manifest, str]] = []
    served: dict[GroupVersionKind, bool | None] = {}
    for manifest in ordered:
        if manifest.gvk not in served:
            served[manifest.gvk] = known.get(manifest.gvk.group_kind)
        namespaced = served[manifest.gvk]
        if namespaced is None:
            gvk = manifest.gvk
            meant = suggestion_for(gvk.group_kind, known)
            refused.append((manifest, f'no matches for kind "{gvk.kind}" in version "{gvk.api_version}"{meant}'))
            continue
        _, _, _, placed, problem = placements.place(manifest, namespaced=namespaced, target_namespace=target_namespace)
        if problem:
            refused.append((manifest, problem))
            continue
        earlier = first.setdefault(placed.ref, placed)
        if earlier is not placed:
            refused.append((placed, f"already declared at {earlier.origin}"))
    return Normalised(tuple(first.values()), tuple(refused))


def suggestion_for(kind: GroupKind, served: Collection[GroupKind]) -> str:
    """What whoever wrote `kind` may have meant, to be put behind the fault; empty when nothing is near."""
    named = sorted(each for each in served if each.kind == kind.kind)
    if not named:
        kinds = sorted({each.kind for each in served})
        close = get_close_matches(kind.kind, kinds, n=1, cutoff=CLOSE)
        # Of one name in several groups, the written group is the nearest.
        named = sorted(
            (each for each in served if each.kind in close), key=lambda each: (each.group != kind.group, each)
        )
    if not named:
        return ""
    group = f"group {named[0].group}" if named[0].group else "the core group"
    return f": did you mean {named[0].kind} of {group}?"


def problems_of(normalised: Normalised) -> Sequence[Problem]:
    return [Problem(reason, manifest.origin, manifest.ref) for manifest, reason in normalised.refused]


def _defined_scopes(manifests: Sequence[Manifest]) -> dict[GroupKind, bool]:
    scopes: dict[GroupKind, bool] = {}
    for manifest in manifests:
        if manifest.gvk.kind == "CustomResourceDefinition" and manifest.gvk.group == "apiextensions.k8s.io":
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
