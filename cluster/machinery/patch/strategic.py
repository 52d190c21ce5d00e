"""Strategic merge patch: a merge patch that knows from the schema which lists merge, and by which key.

Upstream: apimachinery/pkg/util/strategicpatch (StrategicMergeMapPatch).  Directives: `$patch: merge|replace|delete` in an
object or a list item, `$retainKeys`, `$deleteFromPrimitiveList/F`, `$setElementOrder/F`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cluster.machinery.errors import BadRequest
from cluster.machinery.objects import Obj
from cluster.machinery.patch.merge import DEPTH_MAX
from cluster.machinery.schema import ANYTHING, Node

PATCH = "$patch"
RETAIN_KEYS = "$retainKeys"
DELETE_FROM = "$deleteFromPrimitiveList/"
SET_ORDER = "$setElementOrder/"

_DIRECTIVES = ("merge", "replace", "delete")


def strategic_merge(obj: Obj, patch: Any, node: Node) -> Obj:
    """`obj` with `patch` merged in as `node` says; directives never stay in the result.  Raises BadRequest."""
    if not isinstance(patch, Mapping):
        raise BadRequest("error decoding patch: a strategic merge patch is an object")
    return _merge_map(obj, patch, node, 0)


def _merge_map(obj: Obj, patch: Obj, node: Node, depth: int) -> dict[str, Any]:
    if depth > DEPTH_MAX:
        raise BadRequest(f"error decoding patch: nested deeper than {DEPTH_MAX} levels")
    match _directive_of(patch):
        case "delete":
            return {}
        case "replace":
            obj = {}
        case _:
            pass
    result = _retained(obj, patch)
    for key, part in patch.items():
        if key in (PATCH, RETAIN_KEYS) or key.startswith((DELETE_FROM, SET_ORDER)):
            continue
        if part is None:
            result.pop(key, None)
            continue
        below = node.properties.get(key) or node.additional or ANYTHING
        old = result.get(key)
        if isinstance(part, Mapping):
            replaces = not isinstance(old, Mapping) or "replace" in below.patch_strategy
            result[key] = _merge_map({} if replaces or old is None else old, part, below, depth + 1)
        elif isinstance(part, list | tuple) and "merge" in below.patch_strategy:
            base: Sequence[Any] = old if isinstance(old, list | tuple) else ()
            result[key] = _merge_list(base, part, below, key, depth + 1)
        else:
            result[key] = part
    for key, part in patch.items():
        if key.startswith(DELETE_FROM):
            name = key.removeprefix(DELETE_FROM)
            gone = _list_of(part, key)
            if name in result:
                result[name] = [item for item in result[name] if item not in gone]
        elif key.startswith(SET_ORDER):
            name = key.removeprefix(SET_ORDER)
            below = node.properties.get(name) or node.additional or ANYTHING
            if isinstance(result.get(name), list | tuple):
                order = _list_of(part, key)
                _refuse_contradiction(_list_of(patch.get(name) or [], name), order, below, key)
                old_list = obj.get(name)
                server = old_list if isinstance(old_list, list | tuple) else ()
                result[name] = _in_order(result[name], order, server, below, name)
    return result


def _directive_of(patch: Obj) -> str:
    directive = patch.get(PATCH, "merge")
    if directive not in _DIRECTIVES:
        raise BadRequest(f"error decoding patch: unknown $patch directive {str(directive)[:64]!r}")
    return str(directive)


def _retained(obj: Obj, patch: Obj) -> dict[str, Any]:
    """A copy of `obj` with only the keys that `$retainKeys` lists, if it is there."""
    if RETAIN_KEYS not in patch:
        return dict(obj)
    keep = _list_of(patch[RETAIN_KEYS], RETAIN_KEYS)
    for key, part in patch.items():
        if key not in keep and part is not None and not key.startswith("$"):
            raise BadRequest(f"error decoding patch: $retainKeys does not list {key!r}, which the patch sets")
    return {key: part for key, part in obj.items() if key in keep}


def _merge_list(old: Sequence[Any], patch: Sequence[Any], node: Node, name: str, depth: int) -> list[Any]:
    if not any(isinstance(item, Mapping) for item in (*patch, *old)):
        merged = list(old)
        merged += [item for index, item in enumerate(patch) if item not in old and item not in patch[:index]]
        return _in_order(merged, patch, old, node, name)
    key = node.merge_key
    if not key:
        raise BadRequest(f"error decoding patch: the list {name} has no merge key")
    below = node.items or ANYTHING
    replace = any(isinstance(item, Mapping) and item.get(PATCH) == "replace" for item in patch)
    deleted = [_key_in(item, key, name) for item in patch if _is_deletion(item)]
    kept: list[Any] = [] if replace else [item for item in old if _key_in(item, key, name) not in deleted]
    plain = [item for item in patch if not _is_deletion(item) and not (replace and _is_bare_replace(item))]
    places = {_place(_key_in(item, key, name)): index for index, item in enumerate(kept)}
    for item in plain:
        place = _place(_key_in(item, key, name))
        if place in places:
            kept[places[place]] = _merge_map(kept[places[place]], item, below, depth)
        else:
            places[place] = len(kept)
            kept.append(_merge_map({}, item, below, depth))
    return _in_order(kept, plain, old, node, name)


def _is_deletion(item: Any) -> bool:
    return isinstance(item, Mapping) and _directive_of(item) == "delete"


def _is_bare_replace(item: Any) -> bool:
    return isinstance(item, Mapping) and item.keys() == {PATCH}


def _key_in(item: Any, key: str, name: str) -> Any:
    if not isinstance(item, Mapping):
        raise BadRequest(f"error decoding patch: the list {name} mixes objects and plain values")
    if key not in item:
        raise BadRequest(f"error decoding patch: an item of {name} does not contain declared merge key: {key}")
    return item[key]


def _place(value: Any) -> str:
    """Merge keys are compared as text, as upstream does: 80 and "80" are the same port."""
    return str(value)


def _identity(node: Node, name: str) -> Callable[[Any], str]:
    key = node.merge_key
    return lambda item: _place(_key_in(item, key, name) if isinstance(item, Mapping) and key else item)


def _in_order(merged: Sequence[Any], wanted: Sequence[Any], server: Sequence[Any], node: Node, name: str) -> list[Any]:
    """`merged` with the items of `wanted` in that order, the others where the server had them among these."""
    identity = _identity(node, name)
    wanted_index: dict[str, int] = {}
    for index, item in enumerate(wanted):
        wanted_index.setdefault(identity(item), index)
    server_index: dict[str, int] = {}
    for index, item in enumerate(server):
        server_index.setdefault(identity(item), index)
    listed = sorted((i for i in merged if identity(i) in wanted_index), key=lambda i: wanted_index[identity(i)])
    others = [item for item in merged if identity(item) not in wanted_index]
    others.sort(key=lambda item: server_index.get(identity(item), len(server)))
    result: list[Any] = []
    for item in listed:
        place = server_index.get(identity(item))
        # A server-only item goes before the first listed item that the server has after it.
        while others and place is not None and server_index.get(identity(others[0]), len(server)) < place:
            result.append(others.pop(0))
        result.append(item)
    return result + others


def _refuse_contradiction(items: Sequence[Any], order: Sequence[Any], node: Node, directive: str) -> None:
    """The items a patch lists must all stand in its `$setElementOrder`, in the same order."""
    identity = _identity(node, directive)
    remaining = iter([identity(item) for item in order])
    for item in items:
        if _is_deletion(item) or _is_bare_replace(item):
            continue
        if identity(item) not in remaining:  # consumes up to the match: order counts
            raise BadRequest(f"error decoding patch: the order of the patch's list does not match {directive}")


def _list_of(value: Any, name: str) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise BadRequest(f"error decoding patch: {name} must be a list")
    return value
