"""Request bodies in Kubernetes' protobuf, decoded to the JSON form; nothing is ever encoded here.

A body is `k8s\\0` and a runtime.Unknown {typeMeta {apiVersion, kind}, raw}; `raw` is the message of that type.  What a field
number means comes from a table (see `FieldTable`) that is generated, not written.  Upstream: runtime/serializer/protobuf.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeAlias

import orjson

from cluster.machinery.errors import BadRequest
from cluster.machinery.timestamps import format_micro_time, format_time

MAGIC = b"k8s\x00"
CONTENT_TYPE = "application/vnd.kubernetes.protobuf"
DEPTH_MAX = 100

KEEP_ZERO = "0"
"""Field flag: a zero or empty value is meant (a pointer in Go, or a required field); otherwise it is absence."""
REPEATED = "r"
INLINED = "i"
"""Field flag: the message's fields stand among its parent's in JSON."""
MAP = "m"
"""Field flag: the field's type is an entry message, its fields 1 and 2 are key and value."""

FieldTable: TypeAlias = Mapping[str, Mapping[str, tuple[str, str, str]]]
"""Message name to field number (decimal text) to (JSON name, kind, flags).

Kinds: `string`, `bool`, `int`, `uint`, `double`, `bytes`, else a message's name.
Flags: any of KEEP_ZERO, REPEATED, INLINED, MAP.
"""

_META = "k8s.io.apimachinery.pkg.apis.meta.v1."
_APIEXTENSIONS = "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1."


@dataclass(frozen=True, slots=True)
class Schema:
    """A generated table: `kinds` leads from `apiVersion kind` (`apps/v1 Deployment`) to a message's name."""

    kinds: Mapping[str, str]
    fields: FieldTable


class Raw(NamedTuple):
    """One field as the wire has it: an integer for wire types 0, 1 and 5, bytes for type 2."""

    number: int
    wire_type: int
    value: int | bytes


def load_schema(compressed: bytes) -> Schema:
    """The table as `generate_protobuf` writes it: JSON, zlib-compressed."""
    content = orjson.loads(zlib.decompress(compressed))
    return Schema(content["kinds"], content["fields"])


def decode(body: bytes, schema: Schema) -> dict[str, Any]:
    """The object in its JSON form.  Raises BadRequest for malformed bytes and kinds the table does not have."""
    if not body.startswith(MAGIC):
        raise BadRequest("the body is not Kubernetes protobuf: it does not begin with k8s\\0")
    try:
        api_version = kind = ""
        raw = b""
        for number, _, value in fields_of(body[len(MAGIC) :]):
            if number == 1 and isinstance(value, bytes):
                meta = {field.number: field.value for field in fields_of(value)}
                api_version, kind = _text(meta.get(1, b"")), _text(meta.get(2, b""))
            elif number == 2 and isinstance(value, bytes):
                raw = value
        name = schema.kinds.get(f"{api_version} {kind}")
        if name is None and f"{_META}{kind}" in schema.fields:
            name = f"{_META}{kind}"  # option types are sent in whatever group version they go to
        if name is None:
            raise BadRequest(f'no kind "{kind[:64]}" is registered for version "{api_version[:64]}" in protobuf')
        made = _message(name, raw, schema.fields, 0)
    except (ValueError, IndexError, struct.error, OverflowError, UnicodeDecodeError) as error:
        raise BadRequest("the protobuf body is malformed") from error
    if not isinstance(made, dict):
        raise BadRequest("the protobuf body holds no object")
    return {"apiVersion": api_version, "kind": kind, **made}


def fields_of(data: bytes) -> Iterator[Raw]:
    """The fields of a message in order.  Raises ValueError or IndexError for malformed bytes."""
    position, end = 0, len(data)
    while position < end:
        tag, position = _varint(data, position)
        number, wire_type = tag >> 3, tag & 7
        value: int | bytes
        match wire_type:
            case 0:
                value, position = _varint(data, position)
            case 1:
                value, position = int.from_bytes(_slice(data, position, 8), "little"), position + 8
            case 2:
                size, position = _varint(data, position)
                value, position = _slice(data, position, size), position + size
            case 5:
                value, position = int.from_bytes(_slice(data, position, 4), "little"), position + 4
            case _:
                raise ValueError(f"wire type {wire_type} is not supported")
        yield Raw(number, wire_type, value)


