"""Strategic merge as kustomize does it.  Pure.

Differs from the API's own (cluster.machinery.patch): what a patch adds to a list comes first, kinds without a schema merge
as plain objects, and lists of several keys (ports by containerPort and protocol) use them all.  Upstream: kyaml/yaml/merge2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cluster.machinery.objects import GroupVersionKind
from cluster.machinery.schema import ANYTHING, Node
from cluster.resources.schemas import node_of
from reconciler.render.kustomize.resource import gvk_of

PATCH = "$patch"


def merged(obj: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """`obj` with `patch` merged in by the schema of its kind; neither is changed.  Raises ValueError."""
    try:
        node = node_of(GroupVersionKind(*gvk_of(obj)))
    except KeyError:
        node = ANYTHING
    return _map(obj, patch, node)


def _map(obj: Any, patch: Mapping[str, Any], node: Node) -> dict[str, Any]:
    directive = patch.get(PATCH, "merge")
    if directive not in ("merge", "replace", "delete"):
        raise ValueError(f"unknown $patch directive {str(directive)[:64]!r}")
    result = dict(obj) if isinstance(obj, Mapping) and directive != "replace" else {}
    for key, part in patch.items():
        if key == PATCH or key.startswith("$setElementOrder/"):
            continue
        if key.startswith("$"):
            raise ValueError(f"the directive {key[:64]!r} is not supported in a patch")
        below = node.properties.get(key) or node.additional or ANYTHING
        if part is None or (isinstance(part, Mapping) and part.get(PATCH) == "delete"):
            result.pop(key, None)
        elif isinstance(part, Mapping):
            result[key] = _map(result.get(key), part, below)
        elif isinstance(part, list):
            result[key] = _list(result.get(key), part, below)
        else:
            result[key] = part
    return result


def _list(old: Any, patch: Sequence[Any], node: Node) -> list[Any]:
    items: Sequence[Any] = old if isinstance(old, list) else ()
    if "merge" not in node.patch_strategy:
        return [_bare(item, node.items or ANYTHING) for item in patch]
    if not any(isinstance(item, Mapping) for item in (*patch, *items)):
        return [*(item for item in patch if item not in items), *items]
    if any(isinstance(item, Mapping) and item.get(PATCH) == "replace" for item in patch):
        items, patch = (), [item for item in patch if set(item) != {PATCH}]
    below = node.items or ANYTHING
    keys = _keys(node, (*patch, *items))
    kept = list(items)
    first: list[Any] = []  # in the patch's order; items of several keys stay where they were
    for item in patch:
        if not isinstance(item, Mapping):
            raise ValueError("a list mixes objects and plain values")
        place = _place(item, keys)
        index = next((index for index, each in enumerate(kept) if _place(each, keys) == place), None)
        if item.get(PATCH) == "delete":
            if index is not None:
                del kept[index]
        elif index is None:
            first.append(_map({}, item, below))
        elif len(keys) > 1:
            kept[index] = _map(kept[index], item, below)
        else:
            first.append(_map(kept.pop(index), item, below))
    return [*first, *kept]


def _keys(node: Node, items: Sequence[Any]) -> Sequence[str]:
    """The keys that name an item: all of the schema's that any item has."""
    wanted = node.list_map_keys or (node.merge_key,)
    return [key for key in wanted if any(isinstance(item, Mapping) and key in item for item in items)]


def _place(item: Any, keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(item.get(key, "")) for key in keys) if isinstance(item, Mapping) else (str(item),)


def _bare(item: Any, node: Node) -> Any:
    return _map({}, item, node) if isinstance(item, Mapping) else item
