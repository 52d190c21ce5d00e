"""Merge patch (RFC 7386): objects merge, null removes, everything else replaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cluster.machinery.errors import BadRequest
from cluster.machinery.objects import Obj

DEPTH_MAX = 200
"""Deeper patches are refused; objects are never nested that far."""


def merge_patch(obj: Obj, patch: Any) -> Obj:
    """`obj` with `patch` merged in; `obj` itself when nothing changes.  Raises BadRequest unless the patch is an object."""
    if not isinstance(patch, Mapping):
        raise BadRequest("error decoding patch: a merge patch is an object")
    return _merged(obj, patch, 0)


def _merged(obj: Obj, patch: Obj, depth: int) -> Obj:
    if depth > DEPTH_MAX:
        raise BadRequest(f"error decoding patch: nested deeper than {DEPTH_MAX} levels")
    result: dict[str, Any] | None = None
    for key, part in patch.items():
        if part is None:
            if key in obj:
                result = dict(obj) if result is None else result
                del result[key]
            continue
        if isinstance(part, Mapping):
            old = obj.get(key)
            base = old if isinstance(old, Mapping) else {}
            new: Any = _merged(base, part, depth + 1)
            if new is base and base is old:
                continue
        elif key in obj and type(obj[key]) is type(part) and obj[key] == part:
            continue
        else:
            new = part
        result = dict(obj) if result is None else result
        result[key] = new
    return obj if result is None else result
