"""What an object's fields are, as sets: all it states, and what differs between two of its states.

Lists of type map and set go by key and value, other lists and atomic maps are one field.  A list whose items lack their
keys, or repeat them, is one field too: validation lets some through.  Upstream: structured-merge-diff/typed (tofieldset.go,
compare.go).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from cluster.machinery.fieldsets import EMPTY, MEMBER, SELF, FieldSet
from cluster.machinery.quantity import QuantityError, parse_quantity
from cluster.machinery.schema import ANYTHING, SCALARS, Node

_KEY_DEFAULTS: Mapping[str, Any] = {"protocol": "TCP"}
"""The one default among the built-in kinds' list keys; their published schemas do not carry it."""


@dataclass(frozen=True, slots=True)
class Difference:
    """`changed`: fields that are new or have another value; `removed`: the topmost fields that are gone."""

    changed: FieldSet
    removed: FieldSet


def is_granular_map(node: Node, value: Any) -> bool:
    return isinstance(value, dict | Mapping) and node.map_type != "atomic"


def is_granular_list(node: Node, value: Any) -> bool:
    return isinstance(value, list | tuple) and node.list_type in ("map", "set") and node.items is not None


def child_of(node: Node, key: str) -> Node:
    return node.properties.get(key) or node.additional or ANYTHING


def word_of_item(node: Node, item: Any) -> str | None:
    """The word that names a list's item, `k:{...}` or `v:...`; None when the item lacks a key."""
    if node.list_type == "set":
        return "v:" + orjson.dumps(item, option=orjson.OPT_SORT_KEYS).decode()
    if not isinstance(item, dict | Mapping):
        return None
    if len(node.list_map_keys) == 1:
        name = node.list_map_keys[0]
        value = item.get(name)
        if type(value) is str:  # what nearly all items are named by
            return f'k:{{"{name}":{orjson.dumps(value).decode()}}}'
    keys = {}
    for name in node.list_map_keys:
        value = item.get(name)
        if value is None:
            below = node.items.properties.get(name) if node.items else None
            value = below.default if below is not None and below.has_default else _KEY_DEFAULTS.get(name)
            if value is None:
                return None
        keys[name] = value
    return "k:" + orjson.dumps(keys, option=orjson.OPT_SORT_KEYS).decode()


def items_by_word(node: Node, items: Sequence[Any]) -> dict[str, Any] | None:
    """The items under their words, in order; None when one lacks its key or two share one."""
    found: dict[str, Any] = {}
    for item in items:
        word = word_of_item(node, item)
        if word is None or word in found:
            return None
        found[word] = item
    return found


def stated_fields(node: Node, value: Any) -> FieldSet:
    """What an applied configuration owns: its leaves, list items, map keys and empty maps, but not the structs around them."""
    stated = _stated(node, value)
    return EMPTY if stated is None else stated


def _stated(node: Node, value: Any) -> FieldSet | None:
    """None where there is nothing to own."""
    if type(value) in SCALARS:
        return MEMBER
    if is_granular_map(node, value):
        children: dict[str, Any] = {}
        for key, part in value.items():
            below = _stated(child_of(node, key), part)
            if key not in node.properties:
                below = _as_member(below)
            if below is not None:
                children[f"f:{key}"] = below
        return children or (MEMBER if not value else None)
    if is_granular_list(node, value) and (found := items_by_word(node, value)) is not None:
        items = node.items or ANYTHING
        return {word: _as_member(_stated(items, item)) for word, item in found.items()} or None
    return MEMBER


def _as_member(node: FieldSet | None) -> FieldSet:
    if not node:
        return MEMBER
    return node if SELF in node else {SELF: MEMBER, **node}


def all_fields(node: Node, value: Any) -> FieldSet:
    """Every field of a value that was not there before, the structs around its leaves included."""
    if type(value) in SCALARS or not value:
        return MEMBER
    children: dict[str, Any] = {SELF: MEMBER}
    if is_granular_map(node, value):
        properties, additional = node.properties, node.additional or ANYTHING
        for key, part in value.items():
            if not part or type(part) in SCALARS:
                children["f:" + key] = MEMBER
            else:
                children["f:" + key] = all_fields(properties.get(key) or additional, part)
    elif is_granular_list(node, value) and (found := items_by_word(node, value)) is not None:
        items = node.items or ANYTHING
        for word, item in found.items():
            children[word] = all_fields(items, item)
    else:
        return MEMBER
    return children


def difference_between(node: Node, old: Mapping[str, Any], new: Mapping[str, Any]) -> Difference:
    """What happened to each field from `old` to `new`."""
    changed: dict[str, Any] = {}
    removed: dict[str, Any] = {}
    _compare_maps(node, old, new, changed, removed)
    return Difference(changed, removed)


def _compare_maps(
    node: Node, old: Mapping[str, Any], new: Mapping[str, Any], changed: dict[str, Any], removed: dict[str, Any]
) -> None:
    for key, part in new.items():
        if key not in old:
            changed[f"f:{key}"] = all_fields(child_of(node, key), part)
            continue
        before = old[key]
        if before is part or before == part:
            continue
        _compare(child_of(node, key), before, part, f"f:{key}", changed, removed)
    for key in old:
        if key not in new:
            removed[f"f:{key}"] = MEMBER


def _compare(node: Node, old: Any, new: Any, word: str, changed: dict[str, Any], removed: dict[str, Any]) -> None:
    """Two unequal values at one place."""
    changed_below: dict[str, Any] = {}
    removed_below: dict[str, Any] = {}
    if is_granular_map(node, old) and is_granular_map(node, new):
        _compare_maps(node, old, new, changed_below, removed_below)
    elif is_granular_list(node, old) and is_granular_list(node, new):
        old_items, new_items = items_by_word(node, old), items_by_word(node, new)
        if old_items is None or new_items is None:
            changed[word] = MEMBER
            return
        items = node.items or ANYTHING
        for item_word, item in new_items.items():
            if item_word not in old_items:
                changed_below[item_word] = all_fields(items, item)
            elif (before := old_items[item_word]) != item:
                _compare(items, before, item, item_word, changed_below, removed_below)
        for item_word in old_items:
            if item_word not in new_items:
                removed_below[item_word] = MEMBER
    elif node.format == "quantity" and same_quantity(old, new):
        return
    else:
        # A value of another shape: what was below it is gone, what is below it now is new.
        changed[word] = all_fields(node, new)
        return
    if changed_below:
        changed[word] = changed_below
    if removed_below:
        removed[word] = removed_below


def same_quantity(a: Any, b: Any) -> bool:
    try:
        return parse_quantity(a) == parse_quantity(b)
    except QuantityError:
        return False