def _varint(data: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & 0xFFFFFFFFFFFFFFFF, position
        shift += 7
        if shift > 63:
            raise ValueError("varint is too long")


def _slice(data: bytes, position: int, size: int) -> bytes:
    if size > len(data) - position:
        raise ValueError("field is cut off")
    return data[position : position + size]


def _message(name: str, data: bytes, table: FieldTable, depth: int) -> Any:
    if depth > DEPTH_MAX:
        raise ValueError("nested too deep")
    if (special := _SPECIAL.get(name)) is not None:
        return special(data, table, depth)
    fields = table[name]
    made: dict[str, Any] = {}
    for number, wire_type, value in fields_of(data):
        field = fields.get(str(number))
        if field is None:
            continue  # a field newer than the table: dropped, as an unknown one
        json_name, kind, flags = field
        if MAP in flags:
            key, item = _entry(kind, value, table, depth)
            made.setdefault(json_name, {})[key] = item
        elif REPEATED in flags:
            made.setdefault(json_name, []).extend(_items(kind, wire_type, value, table, depth))
        elif INLINED in flags:
            made.update(_message(kind, _bytes(value), table, depth + 1))
        else:
            item = _value(kind, value, table, depth)
            if item is None or (not item and not isinstance(item, dict | list) and KEEP_ZERO not in flags):
                continue
            made[json_name] = item
    return made


def _entry(kind: str, value: int | bytes, table: FieldTable, depth: int) -> tuple[str, Any]:
    fields = table[kind]
    key: Any = ""
    item: Any = None
    for number, _, part in fields_of(_bytes(value)):
        if number == 1:
            key = _value(fields["1"][1], part, table, depth)
        elif number == 2:
            item = _value(fields["2"][1], part, table, depth)
    if item is None:
        item = {"string": "", "bytes": ""}.get(fields["2"][1], {})
    return str(key), item


def _items(kind: str, wire_type: int, value: int | bytes, table: FieldTable, depth: int) -> list[Any]:
    if wire_type == 2 and isinstance(value, bytes) and kind in ("int", "uint", "bool"):
        packed: list[Any] = []
        position = 0
        while position < len(value):
            number, position = _varint(value, position)
            packed.append(_value(kind, number, table, depth))
        return packed
    return [_value(kind, value, table, depth)]


def _value(kind: str, value: int | bytes, table: FieldTable, depth: int) -> Any:
    match kind:
        case "string":
            return _text(value)
        case "bool":
            return bool(_int(value))
        case "int":
            number = _int(value)
            return number - (1 << 64) if number >> 63 else number
        case "uint":
            return _int(value)
        case "double":
            (number_,) = struct.unpack("<d", _int(value).to_bytes(8, "little"))
            return number_
        case "bytes":
            return base64.b64encode(_bytes(value)).decode()
        case _:
            return _message(kind, _bytes(value), table, depth + 1)


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a message or text is sent as a number")
    return value


def _int(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("a number is sent as bytes")
    return value


def _text(value: int | bytes) -> str:
    return _bytes(value).decode()


def _quantity(data: bytes, table: FieldTable, depth: int) -> Any:
    return next((_text(value) for number, _, value in fields_of(data) if number == 1), "0") or "0"


def _int_or_string(data: bytes, table: FieldTable, depth: int) -> Any:
    found = {field.number: field.value for field in fields_of(data)}
    return _text(found.get(3, b"")) if found.get(1) else _value("int", found.get(2, 0), table, depth)


def _instant(data: bytes) -> datetime | None:
    found = {field.number: field.value for field in fields_of(data)}
    if not data:
        return None
    seconds, nanos = _value("int", found.get(1, 0), {}, 0), _value("int", found.get(2, 0), {}, 0)
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds, microseconds=nanos // 1000)


def _time(data: bytes, table: FieldTable, depth: int) -> Any:
    at = _instant(data)
    return format_time(at) if at is not None else None


def _micro_time(data: bytes, table: FieldTable, depth: int) -> Any:
    at = _instant(data)
    return format_micro_time(at) if at is not None else None


def _json(data: bytes, table: FieldTable, depth: int) -> Any:
    raw = next((_bytes(value) for number, _, value in fields_of(data) if number == 1), b"")
    return orjson.loads(raw) if raw else None


def _either(*alternatives: str) -> Any:
    """A Go union whose JSON form is the alternative itself; a field beside it says which (OrBool's `allows`)."""

    def convert(data: bytes, table: FieldTable, depth: int) -> Any:
        many: list[Any] = []
        for number, _, value in fields_of(data):
            match alternatives[number - 1]:
                case "bool":
                    many.append(bool(_int(value)))
                case "string":
                    many.append(_text(value))
                case _:
                    return _message(_APIEXTENSIONS + "JSONSchemaProps", _bytes(value), table, depth + 1)
        if alternatives[0] == "bool":
            return many[-1] if many else False
        return many

    return convert


_SPECIAL: Mapping[str, Any] = {
    "k8s.io.apimachinery.pkg.api.resource.Quantity": _quantity,
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString": _int_or_string,
    _META + "Time": _time,
    _META + "MicroTime": _micro_time,
    _META + "FieldsV1": _json,
    "k8s.io.apimachinery.pkg.runtime.RawExtension": _json,
    _APIEXTENSIONS + "JSON": _json,
    _APIEXTENSIONS + "JSONSchemaPropsOrArray": _either("schema", "schema"),
    _APIEXTENSIONS + "JSONSchemaPropsOrBool": _either("bool", "schema"),
    _APIEXTENSIONS + "JSONSchemaPropsOrStringArray": _either("schema", "string"),
}
