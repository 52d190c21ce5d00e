"""Has somebody changed what we declared?  Compare the declared fields only, as the server holds them.

A field we never set is never drift.  After each apply the declared fields are read back from the server's answer and
their digest is kept (`Owned.projection`): defaults, canonical quantities and other rewording by the server are part of
it, so that a later difference means that somebody else wrote there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.machinery.objects import Obj, annotations_of, is_deleting, meta_of, uid_of
from reconciler.model import digest_of

FIELD_MANAGER = "reconciler"
PRUNE_ANNOTATION = "gitops.reconciler.io/prune"


@dataclass(frozen=True, slots=True)
class Live:
    """What a plan needs to know of an existing object.  `projection` is empty when nothing is declared for it."""

    uid: str
    projection: str = ""
    deleting: bool = False
    managed: bool = False  # our field manager wrote to it once
    keep: bool = False  # annotated never to be pruned


def live_of(obj: Obj, declared: Obj | None) -> Live:
    return Live(
        uid=uid_of(obj),
        projection=projection_of(declared, obj) if declared is not None else "",
        deleting=is_deleting(obj),
        managed=any(entry.get("manager") == FIELD_MANAGER for entry in meta_of(obj).get("managedFields") or ()),
        keep=annotations_of(obj).get(PRUNE_ANNOTATION) == "disabled",
    )


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
