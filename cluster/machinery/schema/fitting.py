"""Whether an object plainly fits its schema: one quick walk that spares nearly every request three careful ones.

Pure.  `types`, `fields.prune` and `fields.without_nulls` say what is wrong and mend it; this only says that there is nothing.
"""

from __future__ import annotations

from typing import Any

from cluster.machinery.objects import Obj
from cluster.machinery.schema.node import Node
from cluster.machinery.schema.types import fits_scalar


def fits(node: Node, obj: Obj) -> bool:
    """True only if every field is declared, every value of its type, and none is null: nothing to refuse, prune or drop.

    False says no more than that a careful look is needed.
    """
    if node.type != "object" or type(obj) is not dict:
        return False
    properties, additional = node.properties, node.additional
    if not properties and additional is None:
        return not obj or node.preserve_unknown
    for key, value in obj.items():
        below = properties.get(key) or additional
        if below is None:
            return False
        kind = type(value)
        if kind is str and below.type == "string" and not below.format:
            continue  # what most values are
        if kind is dict:
            if not fits(below, value):
                return False
        elif kind is list:
            if below.type != "array" or below.items is None or not _items_fit(below.items, value):
                return False
        elif value is None or not fits_scalar(below, value):
            return False
    return True


def _items_fit(node: Node, items: list[Any]) -> bool:
    if node.type == "string" and not node.format:
        return all(type(item) is str for item in items)
    return all(fits(node, item) for item in items)
