"""The CEL types of custom resources: what their structural schemas declare, by the names that expressions use.

Upstream: apiserver/pkg/cel/{common/schemas.go,escaping.go}, apiextensions-apiserver/pkg/apiserver/schema/cel/model.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any

from cluster.machinery.cel import types as t
from cluster.machinery.cel.types import Field, Type
from cluster.machinery.cel.values import CelError, parse_duration, parse_timestamp
from cluster.machinery.schema import ANYTHING, Node

REQUEST_MAX_BYTES = 3 * 1024 * 1024
"""No list has more items than fit a request."""

_RESERVED = frozenset(
    ("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
     "loop", "package", "namespace", "return", "var", "void", "while")
)  # fmt: skip
_ESCAPED = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")

Convert = Callable[[Any], Any]


def escaped(name: str) -> str | None:
    """A property's name as expressions write it; None when they cannot."""
    if name in _RESERVED:
        return f"__{name}__"
    text = re.sub(r"__|[.\-/]", lambda match: _ESCAPED[match[0]], name)
    return text if _NAME.match(text) else None


def type_of_node(node: Node, name: str = "self") -> Type | None:
    """The type that a schema node declares; None when expressions cannot reach what is there.  `name` tells objects apart."""
    if node.int_or_string:
        return Type("dyn", bytes_min=1)
    match node.type:
        case "object":
            return _object(node, name)
        case "array":
            item = type_of_node(node.items, f"{name}.@idx") if node.items is not None else None
            if item is None:
                return None
            most = node.validations.max_items if node.validations is not None else None
            return Type(
                "list",
                (item,),
                size_max=REQUEST_MAX_BYTES / (item.bytes_min + 1) if most is None else most,
                list_type=node.list_type,
                list_keys=node.list_map_keys,
            )
        case "string":
            return _string(node)
        case "boolean":
            return Type("bool", bytes_min=4)
        case "integer":
            return Type("int", bytes_min=1)
        case "number":
            return Type("double", bytes_min=1)
        case _:
            return None


def conversion_of(node: Node) -> Convert | None:
    """How JSON at a node becomes a value of its type; None where it is one already."""
    if node.int_or_string:
        return None
    match node.type:
        case "number":
            return _double
        case "string":
            return _STRINGS.get(node.format)
        case "array" if node.items is not None:
            return _each(conversion_of(node.items))
        case "object" if node.additional is not None:
            return _each(conversion_of(node.additional))
        case _:
            return None


def _each(convert: Convert | None) -> Convert | None:
    """The conversion of every item or entry."""
    if convert is None:
        return None

    def convert_all(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [convert(item) for item in value]
        return {key: convert(part) for key, part in value.items()} if isinstance(value, Mapping) else value

    return convert_all


def type_of_resource(node: Node, name: str) -> Type:
    """The type of whole objects as policies see them: what no schema tells is dyn, and schemas may be recursive."""
    return _resource_part(node, name, {})


def _resource_part(node: Node, name: str, seen: dict[int, Type]) -> Type:
    match node.type:
        case "array" if node.items is not None:
            return t.list_of(_resource_part(node.items, f"{name}.@idx", seen))
        case "object" if node.additional is not None:
            return t.map_of(t.STRING, _resource_part(node.additional, f"{name}.@elem", seen))
        case "object" if node.properties and not node.preserve_unknown:
            if id(node) in seen:
                return seen[id(node)]
            fields: dict[str, Field] = {}
            made = seen[id(node)] = Type("object", name=name, fields=fields)
            for key, part in node.properties.items():
                if (known := escaped(key)) is not None:
                    fields[known] = Field(_resource_part(part, f"{name}.{key}", seen), key)
            return made
        case "string" | "boolean" | "integer" | "number" if not node.int_or_string and not node.format:
            return type_of_node(node) or t.DYN
        case _:
            return t.DYN


def _object(node: Node, name: str) -> Type | None:
    if node.additional is not None:
        value = type_of_node(node.additional, f"{name}.@elem") if node.additional is not ANYTHING else None
        if value is None:
            return None
        most = node.validations.max_properties if node.validations is not None else None
        limit = REQUEST_MAX_BYTES / (value.bytes_min + 6) if most is None else most
        return Type("map", (Type("string"), value), size_max=limit)
    fields: dict[str, Field] = {}
    size = 2
    for key, part in node.properties.items():
        if node.embedded_resource and key == "metadata":
            declared: Type | None = _METADATA
        else:
            declared = type_of_node(part, f"{name}.{key}")
        known = escaped(key)
        if declared is None or known is None:
            continue
        fields[known] = Field(declared, key, conversion_of(part))
        if key in node.required and not part.has_default:
            size += len(key) + declared.bytes_min + 4
    return Type("object", name=name, fields=fields, bytes_min=size)


_METADATA = Type(
    "object",
    name="metadata",
    fields={"name": Field(t.STRING, "name"), "generateName": Field(t.STRING, "generateName")},
)
"""All of metadata that rules of custom resources may look at."""


def _string(node: Node) -> Type:
    match node.format:
        case "byte":
            return t.BYTES
        case "duration":
            return t.DURATION
        case "date" | "date-time" | "datetime":
            return t.TIMESTAMP
        case _:
            return t.STRING


def _double(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _bytes(value: Any) -> Any:
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else value
    except (binascii.Error, ValueError):
        raise CelError("illegal base64 data") from None


_STRINGS: dict[str, Convert] = {
    "byte": _bytes,
    "duration": lambda value: parse_duration(value) if isinstance(value, str) else value,
    "date": lambda value: parse_timestamp(f"{value}T00:00:00Z") if isinstance(value, str) else value,
    "date-time": lambda value: parse_timestamp(value) if isinstance(value, str) else value,
    "datetime": lambda value: parse_timestamp(value) if isinstance(value, str) else value,
}
