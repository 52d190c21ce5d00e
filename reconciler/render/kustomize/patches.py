"""Patches of a kustomization: strategic merges and JSON patches, by what they name or by target.

Upstream: kustomize api/internal/builtins/PatchTransformer.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cluster.machinery.errors import ApiError
from cluster.machinery.patch import json_patch
from reconciler.render.kustomize.merge import PATCH, merged
from reconciler.render.kustomize.resource import Built, Id, copy_of, gvk_of, with_id
from reconciler.render.kustomize.select import selected


def merge_by_name(built: list[Built], patch: Mapping[str, Any]) -> None:
    """A strategic merge into the one object the patch names.  Raises ValueError."""
    meta = patch.get("metadata")
    if not isinstance(meta, Mapping) or not meta.get("name") or not patch.get("kind"):
        raise ValueError("a patch without target must name its object: apiVersion, kind and metadata.name")
    wanted = Id(gvk_of(patch), str(meta.get("namespace") or ""), str(meta["name"]))
    found = with_id(built, wanted)
    if len(found) != 1:
        raise ValueError(f"{wanted.gvk.kind} {wanted.name}: the patch fits {len(found)} objects, it must be one")
    _merge(built, found[0], patch, {})


def patch_selected(
    built: list[Built], patches: Sequence[Any], target: Mapping[str, Any], options: Mapping[str, Any]
) -> None:
    """Each of `patches` (a mapping merges, a list is a JSON patch) for each object that fits.  Raises ValueError."""
    for each in selected(built, target):
        for patch in patches:
            if isinstance(patch, Mapping):
                _merge(built, each, patch, options)
            else:
                apply_operations(each, patch)


def apply_operations(each: Built, operations: Sequence[Any]) -> None:
    before = each.id
    try:
        each.obj = dict(json_patch(each.obj, operations))
    except ApiError as error:
        raise ValueError(f"{before.gvk.kind} {before.name}: {error}") from error
    _note_rename(each, before)


def _merge(built: list[Built], each: Built, patch: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    if patch.get(PATCH) == "delete":
        built.remove(each)
        return
    before = each.id
    made = merged(each.obj, copy_of(patch))
    made["apiVersion"] = each.obj["apiVersion"] if not options.get("allowKindChange") else made.get("apiVersion")
    made["kind"] = before.gvk.kind if not options.get("allowKindChange") else made.get("kind")
    each.obj = made
    if not options.get("allowNameChange"):
        each.meta["name"] = before.name
        if before.namespace:
            each.meta["namespace"] = before.namespace
        else:
            each.meta.pop("namespace", None)
    _note_rename(each, before)


def _note_rename(each: Built, before: Id) -> None:
    if each.id != before:
        each.before.append(before)
