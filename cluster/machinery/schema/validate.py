"""The value rules of custom resources, worded as upstream's validator words them.

Upstream: kube-openapi/pkg/validation/validate, apiextensions-apiserver/pkg/apiserver/validation.  CEL rules are checked
elsewhere.  `apiVersion`, `kind` and `metadata` of whole objects are not this module's: their types are checked, no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from cluster.machinery import field_errors as field
from cluster.machinery.errors import Cause
from cluster.machinery.schema.formats import matches_format
from cluster.machinery.schema.node import Node, Validations

CAUSES_MAX = 100
"""Checking stops after this many causes: an answer is read by people."""

ABSENT: Any = object()
"""No old value: the object is new, or this part of it has no counterpart in the old one."""


def validate(node: Node, obj: Any, path: str = "", *, old: Any = ABSENT) -> tuple[Cause, ...]:
    """What is wrong with `obj`, in document order, at most CAUSES_MAX.

    Given the `old` state, what is wrong in a part that did not change is let pass: a schema may have grown stricter since
    (KEP-4008).
    """
    causes: list[Cause] = []
    _validate(node, obj, path, causes, old)
    return tuple(causes[:CAUSES_MAX])


def counterpart(node: Node, item: Any, old: Any) -> Any:
    """The item of the `old` list with the same keys; ABSENT in lists whose items have no identity."""
    if node.list_type != "map" or not isinstance(old, list | tuple) or not isinstance(item, Mapping):
        return ABSENT
    key = _list_key(node, item)
    return next((other for other in old if isinstance(other, Mapping) and _list_key(node, other) == key), ABSENT)


def _validate(node: Node, value: Any, path: str, causes: list[Cause], old: Any) -> None:
    if len(causes) >= CAUSES_MAX:
        return
    if old is not ABSENT and type(old) is type(value) and old == value:
        return
    if value is None and node.nullable:
        return
    if not _fits(node, value):
        wanted = "integer or string" if node.int_or_string else node.type
        kind = _json_type(value)
        causes.append(field.type_invalid(path, kind, f'{path or "<nil>"} in body must be of type {wanted}: "{kind}"'))
        return
    if isinstance(value, dict | Mapping):
        _validate_object(node, value, path, causes, old)
    elif isinstance(value, list | tuple):
        _validate_array(node, value, path, causes, old)
    if node.validations is not None:
        _validate_values(node.validations, value, path, causes)
    if node.format and isinstance(value, str) and not matches_format(node.format, value):
        causes.append(
            field.invalid(path, value, f"{path} in body must be of type {node.format}: {field.quoted(value)}")
        )


def _validate_object(node: Node, value: Mapping[str, Any], path: str, causes: list[Cause], old: Any) -> None:
    before = old if isinstance(old, Mapping) and node.map_type != "atomic" else {}
    for name in node.required:
        if name not in value:
            causes.append(field.required(field.child(path, name)))
    if node.embedded_resource and path:
        # The root is one too, and has them.
        for name in ("apiVersion", "kind"):
            if not value.get(name):
                causes.append(field.required(field.child(path, name), "must not be empty"))
    for key, part in value.items():
        below = node.properties.get(key)
        if below is not None:
            _validate(below, part, field.child(path, key), causes, before.get(key, ABSENT))
        elif node.additional is not None:
            _validate(node.additional, part, field.child(path, key), causes, before.get(key, ABSENT))


def _validate_array(node: Node, value: Sequence[Any], path: str, causes: list[Cause], old: Any) -> None:
    if node.items is not None:
        for index, item in enumerate(value):
            _validate(node.items, item, f"{path}[{index}]", causes, counterpart(node, item, old))
    if node.list_type == "set":
        _refuse_duplicates([field.quoted(item) for item in value], value, path, causes)
    elif node.list_type == "map" and node.items is not None:
        keys = [_list_key(node, item) for item in value if isinstance(item, Mapping)]
        _refuse_duplicates([field.quoted(key) for key in keys], keys, path, causes)


def _list_key(node: Node, item: Mapping[str, Any]) -> dict[str, Any]:
    """The item's keys, with their defaults: an absent key is not the same as an empty one."""
    key = {}
    for name in node.list_map_keys:
        if name in item:
            key[name] = item[name]
        elif node.items is not None and (below := node.items.properties.get(name)) and below.has_default:
            key[name] = below.default
    return key


def _refuse_duplicates(texts: Sequence[str], values: Sequence[Any], path: str, causes: list[Cause]) -> None:
    seen: set[str] = set()
    for index, text in enumerate(texts):
        if text in seen:
            causes.append(field.duplicate(f"{path}[{index}]", values[index]))
        seen.add(text)


