"""Replacements: a value of one object written into fields of others.

Upstream: kustomize api/filters/replacement.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.render.kustomize.resource import Built, copy_of
from reconciler.render.kustomize.select import selected

_PART = re.compile(r"\[[^\]]*\]|(?:\\.|[^.\[\\])+")
_QUERY = re.compile(r"\[([^=\]]+)=([^\]]*)\]")


def replace(built: Sequence[Built], wanted: Mapping[str, Any]) -> None:
    """Raises ValueError, saying which part does not fit."""
    source = dict(wanted.get("source") or {})
    options = source.pop("options", None) or {}
    path = source.pop("fieldPath", None) or "metadata.name"
    found = selected(built, source, patterns=False)
    if len(found) != 1:
        raise ValueError(f"the source fits {len(found)} objects, it must be one")
    values = _found(found[0].obj, _parts(path), create=False)
    if len(values) != 1:
        raise ValueError(f"the source has no field {path!r}")
    holder, key = values[0]
    value = _piece(holder[key], options)
    for target in wanted.get("targets") or ():
        _fill(built, value, target)


def _fill(built: Sequence[Built], value: Any, target: Mapping[str, Any]) -> None:
    if not isinstance(target.get("select"), Mapping):
        raise ValueError("a target needs select")
    rejected = [each for one in target.get("reject") or () for each in selected(built, one)]
    options = target.get("options") or {}
    for each in selected(built, target["select"]):
        if each in rejected:
            continue
        for path in target.get("fieldPaths") or ("metadata.name",):
            places = _found(each.obj, _parts(path), create=bool(options.get("create")))
            if not places:
                raise ValueError(f"{each.id.gvk.kind} {each.id.name} has no field {path!r}")
            before = each.id
            for holder, key in places:
                old = holder.get(key) if isinstance(holder, dict) else holder[key]
                holder[key] = _joined(old, value, options)
            if each.id != before:
                each.before.append(before)


def _piece(value: Any, options: Mapping[str, Any]) -> Any:
    delimiter = options.get("delimiter")
    if not delimiter:
        return value
    if isinstance(value, dict | list) or value is None:
        raise ValueError("a delimiter needs a source that is a plain value")
    parts, index = str(value).split(delimiter), int(options.get("index") or 0)
    if not 0 <= index < len(parts):
        raise ValueError(f"the source has no part {index}")
    return parts[index]


def _joined(old: Any, value: Any, options: Mapping[str, Any]) -> Any:
    delimiter = options.get("delimiter")
    if not delimiter:
        if isinstance(old, str) and not isinstance(value, str | dict | list):
            return str(value).lower() if isinstance(value, bool) else str(value)
        return copy_of(value)
    if not isinstance(old, str) or isinstance(value, dict | list):
        raise ValueError("a delimiter needs a target that is text")
    parts, index = old.split(delimiter), int(options.get("index") or 0)
    if index < 0:
        parts.insert(0, str(value))
    elif index >= len(parts):
        parts.append(str(value))
    else:
        parts[index] = str(value)
    return str(delimiter).join(parts)


def _parts(path: str) -> Sequence[str]:
    parts = [part if part.startswith("[") else re.sub(r"\\(.)", r"\1", part) for part in _PART.findall(path)]
    if not parts:
        raise ValueError(f"{path[:64]!r} is no field path")
    return [part[1:-1] if part.startswith("[") and "=" not in part else part for part in parts]


def _found(value: Any, parts: Sequence[str], *, create: bool) -> list[tuple[Any, Any]]:
    """The (collection, key) pairs that the path names."""
    head, rest = parts[0], parts[1:]
    keys: list[Any] = []
    if isinstance(value, list):
        query = _QUERY.fullmatch(head)
        if head == "*":
            keys = list(range(len(value)))
        elif query:
            keys = [
                index
                for index, item in enumerate(value)
                if (isinstance(item, dict) and str(item.get(query[1])) == query[2])
                or (query[1] == "." and item == query[2])
            ]
            if not keys and create:
                value.append({query[1]: query[2]})
                keys = [len(value) - 1]
        elif head.isdigit() and int(head) < len(value):
            keys = [int(head)]
    elif isinstance(value, dict):
        if head == "*":
            keys = list(value)
        elif head in value:
            keys = [head]
        elif create:
            if rest:
                value[head] = [] if _QUERY.fullmatch(rest[0]) else {}
            keys = [head]
    if not rest:
        return [(value, key) for key in keys]
    return [place for key in keys for place in _found(value[key], rest, create=create)]
