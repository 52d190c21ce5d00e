"""Server-side apply: merge a manager's configuration into an object, field ownership deciding what conflicts and what goes.

Upstream: structured-merge-diff/merge (Updater.Apply), apimachinery/pkg/util/managedfields.  One schema serves all versions
of a kind here.  Deliberate difference: a null in the configuration states nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from cluster.machinery.errors import BadRequest, Cause, Conflict
from cluster.machinery.fieldsets import (
    MEMBER,
    SELF,
    FieldSet,
    difference,
    difference_below,
    intersection,
    is_member,
    paths,
    union,
)
from cluster.machinery.managed_fields import (
    APPLY,
    BEFORE_FIRST_APPLY,
    NEVER_OWNED,
    STRUCTS,
    UPDATE,
    ManagerId,
    cap_update_managers,
    entries_of,
    fields_of,
    id_of,
    make_entry,
    reset_fields_of,
    track_update,
    with_entries,
    without_fields,
)
from cluster.machinery.objects import Obj, annotations_of, gvk_of, key_of, meta_of, without_field
from cluster.machinery.ownership import (
    all_fields,
    child_of,
    difference_between,
    is_granular_list,
    is_granular_map,
    items_by_word,
    same_quantity,
    stated_fields,
    word_of_item,
)
from cluster.machinery.schema import ANYTHING, SCALARS, Node, unknown_fields

__all__ = ["apply", "track_update"]

DEPTH_MAX = 200
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def apply(
    live: Obj | None,
    applied: Obj,
    manager: str,
    node: Node,
    *,
    force: bool,
    now: str,
    api_version: str,
    subresource: str = "",
    reset: FieldSet | None = None,
) -> Obj:
    """The object after `manager` applies its whole configuration; `live` itself when nothing changes.

    `live` None creates.  `now` is an RFC 3339 instant.  Raises Conflict with a FieldManagerConflict cause for each field that
    another manager set to another value, unless `force` takes it; BadRequest for a configuration that carries managedFields,
    or does not fit the schema.
    """
    if meta_of(applied).get("managedFields") is not None:
        raise BadRequest("metadata.managedFields must be nil")
    config = _without_nulls(applied, 0)
    _refuse_misfits(node, config)
    ignored = union(NEVER_OWNED, reset_fields_of(subresource) if reset is None else reset)
    config = _without_set(config, reset_fields_of(subresource) if reset is None else reset)
    stated = difference(difference_below(stated_fields(node, config), ignored), {"f:metadata": MEMBER})
    who = ManagerId(manager, APPLY, "", subresource)
    entries = _entries_for_apply(live, node, now)
    mine = next((entry for entry in entries if id_of(entry) == who), None)
    others = [entry for entry in entries if id_of(entry) != who]
    bare = without_field(live, ("metadata", "managedFields")) if live is not None else {}

    result = _merged(node, bare, config)
    if mine is not None:
        owned = stated
        for entry in others:
            owned = union(owned, fields_of(entry))
        result = _pruned(node, result, difference_below(fields_of(mine), NEVER_OWNED), owned)
    delta = difference_between(node, bare, result)
    changed = difference_below(delta.changed, ignored)
    conflicts = [] if force else _conflicts(others, changed)
    if conflicts and not (manager == "kubectl" and live is not None and _are_own_earlier(live, node, conflicts)):
        raise _conflict_error(conflicts)
    removed = difference_below(delta.removed, ignored)
    kept = [rest for entry in others if (rest := without_fields(entry, changed, removed)) is not None]
    unchanged = live is not None and result == bare  # the order of a list counts, though nobody owns it
    if mine is not None and fields_of(mine) == stated and unchanged and mine.get("apiVersion") == api_version:
        kept.append(mine)
    elif stated:
        same = unchanged and mine is not None and fields_of(mine) == stated
        kept.append(make_entry(who, api_version, stated, mine.get("time", now) if same and mine is not None else now))
    if unchanged and live is not None and _same_entries(kept, entries_of(live)):
        return live
    return with_entries(result, cap_update_managers(kept))


def _entries_for_apply(live: Obj | None, node: Node, now: str) -> Sequence[Obj]:
    """The live entries; an object that has none is recorded as made by `before-first-apply`."""
    if live is None:
        return ()
    if entries := entries_of(live):
        return entries
    fields = difference_below(all_fields(node, live), NEVER_OWNED)
    fields = difference(fields, STRUCTS)
    fields = {word: below for word, below in fields.items() if word != SELF}
    version = str(live.get("apiVersion", ""))
    stamp = meta_of(live).get("creationTimestamp") or now
    return [make_entry(ManagerId(BEFORE_FIRST_APPLY, UPDATE, version, ""), version, fields, stamp)] if fields else ()


def _same_entries(a: Sequence[Obj], b: Sequence[Obj]) -> bool:
    return len(a) == len(b) and all(entry in b for entry in a)


def _refuse_misfits(node: Node, config: Obj) -> None:
    if unknown := unknown_fields(node, config):
        key, gvk = key_of(config), gvk_of(config)
        where = f"{key.namespace}/{key.name}; {gvk.api_version}, Kind={gvk.kind}"
        listed = ", ".join(f".{path}: field not declared in schema" for path in unknown)
        raise BadRequest(f"failed to create typed patch object ({where}): {listed}")
    _refuse_keyless(node, config, "")


def _refuse_keyless(node: Node, value: Any, path: str) -> None:
    if is_granular_map(node, value):
        for key, part in value.items():
            if type(part) not in SCALARS:
                _refuse_keyless(child_of(node, key), part, f"{path}.{key}")
    elif is_granular_list(node, value):
        words = [word_of_item(node, item) for item in value]
        if None in words:
            keys = ", ".join(node.list_map_keys)
            raise BadRequest(f"failed to create typed patch object: {path}: an item omits its key ({keys})")
        if len(set(words)) < len(words):
            raise BadRequest(f"failed to create typed patch object: {path}: duplicate entries for a key")
        for word, item in zip(words, value, strict=True):
            _refuse_keyless(node.items or ANYTHING, item, f"{path}[{word}]")


def _without_nulls(value: Any, depth: int) -> Any:
    if type(value) in SCALARS:
        return value
    if depth > DEPTH_MAX:
        raise BadRequest(f"the configuration is nested deeper than {DEPTH_MAX} levels")
    if isinstance(value, dict | Mapping):
        return {key: _without_nulls(part, depth + 1) for key, part in value.items() if part is not None}
    if isinstance(value, list | tuple):
        return [_without_nulls(item, depth + 1) for item in value]
    return value


def _without_set(obj: Obj, fields: FieldSet) -> Obj:
    """The object without the named fields of the set; lists are not entered."""
    for word, below in fields.items():
        name = word.removeprefix("f:")
        if name not in obj:
            continue
        if is_member(below):
            obj = {key: part for key, part in obj.items() if key != name}
        elif isinstance(obj[name], Mapping):
            obj = {**obj, name: _without_set(obj[name], below)}
    return obj


def _merged(node: Node, live: Any, config: Any) -> Any:
    """`live` with everything the configuration states; shared where they agree."""
    if live is config or live == config:
        return live
    if is_granular_map(node, config) and is_granular_map(node, live):
        changed: dict[str, Any] = {}
        for key, part in config.items():
            if key not in live:
                changed[key] = part
            elif (new := _merged(child_of(node, key), live[key], part)) is not live[key]:
                changed[key] = new
        return {**live, **changed} if changed else live
    if is_granular_list(node, config) and is_granular_list(node, live):
        live_items, config_items = items_by_word(node, live), items_by_word(node, config)
        if live_items is None or config_items is None:
            return config
        return _merged_lists(node.items or ANYTHING, live_items, config_items, live)
    if node.format == "quantity" and same_quantity(live, config):
        return live
    return config


def _merged_lists(node: Node, live: Mapping[str, Any], config: Mapping[str, Any], old: Any) -> Any:
    """The configuration's items in its order; an item only the server has stays before the one it stood before."""
    place = {word: index for index, word in enumerate(live)}
    others = [word for word in live if word not in config]
    result: list[Any] = []
    for word, item in config.items():
        while others and word in place and place[others[0]] < place[word]:
            result.append(live[others.pop(0)])
        result.append(_merged(node, live[word], item) if word in live else item)
    result += [live[word] for word in others]
    same = len(result) == len(old) and all(new is before for new, before in zip(result, old, strict=True))
    return old if same else result


