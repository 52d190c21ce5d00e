"""metadata.managedFields: who last set which field, kept up to date as objects are written.

Upstream: apimachinery/pkg/util/managedfields.  Entries are plain JSON; an entry that a write does not touch is the same object
before and after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cluster.machinery.fieldsets import EMPTY, MEMBER, FieldSet, difference, difference_below, intersection, union
from cluster.machinery.objects import Obj, meta_of, without_field
from cluster.machinery.ownership import difference_between
from cluster.machinery.schema import Node

UPDATE_MANAGERS_MAX = 10
ANCIENT = "ancient-changes"
BEFORE_FIRST_APPLY = "before-first-apply"
APPLY = "Apply"
UPDATE = "Update"

_SYSTEM_METADATA: FieldSet = {
    f"f:{name}": MEMBER
    for name in ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "selfLink",
                 "managedFields", "deletionTimestamp", "deletionGracePeriodSeconds")
}  # fmt: skip

NEVER_OWNED: FieldSet = {"f:apiVersion": MEMBER, "f:kind": MEMBER, "f:metadata": _SYSTEM_METADATA}
"""System metadata: recorded for nobody."""

STRUCTS: FieldSet = {"f:metadata": MEMBER, "f:spec": MEMBER, "f:status": MEMBER}
"""Fields that always exist in upstream's Go types, so that nobody ever creates them."""

_RESET: Mapping[str, FieldSet] = {"": {"f:status": MEMBER}, "status": {"f:spec": MEMBER}}


class ManagerId(NamedTuple):
    """What makes two entries one: an Apply manager keeps its entry over versions, an Update manager does not."""

    manager: str
    operation: str
    api_version: str
    subresource: str


def entries_of(obj: Obj) -> Sequence[Obj]:
    entries: Sequence[Obj] = meta_of(obj).get("managedFields") or ()
    return entries


def id_of(entry: Obj) -> ManagerId:
    operation = entry.get("operation", "")
    version = "" if operation == APPLY else entry.get("apiVersion", "")
    return ManagerId(entry.get("manager", ""), operation, version, entry.get("subresource", ""))


def fields_of(entry: Obj) -> FieldSet:
    fields: FieldSet = entry.get("fieldsV1") or EMPTY
    return fields


