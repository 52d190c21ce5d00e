"""The simple JSONPath of CRDs: printer columns, selectable fields, scale paths.

Served: `.a.b`, `.*`, `['a.b']`, `[0]`, `[1:3]`, `[*]` and `[?(@.a=="x")]` (also `!=`, numbers, booleans), as upstream's
client-go/util/jsonpath reads them.  Anything else is refused when the CRD is checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from cluster.machinery.objects import Obj

PATH_MAX = 512
"""Longest path, in characters."""

_STEP = re.compile(
    r"""\.(?P<name>[A-Za-z0-9_\-/]+(?:\\\.[A-Za-z0-9_\-/]+)*)"""
    r"""|\[(?P<index>-?[0-9]+)\]"""
    r"""|\[(?P<slice>(?:-?[0-9]{1,9})?:(?:-?[0-9]{1,9})?)\]"""
    r"""|(?P<all>\[\*\]|\.\*)"""
    r"""|\[(?P<quote>['"])(?P<key>[^'"]+)(?P=quote)\]"""
    r"""|\[\?\(\s*@\.(?P<field>[A-Za-z0-9_\-.]+)\s*(?P<test>==|!=)\s*"""
    r"""(?:(?P<mark>['"])(?P<value>[^'"]*)(?P=mark)|(?P<plain>true|false|-?(?:0|[1-9][0-9]{0,14})))\s*\)\]"""
)

Step = Callable[[Any], Sequence[Any]]


class FieldPathError(ValueError):
    """The text is not a path that is served."""


def parse_field_path(text: str) -> Callable[[Obj], Sequence[Any]]:
    """A function from an object to the values at the path, in order.  Raises FieldPathError."""
    steps: list[Step] = []
    position = 0
    if not text.startswith((".", "[")) or len(text) > PATH_MAX:
        raise FieldPathError("must be a simple json path starting with a dot")
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None:
            raise FieldPathError(f"is not a supported json path at {text[position : position + 20]!r}")
        steps.append(_step_of(match))
        position = match.end()

    def find(obj: Obj) -> Sequence[Any]:
        values: Sequence[Any] = (obj,)
        for step in steps:
            values = [found for value in values for found in step(value)]
        return values

    return find


def plain_path(text: str) -> tuple[str, ...]:
    """The field names of a path without lists (`.spec.replicas`).  Raises FieldPathError for any other."""
    names = tuple(text.split("."))
    if len(names) < 2 or names[0] or not all(re.fullmatch(r"[A-Za-z0-9_\-]+", name) for name in names[1:]):
        raise FieldPathError("must be a json path of plain fields (e.g. .spec.replicas)")
    return names[1:]


def _step_of(match: re.Match[str]) -> Step:
    if match["all"]:
        return _every
    if match["slice"]:
        start, _, stop = match["slice"].partition(":")
        return _slice(int(start) if start else None, int(stop) if stop else None)
    if match["index"]:
        return _item(int(match["index"]))
    if match["field"]:
        wanted = match["value"] if match["plain"] is None else orjson.loads(match["plain"])
        return _chosen(tuple(match["field"].split(".")), wanted, negated=match["test"] == "!=")
    return _field(match["key"] or match["name"].replace("\\.", "."))


def _field(name: str) -> Step:
    return lambda value: (value[name],) if isinstance(value, Mapping) and value.get(name) is not None else ()


def _item(index: int) -> Step:
    return lambda value: (value[index],) if isinstance(value, list) and -len(value) <= index < len(value) else ()


def _every(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else tuple(value.values()) if isinstance(value, Mapping) else ()


def _slice(start: int | None, stop: int | None) -> Step:
    return lambda value: value[start:stop] if isinstance(value, list) else ()


def _chosen(path: tuple[str, ...], wanted: Any, *, negated: bool) -> Step:
    def matches(item: Any) -> bool:
        for name in path:
            item = item.get(name) if isinstance(item, Mapping) else None
        # A field that is absent equals nothing, and differs from nothing.
        return item is not None and (type(item) is type(wanted) and item == wanted) is not negated

    return lambda value: [item for item in value if matches(item)] if isinstance(value, list) else ()