def _pruned(node: Node, value: Any, last: FieldSet, owned: FieldSet) -> Any:
    """`value` without what was in the last configuration and is now owned by nobody."""
    if is_granular_map(node, value):
        gone: set[str] = set()
        changed: dict[str, Any] = {}
        for word, below in last.items():
            key = word[2:]
            if word == SELF or key not in value:
                continue
            held = owned.get(word)
            # A declared field stays while anything below it is owned; a map's key only while itself is.
            if held is None or (key not in node.properties and not is_member(held)):
                gone.add(key)
            elif below and (new := _pruned(child_of(node, key), value[key], below, held)) is not value[key]:
                changed[key] = new
        if not gone and not changed:
            return value
        return {key: changed.get(key, part) for key, part in value.items() if key not in gone}
    if is_granular_list(node, value) and (items := items_by_word(node, value)) is not None:
        kept: list[Any] = []
        for word, item in items.items():
            below_last, held = last.get(word), owned.get(word)
            if below_last is None:
                kept.append(item)
            elif held is not None and is_member(held):
                kept.append(_pruned(node.items or ANYTHING, item, below_last, held))
        same = len(kept) == len(value) and all(new is old for new, old in zip(kept, value, strict=True))
        return value if same else kept
    return value


def _conflicts(others: Sequence[Obj], changed: FieldSet) -> list[tuple[Obj, FieldSet]]:
    found = ((entry, intersection(fields_of(entry), changed)) for entry in others)
    return [(entry, fields) for entry, fields in found if fields]