def _validate_values(rules: Validations, value: Any, path: str, causes: list[Cause]) -> None:
    if rules.enum is not None and not any(_same(value, choice) for choice in rules.enum):
        causes.append(field.not_supported(path, value, rules.enum))
    match value:
        case bool():
            pass
        case str():
            _validate_string(rules, value, path, causes)
        case int() | float():
            _validate_number(rules, value, path, causes)
        case list() | tuple():
            if rules.max_items is not None and len(value) > rules.max_items:
                causes.append(field.too_many(path, len(value), rules.max_items))
            if rules.min_items is not None and len(value) < rules.min_items:
                causes.append(
                    field.invalid(path, len(value), f"{path} in body should have at least {rules.min_items} items")
                )
            if rules.unique_items and len({field.quoted(item) for item in value}) < len(value):
                causes.append(field.invalid(path, value, f"{path} in body shouldn't contain duplicates"))
        case dict() | Mapping():
            if rules.max_properties is not None and len(value) > rules.max_properties:
                causes.append(field.too_many(path, len(value), rules.max_properties))
            if rules.min_properties is not None and len(value) < rules.min_properties:
                why = f"{path} in body should have at least {rules.min_properties} properties"
                causes.append(field.invalid(path, len(value), why))
        case _:
            pass
    _validate_junctors(rules, value, path, causes)


def _validate_string(rules: Validations, value: str, path: str, causes: list[Cause]) -> None:
    if rules.max_length is not None and len(value) > rules.max_length:
        causes.append(field.too_long(path, rules.max_length))
    if rules.min_length is not None and len(value) < rules.min_length:
        causes.append(field.invalid(path, value, f"{path} in body should be at least {rules.min_length} chars long"))
    if rules.pattern is not None and not rules.pattern.search(value):
        causes.append(field.invalid(path, value, f"{path} in body should match '{rules.pattern_text}'"))


def _validate_number(rules: Validations, value: float, path: str, causes: list[Cause]) -> None:
    if (most := rules.maximum) is not None:
        if rules.exclusive_maximum and value >= most:
            causes.append(field.invalid(path, value, f"{path} in body should be less than {most}"))
        elif value > most:
            causes.append(field.invalid(path, value, f"{path} in body should be less than or equal to {most}"))
    if (least := rules.minimum) is not None:
        if rules.exclusive_minimum and value <= least:
            causes.append(field.invalid(path, value, f"{path} in body should be greater than {least}"))
        elif value < least:
            causes.append(field.invalid(path, value, f"{path} in body should be greater than or equal to {least}"))
    if (factor := rules.multiple_of) and (value / factor) % 1 != 0:
        causes.append(field.invalid(path, value, f"{path} in body should be a multiple of {factor}"))


def _validate_junctors(rules: Validations, value: Any, path: str, causes: list[Cause]) -> None:
    where = path or "<nil>"
    for part in rules.all_of:
        if failures := validate(part, value, path):
            causes.append(field.invalid(path, "", f"{where} in body must validate all the schemas (allOf)"))
            causes.extend(failures)
    if rules.any_of:
        tried = [validate(part, value, path) for part in rules.any_of]
        if all(tried):
            causes.append(field.invalid(path, "", f"{where} in body must validate at least one schema (anyOf)"))
            causes.extend(_shortest(tried))
    if rules.one_of:
        tried = [validate(part, value, path) for part in rules.one_of]
        valid = sum(not failures for failures in tried)
        if valid != 1:
            found = f"Found {valid} valid alternatives" if valid else "Found none valid"
            why = f"{where} in body must validate one and only one schema (oneOf). {found}"
            causes.append(field.invalid(path, "", why))
            if not valid:
                causes.extend(_shortest(tried))
    if rules.not_ is not None and not validate(rules.not_, value, path):
        causes.append(field.invalid(path, "", f"{where} in body must not validate the schema (not)"))


def _shortest(tried: Sequence[tuple[Cause, ...]]) -> tuple[Cause, ...]:
    """The failures of the alternative that came closest."""
    return min(tried, key=lambda failures: len(failures))


def _fits(node: Node, value: Any) -> bool:
    if node.int_or_string:
        return isinstance(value, str | int) and not isinstance(value, bool)
    match node.type:
        case "":
            return True
        case "object":
            return isinstance(value, dict | Mapping)
        case "array":
            return isinstance(value, list | tuple)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return (isinstance(value, int) and not isinstance(value, bool)) or (
                isinstance(value, float) and value.is_integer()
            )
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case _:
            return True


def _json_type(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case int():
            return "integer"
        case float():
            return "number"
        case list() | tuple():
            return "array"
        case _:
            return "object"


def _same(value: Any, choice: Any) -> bool:
    if type(value) is type(choice):
        return bool(value == choice)
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS) == orjson.dumps(choice, option=orjson.OPT_SORT_KEYS)