def make_entry(who: ManagerId, api_version: str, fields: FieldSet, now: str) -> dict[str, Any]:
    entry = {
        "manager": who.manager,
        "operation": who.operation,
        "apiVersion": api_version,
        "time": now,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    if who.subresource:
        entry["subresource"] = who.subresource
    return entry


def with_entries(obj: Obj, entries: Sequence[Obj]) -> Obj:
    """`obj` with these managedFields, in upstream's order; without the field when there are none."""
    if not entries:
        return without_field(obj, ("metadata", "managedFields"))
    ordered = sorted(entries, key=_order)
    if ordered == list(entries_of(obj)):
        return obj
    return {**obj, "metadata": {**meta_of(obj), "managedFields": ordered}}


def _order(entry: Obj) -> tuple[str, str, str, str, str]:
    who = id_of(entry)
    return (who.operation, entry.get("time") or "", who.manager, entry.get("apiVersion", ""), who.subresource)


def reset_fields_of(subresource: str) -> FieldSet:
    """What a write through the subresource leaves alone: the main resource its status, `/status` its spec."""
    return _RESET.get(subresource, EMPTY)


def track_update(
    old: Obj | None,
    new: Obj,
    manager: str,
    node: Node,
    *,
    now: str,
    api_version: str,
    subresource: str = "",
    reset: FieldSet | None = None,
) -> Obj:
    """`new` with the managedFields that follow from `old` (None: a creation) by an Update of `manager`.

    The manager gains every field whose value differs, all others lose it.  `managedFields: [{}]` in `new` resets; absent
    or empty ones are taken from `old`; others are the client's own edit and are the base.  An object that has no entries
    stays untracked until its first apply.  `reset` overrides what the endpoint leaves alone (see `reset_fields_of`).
    """
    stated = entries_of(new)
    if old is not None and len(stated) == 1 and not stated[0]:
        return with_entries(new, ())
    base = entries_of(old) if old is not None else ()
    if stated and not subresource and stated != base and _are_entries(stated):
        base = stated
    if old is not None and not base:
        return with_entries(new, ())
    before = _without_metadata_noise(old) if old is not None else {"metadata": EMPTY}
    delta = difference_between(node, before, _without_metadata_noise(new))
    ignored = union(NEVER_OWNED, reset_fields_of(subresource) if reset is None else reset)
    changed = difference(difference_below(delta.changed, ignored), STRUCTS)
    removed = difference_below(delta.removed, ignored)
    if not changed and not removed:
        return with_entries(new, base)
    who = ManagerId(manager, UPDATE, api_version, subresource)
    entries: list[Obj] = []
    mine: Obj | None = None
    for entry in base:
        if id_of(entry) == who:
            mine = entry
        elif (kept := without_fields(entry, changed, removed)) is not None:
            entries.append(kept)
    own = difference_below(fields_of(mine) if mine is not None else EMPTY, removed)
    own = union(own, changed)
    if own:
        if mine is not None and fields_of(mine) == own:
            entries.append(mine)
        else:
            entries.append(make_entry(who, api_version, own, now))
    return with_entries(new, cap_update_managers(entries))


def without_fields(entry: Obj, changed: FieldSet, removed: FieldSet) -> Obj | None:
    """The entry of a manager after someone else's write; None when nothing is left, the entry itself when nothing is lost."""
    fields = fields_of(entry)
    rest = difference_below(difference(fields, intersection(fields, changed)), removed)
    if rest is fields or rest == fields:
        return entry
    return {**entry, "fieldsV1": rest} if rest else None


def cap_update_managers(entries: Sequence[Obj]) -> Sequence[Obj]:
    """At most UPDATE_MANAGERS_MAX Update entries: the oldest are merged into one called `ancient-changes` per version."""
    updates = sorted((entry for entry in entries if entry.get("operation") == UPDATE), key=_order)
    if len(updates) <= UPDATE_MANAGERS_MAX:
        return entries
    kept = [entry for entry in entries if entry.get("operation") != UPDATE]
    buckets = {entry["apiVersion"]: entry for entry in updates if entry.get("manager") == ANCIENT}
    others = [entry for entry in updates if entry.get("manager") != ANCIENT]
    while others and len(others) + len(buckets) > UPDATE_MANAGERS_MAX:
        oldest = others.pop(0)
        version = oldest.get("apiVersion", "")
        bucket = buckets.get(version)
        fields = union(fields_of(bucket), fields_of(oldest)) if bucket is not None else fields_of(oldest)
        buckets[version] = make_entry(
            ManagerId(ANCIENT, UPDATE, version, ""), version, fields, oldest.get("time") or ""
        )
    return [*kept, *(buckets[version] for version in sorted(buckets)), *others]


def _are_entries(entries: Sequence[Obj]) -> bool:
    """Whether a client's own managedFields can be kept: each entry complete, its fields a set."""
    return all(
        isinstance(entry, Mapping)
        and entry.get("operation") in (APPLY, UPDATE)
        and entry.get("fieldsType") == "FieldsV1"
        and isinstance(entry.get("fieldsV1"), Mapping)
        and is_field_set(entry["fieldsV1"])
        for entry in entries
    )


def is_field_set(fields: Any, depth: int = 0) -> bool:
    """Whether a client's FieldsV1 is well formed: nested objects, words of known kinds, at most 100 levels."""
    if not isinstance(fields, Mapping) or depth > 100:
        return False
    return all((word == "." or word[:2] in ("f:", "k:", "v:", "i:")) and is_field_set(below, depth + 1)
               for word, below in fields.items())  # fmt: skip


def _without_metadata_noise(obj: Obj) -> Obj:
    """The object without what is never owned and differs in every write."""
    meta = meta_of(obj)
    return {**obj, "metadata": {key: value for key, value in meta.items() if f"f:{key}" not in _SYSTEM_METADATA}}