def _are_own_earlier(live: Obj, node: Node, conflicts: Sequence[tuple[Obj, FieldSet]]) -> bool:
    """Whether kubectl, changing from client-side to server-side apply, meets only values it applied itself."""
    try:
        last = orjson.loads(annotations_of(live).get(LAST_APPLIED, ""))
    except orjson.JSONDecodeError:
        return False
    if not isinstance(last, dict):
        return False
    config = _without_nulls(last, 0)
    delta = difference_between(node, live, _merged(node, live, config))
    allowed = difference(stated_fields(node, config), delta.changed)
    return all(not difference(fields, allowed) for _, fields in conflicts)


def _conflict_error(conflicts: Sequence[tuple[Obj, FieldSet]]) -> Conflict:
    causes: list[Cause] = []
    listed: list[str] = []
    for entry, fields in sorted(conflicts, key=lambda conflict: id_of(conflict[0])):
        who = _manager_text(entry)
        named = list(paths(fields))
        causes += [Cause("FieldManagerConflict", f"conflict with {who}", path) for path in named]
        listed += [f"conflicts with {who}:", *(f"- {path}" for path in named)]
    if len(causes) == 1:
        text = f"Apply failed with 1 conflict: {causes[0].message}: {causes[0].field}"
    else:
        text = f"Apply failed with {len(causes)} conflicts: " + "\n".join(listed)
    return Conflict(text, causes=causes)


def _manager_text(entry: Obj) -> str:
    text = f'"{entry.get("manager", "")}"'
    if subresource := entry.get("subresource"):
        text += f' with subresource "{subresource}"'
    if entry.get("operation") == UPDATE:
        text += f" using {entry.get('apiVersion', '')}"
    return text
