"""Whether a custom resource's OpenAPI schema is structural, so that it can be pruned, defaulted and published.

Upstream: apiextensions-apiserver/pkg/apiserver/schema/validation.go, pkg/apis/apiextensions/validation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cluster.machinery import field_errors as field
from cluster.machinery.errors import Cause
from cluster.machinery.objects import Obj
from cluster.machinery.regex import compile_pattern
from cluster.machinery.schema.compile import compile_part
from cluster.machinery.schema.fields import prune
from cluster.machinery.schema.validate import validate

DEPTH_MAX = 64
"""Deeper schemas are refused: no real one comes near, and checks recurse."""

TYPES = ("array", "boolean", "integer", "number", "object", "string")
LIST_TYPES = ("atomic", "set", "map")
MAP_TYPES = ("atomic", "granular")
_JUNCTORS = ("allOf", "anyOf", "oneOf")
_UNSUPPORTED = ("$ref", "definitions", "dependencies", "deprecated", "discriminator", "id", "patternProperties",
                "readOnly", "writeOnly", "xml", "additionalItems")  # fmt: skip
_NOT_IN_JUNCTORS = ("type", "description", "title", "default", "additionalProperties", "nullable",
                    "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource",
                    "x-kubernetes-int-or-string", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
                    "x-kubernetes-map-type", "x-kubernetes-validations")  # fmt: skip


def check_structural(schema: Obj, path: str = "spec.validation.openAPIV3Schema") -> tuple[Cause, ...]:
    """The rules the schema breaks; empty means `compile_structural` accepts it."""
    causes: list[Cause] = []
    kind = schema.get("type")
    if not kind:
        causes.append(field.required(f"{path}.type", "must not be empty at the root"))
    elif kind != "object":
        causes.append(field.invalid(f"{path}.type", kind, "must be object at the root"))
    _check(schema, path, causes, depth=0)
    metadata = (schema.get("properties") or {}).get("metadata")
    if isinstance(metadata, Mapping) and not set(metadata.get("properties") or ()) <= {"name", "generateName"}:
        why = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        causes.append(field.forbidden(f"{path}.properties[metadata]", why))
    if not causes:
        _check_defaults(schema, path, causes)
    return tuple(causes)


def has_rules(schema: Any) -> bool:
    """Whether there are `x-kubernetes-validations` anywhere in a schema."""
    if isinstance(schema, Mapping):
        return "x-kubernetes-validations" in schema or any(has_rules(part) for part in schema.values())
    return isinstance(schema, list) and any(has_rules(part) for part in schema)


def _check(schema: Obj, path: str, causes: list[Cause], *, depth: int) -> None:
    if depth > DEPTH_MAX:
        causes.append(field.forbidden(path, f"must not be nested deeper than {DEPTH_MAX} levels"))
        return
    _check_words(schema, path, causes)
    _check_extensions(schema, path, causes)
    _check_parts(schema, path, causes, depth)
    for word in _JUNCTORS:
        for index, part in enumerate(_listed(schema.get(word))):
            _check_junctor(part, schema, f"{path}.{word}[{index}]", causes, depth=depth + 1)
    if isinstance(part := schema.get("not"), Mapping):
        _check_junctor(part, schema, f"{path}.not", causes, depth=depth + 1)


def _check_words(schema: Obj, path: str, causes: list[Cause]) -> None:
    causes.extend(
        field.forbidden(f"{path}.{word}", f"{word} is not supported") for word in _UNSUPPORTED if word in schema
    )
    kind = schema.get("type")
    if kind and kind not in TYPES:
        causes.append(field.not_supported(f"{path}.type", kind, TYPES))
    if schema.get("uniqueItems"):
        why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        causes.append(field.forbidden(f"{path}.uniqueItems", why))
    if schema.get("additionalProperties") is False:
        causes.append(field.forbidden(f"{path}.additionalProperties", "additionalProperties cannot be set to false"))
    if schema.get("additionalProperties") and schema.get("properties"):
        why = "additionalProperties and properties are mutual exclusive"
        causes.append(field.forbidden(f"{path}.additionalProperties", why))
    if pattern := schema.get("pattern"):
        try:
            compile_pattern(str(pattern))
        except ValueError as error:
            why = f"must be a valid regular expression, but isn't: {error}"
            causes.append(field.invalid(f"{path}.pattern", pattern, why))


def _check_extensions(schema: Obj, path: str, causes: list[Cause]) -> None:
    kind = schema.get("type")
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        why = "must be true or undefined"
        causes.append(field.invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, why))
    if schema.get("x-kubernetes-int-or-string") and kind:
        causes.append(field.forbidden(f"{path}.type", "must be empty if x-kubernetes-int-or-string is true"))
    if schema.get("x-kubernetes-embedded-resource"):
        if kind != "object":
            causes.append(
                field.invalid(f"{path}.type", kind, "must be object if x-kubernetes-embedded-resource is true")
            )
        if not schema.get("properties") and not schema.get("x-kubernetes-preserve-unknown-fields"):
            why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
            causes.append(field.required(f"{path}.properties", why))
    list_type = schema.get("x-kubernetes-list-type")
    if list_type is not None:
        if list_type not in LIST_TYPES:
            causes.append(field.not_supported(f"{path}.x-kubernetes-list-type", list_type, LIST_TYPES))
        elif kind != "array":
            causes.append(field.invalid(f"{path}.type", kind, "must be array if x-kubernetes-list-type is specified"))
        else:
            _check_list_type(schema, str(list_type), path, causes)
    map_type = schema.get("x-kubernetes-map-type")
    if map_type is not None and map_type not in MAP_TYPES:
        causes.append(field.not_supported(f"{path}.x-kubernetes-map-type", map_type, MAP_TYPES))
    elif map_type is not None and kind != "object":
        causes.append(field.invalid(f"{path}.type", kind, "must be object if x-kubernetes-map-type is specified"))


def _check_list_type(schema: Obj, list_type: str, path: str, causes: list[Cause]) -> None:
    items = schema.get("items")
    if not isinstance(items, Mapping):
        return
    keys = _listed(schema.get("x-kubernetes-list-map-keys"))
    if list_type == "set":
        atomic = "atomic" in (items.get("x-kubernetes-list-type"), items.get("x-kubernetes-map-type"))
        if items.get("nullable"):
            causes.append(
                field.forbidden(f"{path}.items.nullable", "cannot be nullable when x-kubernetes-list-type is set")
            )
        if items.get("type") in ("object", "array") and not atomic:
            why = "set as x-kubernetes-list-type requires items of type object or array to be atomic"
            causes.append(field.invalid(f"{path}.items.type", items.get("type"), why))
    if list_type != "map":
        return
    if not keys:
        why = "must not be empty if x-kubernetes-list-type is map"
        causes.append(field.required(f"{path}.x-kubernetes-list-map-keys", why))
    if items.get("type") != "object":
        why = "must be object if parent array's x-kubernetes-list-type is map"
        causes.append(field.invalid(f"{path}.items.type", items.get("type"), why))
    properties = _mapped(items.get("properties"))
    for index, key in enumerate(keys):
        where = f"{path}.x-kubernetes-list-map-keys[{index}]"
        stated = properties.get(key)
        if not isinstance(stated, Mapping):
            causes.append(field.invalid(where, key, f"must be a property: {key}"))
        elif stated.get("type") in ("array", "object"):
            causes.append(
                field.invalid(f"{path}.items.properties[{key}].type", stated.get("type"), "must be a scalar type")
            )
        elif key not in _listed(items.get("required")) and "default" not in stated:
            why = "this property must have a default or be a required property"
            causes.append(field.required(f"{path}.items.properties[{key}].default", why))
    if len(set(map(str, keys))) < len(keys):
        causes.append(
            field.invalid(f"{path}.x-kubernetes-list-map-keys", list(keys), "must not contain duplicate entries")
        )


def _check_parts(schema: Obj, path: str, causes: list[Cause], depth: int) -> None:
    for name, part in sorted(_mapped(schema.get("properties")).items()):
        where = f"{path}.properties[{name}]"
        if _object_at(part, where, causes):
            _demand_type(part, where, "must not be empty for specified object fields", causes)
            _check(part, where, causes, depth=depth + 1)
    additional = schema.get("additionalProperties")
    if isinstance(additional, Mapping):
        where = f"{path}.additionalProperties"
        _demand_type(additional, where, "must not be empty for specified object fields", causes)
        _check(additional, where, causes, depth=depth + 1)
    items = schema.get("items")
    if isinstance(items, list):
        causes.append(field.forbidden(f"{path}.items", "items must be a schema object and not an array"))
    elif isinstance(items, Mapping):
        _demand_type(items, f"{path}.items", "must not be empty for specified array items", causes)
        _check(items, f"{path}.items", causes, depth=depth + 1)
    elif schema.get("type") == "array":
        causes.append(field.required(f"{path}.items", "must be specified"))


def _demand_type(schema: Obj, path: str, why: str, causes: list[Cause]) -> None:
    free = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if not schema.get("type") and not free:
        causes.append(field.required(f"{path}.type", why))


def _check_junctor(schema: Any, structure: Obj, path: str, causes: list[Cause], *, depth: int) -> None:
    """Inside allOf, anyOf, oneOf and not: only value rules, and only of fields the structure itself names."""
    if depth > DEPTH_MAX:
        causes.append(field.forbidden(path, f"must not be nested deeper than {DEPTH_MAX} levels"))
        return
    if not _object_at(schema, path, causes):
        return
    int_or_string = structure.get("x-kubernetes-int-or-string")
    causes.extend(
        field.forbidden(f"{path}.{word}", "must be empty to be structural")
        for word in _NOT_IN_JUNCTORS
        if word in schema and not (word == "type" and int_or_string)
    )
    known = _mapped(structure.get("properties"))
    for name, part in sorted(_mapped(schema.get("properties")).items()):
        where = f"{path}.properties[{name}]"
        if name not in known and not structure.get("x-kubernetes-preserve-unknown-fields"):
            stated = path.rpartition(".")[0]
            causes.append(field.required(f"{stated}.properties[{name}]", f"because it is defined in {where}"))
        else:
            _check_junctor(part, _mapped(known.get(name)), where, causes, depth=depth + 1)
    if "items" in schema:
        _check_junctor(schema["items"], _mapped(structure.get("items")), f"{path}.items", causes, depth=depth + 1)
    if pattern := schema.get("pattern"):
        try:
            compile_pattern(str(pattern))
        except ValueError as error:
            why = f"must be a valid regular expression, but isn't: {error}"
            causes.append(field.invalid(f"{path}.pattern", pattern, why))
    for word in _JUNCTORS:
        for index, part in enumerate(_listed(schema.get(word))):
            _check_junctor(part, structure, f"{path}.{word}[{index}]", causes, depth=depth + 1)
    if "not" in schema:
        _check_junctor(schema["not"], structure, f"{path}.not", causes, depth=depth + 1)


def _check_defaults(schema: Obj, path: str, causes: list[Cause]) -> None:
    """Every default passes its own schema and holds no unknown field."""
    if "default" in schema:
        node = compile_part(schema)
        default = schema["default"]
        if isinstance(default, Mapping) and prune(node, default) is not default:
            causes.append(field.invalid(f"{path}.default", default, "must not have unknown fields"))
        causes.extend(validate(node, default, f"{path}.default"))
    for name, part in sorted(_mapped(schema.get("properties")).items()):
        _check_defaults(part, f"{path}.properties[{name}]", causes)
    for word in ("items", "additionalProperties"):
        if isinstance(part := schema.get(word), Mapping):
            _check_defaults(part, f"{path}.{word}", causes)


def _object_at(schema: Any, path: str, causes: list[Cause]) -> bool:
    if isinstance(schema, Mapping):
        return True
    causes.append(field.type_invalid(path, schema, "must be a schema object"))
    return False


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapped(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
