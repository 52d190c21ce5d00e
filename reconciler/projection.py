"""The declared fields of an object as the server holds them: what drift is measured by.  Pure.

Defaults, canonical quantities and other rewording by the server are part of the projection taken after an apply, so
that a later difference means that somebody else wrote to a field we declared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cluster.machinery.objects import Obj
from reconciler.model import digest_of

FIELD_MANAGER = "reconciler"


def projection_of(declared: Obj, live: Obj) -> str:
    """The digest of `live` restricted to the fields that `declared` sets."""
    fields = {name: value for name, value in declared.items() if name not in ("apiVersion", "kind")}
    if declared.get("kind") == "Secret" and isinstance(fields.get("stringData"), Mapping):
        # The server moves stringData into data, which is where a change would show.
        fields["data"] = {**(fields.get("data") or {}), **fields.pop("stringData")}
    return digest_of(_projected(fields, live))


def _projected(declared: Any, live: Any) -> Any:
    if isinstance(declared, Mapping) and isinstance(live, Mapping):
        return {name: _projected(value, live.get(name)) for name, value in declared.items()}
    if _is_list(declared) and _is_list(live):
        if all(isinstance(item, Mapping) and "name" in item for item in declared):
            by_name = {item["name"]: item for item in live if isinstance(item, Mapping) and _is_text(item.get("name"))}
            return [
                _projected(item, by_name.get(item["name"])) if _is_text(item["name"]) else live for item in declared
            ]
        if len(declared) == len(live):
            return [_projected(*pair) for pair in zip(declared, live, strict=True)]
    return live


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
