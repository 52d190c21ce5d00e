"""Which fields an object may have: naming unknown ones, dropping them, filling defaults.

All share structure: what does not change is the very same object.  Upstream: sigs.k8s.io/json's strict errors,
apiextensions-apiserver/pkg/apiserver/schema/{pruning,defaulting}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cluster.machinery.field_errors import child
from cluster.machinery.objects import Obj
from cluster.machinery.schema.node import SCALARS, Node


def unknown_fields(node: Node, obj: Obj) -> tuple[str, ...]:
    """The paths of fields the schema does not declare (`spec.containers[0].bar`), in document order."""
    found: list[str] = []
    _find_unknown(node, obj, "", found)
    return tuple(found)


def _find_unknown(node: Node, value: Any, path: str, found: list[str]) -> None:
    if isinstance(value, dict | Mapping):
        properties, additional = node.properties, node.additional
        if not properties and additional is None and (node.preserve_unknown or node.type != "object"):
            return
        for key, part in value.items():
            below = properties.get(key) or additional
            if below is None:
                if not node.preserve_unknown:
                    found.append(child(path, key))
            elif type(part) not in SCALARS:
                _find_unknown(below, part, child(path, key), found)
    elif isinstance(value, list | tuple) and node.items is not None:
        for index, item in enumerate(value):
            if type(item) not in SCALARS:
                _find_unknown(node.items, item, f"{path}[{index}]", found)


def prune(node: Node, obj: Obj) -> Obj:
    """`obj` without the fields the schema does not declare; `obj` itself when it has none."""
    pruned: Obj = _pruned(node, obj)
    return pruned


def _pruned(node: Node, value: Any) -> Any:
    if type(value) in SCALARS:
        return value
    if isinstance(value, dict | Mapping):
        properties, additional = node.properties, node.additional
        if not properties and additional is None and (node.preserve_unknown or node.type != "object"):
            return value
        changed: dict[str, Any] = {}
        dropped: list[str] = []
        for key, part in value.items():
            below = properties.get(key) or additional
            if below is None:
                if not node.preserve_unknown:
                    dropped.append(key)
            elif type(part) not in SCALARS:
                kept = _pruned(below, part)
                if kept is not part:
                    changed[key] = kept
        if not changed and not dropped:
            return value
        copy = {**value, **changed}
        for key in dropped:
            del copy[key]
        return copy
    if isinstance(value, list | tuple) and node.items is not None:
        items = [_pruned(node.items, item) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return value


_ZERO: Mapping[str, Any] = {"string": "", "boolean": False, "integer": 0, "number": 0}


def without_nulls(node: Node, obj: Obj) -> Obj:
    """`obj` as a Go server's typed decoder has it: a null field is absent, a null in a map or list is the zero value."""
    typed: Obj = _without_nulls(node, obj)
    return typed


def _without_nulls(node: Node, value: Any) -> Any:
    if isinstance(value, dict | Mapping):
        changed: dict[str, Any] = {}
        dropped: list[str] = []
        for key, part in value.items():
            if part is None:
                if key in node.properties:
                    dropped.append(key)
                elif node.additional is not None:
                    changed[key] = _zero_of(node.additional)
            elif type(part) not in SCALARS and (below := node.properties.get(key) or node.additional) is not None:
                kept = _without_nulls(below, part)
                if kept is not part:
                    changed[key] = kept
        if not changed and not dropped:
            return value
        return {key: changed.get(key, part) for key, part in value.items() if key not in dropped}
    if isinstance(value, list | tuple) and (below := node.items) is not None:
        items = [_zero_of(below) if item is None else _without_nulls(below, item) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return value


def _zero_of(node: Node) -> Any:
    if node.format == "quantity" or node.int_or_string:
        return 0
    return {} if node.type == "object" else [] if node.type == "array" else _ZERO.get(node.type)


def apply_defaults(node: Node, obj: Obj) -> Obj:
    """`obj` with the schema's defaults; a null where null is not allowed is defaulted, or dropped without a default."""
    defaulted: Obj = _defaulted(node, obj)
    return defaulted


def _defaulted(node: Node, value: Any) -> Any:
    if type(value) in SCALARS:
        return value
    if isinstance(value, dict | Mapping):
        changed: dict[str, Any] = {}
        dropped: list[str] = []
        for key, below in node.properties.items():
            if below.has_default and key not in value:
                changed[key] = _defaulted(below, below.default)
        for key, part in value.items():
            if (below_ := node.properties.get(key) or node.additional) is None:
                continue
            if part is None and not below_.nullable:
                if below_.has_default:
                    changed[key] = _defaulted(below_, below_.default)
                elif key in node.properties and not below_.preserve_unknown:
                    dropped.append(key)
            elif type(part) not in SCALARS:
                filled = _defaulted(below_, part)
                if filled is not part:
                    changed[key] = filled
        if not changed and not dropped:
            return value
        copy = {**value, **changed}
        for key in dropped:
            del copy[key]
        return copy
    if isinstance(value, list | tuple) and node.items is not None:
        items = [_defaulted(node.items, item) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return value
