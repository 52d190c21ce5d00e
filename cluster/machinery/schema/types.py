"""JSON values whose type does not fit: what a Go server's decoder would refuse with 400, before any validation.

Upstream: encoding/json's UnmarshalTypeError as clients see it; null always fits, as it does in Go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cluster.machinery.objects import Obj
from cluster.machinery.schema.node import Node

QUANTITY_PATTERN = r"^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"
_QUANTITY = re.compile(
    r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?[0-9]{1,4})?\Z", re.ASCII
)
_RFC3339 = re.compile(
    r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])[Tt](?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d{1,9})?"
    r"(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)\Z",
    re.ASCII,
)
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\Z")
_BOUNDS = {"int32": 1 << 31, "int64": 1 << 63, "": 1 << 63}
_GO_TYPES = {"string": "string", "boolean": "bool", "number": "float64", "integer": "int64"}


def type_errors(node: Node, obj: Obj) -> tuple[str, ...]:
    """Each misfit, worded `json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`."""
    found: list[str] = []
    _check(node, obj, "", "", found)
    return tuple(found)


def fits_scalar(node: Node, value: str | float) -> bool:
    """Whether a string, number or boolean may stand there."""
    found: list[str] = []
    _check(node, value, "", "", found)
    return not found


def _check(node: Node, value: Any, struct: str, path: str, found: list[str]) -> None:
    kind = node.type
    if value is None or (type(value) is str and kind == "string" and not node.format):
        return  # what most values are
    match value:
        case str():
            _check_string(node, value, struct, path, found)
        case bool():
            if not (kind == "boolean" or _is_any(node)):
                found.append(_misfit(node, "bool", struct, path))
        case int() | float():
            _check_number(node, value, struct, path, found)
        case dict() | Mapping():
            if kind == "object":
                inside = node.name.rpartition(".")[2] if node.properties else struct
                for key, part in value.items():
                    below = node.properties.get(key) or node.additional
                    if below is not None:
                        _check(below, part, inside, f"{path}.{key}" if path and node.properties else path or key, found)
            elif not _is_any(node):
                found.append(_misfit(node, "object", struct, path))
        case list() | tuple():
            if kind == "array":
                if node.items is not None:
                    for item in value:
                        _check(node.items, item, struct, path, found)
            elif not _is_any(node):
                found.append(_misfit(node, "array", struct, path))


def _is_any(node: Node) -> bool:
    return node.type == "" and node.format != "quantity" and not node.int_or_string


def _check_string(node: Node, value: str, struct: str, path: str, found: list[str]) -> None:
    if node.type == "string":
        if node.format == "date-time" and not _RFC3339.match(value) and value:
            found.append(f'parsing time "{value[:64]}" as "2006-01-02T15:04:05Z07:00": cannot parse "{value[:64]}"')
        elif node.format == "byte" and not _BASE64.match(value.replace("\n", "").replace("\r", "")):
            found.append("illegal base64 data at input byte " + str(_first_bad_base64(value)))
    elif node.format == "quantity":
        if not _QUANTITY.match(value) and value:
            found.append(f"quantities must match the regular expression '{QUANTITY_PATTERN}'")
    elif not (node.int_or_string or _is_any(node)):
        found.append(_misfit(node, "string", struct, path))


def _check_number(node: Node, value: float, struct: str, path: str, found: list[str]) -> None:
    if node.type == "number" or node.format == "quantity" or _is_any(node):
        return
    if node.type == "integer" or node.int_or_string:
        bound = _BOUNDS["int32" if node.int_or_string else node.format]
        if isinstance(value, int) and -bound <= value < bound:
            return
        found.append(_misfit(node, f"number {value}", struct, path))
    else:
        found.append(_misfit(node, "number", struct, path))


def _first_bad_base64(value: str) -> int:
    good = re.match(r"[A-Za-z0-9+/\r\n]*", value)
    return good.end() if good else 0


def _misfit(node: Node, what: str, struct: str, path: str) -> str:
    if not struct:
        return f"json: cannot unmarshal {what} into Go value of type {_go_type(node)}"
    return f"json: cannot unmarshal {what} into Go struct field {struct}.{path} of type {_go_type(node)}"


def _go_type(node: Node) -> str:
    if node.int_or_string:
        return "int32"  # what the decoder of intstr.IntOrString names
    if node.format == "quantity":
        return "resource.Quantity"
    match node.type:
        case "integer":
            return node.format or "int64"
        case "array":
            return "[]" + (_go_type(node.items) if node.items else "interface {}")
        case "object":
            if node.additional is not None:
                return "map[string]" + _go_type(node.additional)
            return node.name or "map[string]interface {}"
        case kind:
            return _GO_TYPES.get(kind, "interface {}")
