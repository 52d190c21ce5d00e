"""Request bodies to objects: their type, unknown and duplicate fields.

Lenient where real clients rely on it: no Content-Type means JSON, no apiVersion and kind means the endpoint's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from cluster.apiserver.call import Call
from cluster.machinery.bodies import decode_body
from cluster.machinery.errors import BadRequest, RequestEntityTooLarge
from cluster.machinery.objects import Obj, gvk_of
from cluster.machinery.protobuf import CONTENT_TYPE as PROTOBUF
from cluster.machinery.protobuf import MAGIC
from cluster.machinery.resource import Resource
from cluster.machinery.schema import Node, fits, prune, type_errors, unknown_fields, without_nulls
from cluster.resources.protobuf import protobuf_schema
from cluster.resources.schemas import nodes

BODY_SIZE_MAX_BYTES = 3 * 1024 * 1024
ERRORS_LISTED_MAX = 20


def media_type_of(call: Call) -> str:
    return call.request.headers.get("content-type", "").partition(";")[0].strip().lower()


def body_of(call: Call) -> Obj:
    """The object in the body; empty when there is none.  Raises BadRequest, UnsupportedMediaType, RequestEntityTooLarge."""
    if call.request.obj is not None:
        obj = call.request.obj
    elif not call.request.body:
        return {}
    else:
        obj = decoded(call.request.body, media_type_of(call))
    if not isinstance(obj, dict):
        raise BadRequest("the body of the request is not an object")
    return obj


def decoded(body: bytes, media_type: str) -> Any:
    """The value in a body.  Raises BadRequest, UnsupportedMediaType, RequestEntityTooLarge."""
    if len(body) > BODY_SIZE_MAX_BYTES:
        raise RequestEntityTooLarge(f"limit is {BODY_SIZE_MAX_BYTES}")
    return decode_body(body, PROTOBUF if body.startswith(MAGIC) else media_type, protobuf_schema)


def typed(obj: Obj, resource: Resource) -> Obj:
    """`obj` with the endpoint's apiVersion and kind where it names none.  Raises BadRequest where it names others."""
    gvk = gvk_of(obj)
    if gvk == resource.gvk:
        return obj
    if gvk.kind and gvk.kind != resource.kind:
        raise BadRequest(
            f"the kind of the object ({gvk.kind}) does not match the expected kind ({resource.kind})",
        )
    if (gvk.version or gvk.group) and (gvk.group, gvk.version) != (resource.group, resource.version):
        raise BadRequest(
            f"the API version in the data ({gvk.api_version}) does not match the expected API version "
            f"({resource.api_version})"
        )
    return {**obj, "apiVersion": resource.api_version, "kind": resource.kind}


def checked_fields(call: Call, obj: Obj, node: Node, field_validation: str) -> Obj:
    """`obj` without the fields its schema does not know, which are warned of or, with Strict, refused.

    The types in a custom resource are its schema's to check, which names each by its path.
    """
    given = obj
    if fits(node, obj):
        known = obj
    else:
        check_types(call, _shared(obj) if call.descriptor.custom else obj, node)
        obj = as_decoded(call, obj, node)
        known = prune(node, obj)
    if field_validation == "Ignore":
        return known
    problems = [f'unknown field "{path}"' for path in unknown_fields(node, obj)] if known is not obj else []
    problems += [f'duplicate field "{path}"' for path in duplicates_of(call, given)]
    if problems:
        report(call, problems, field_validation)
    return known


_TYPED_EVERYWHERE = ("apiVersion", "kind", "metadata")


def as_decoded(call: Call, obj: Obj, node: Node) -> Obj:
    """`obj` without nulls where a Go server decodes into types; in a custom resource they may mean something."""
    if call.descriptor.custom:
        return {**obj, **without_nulls(node, _shared(obj))}
    return without_nulls(node, obj)


def _shared(obj: Obj) -> Obj:
    """The parts that are of the same types in every object."""
    return {name: obj[name] for name in _TYPED_EVERYWHERE if name in obj}


def check_types(call: Call, obj: Obj, node: Node) -> None:
    """Raises BadRequest for a value that a Go server's decoder would not take."""
    _check_types(call.descriptor.resource.kind, call.descriptor.resource.version, obj, node)


def _check_types(kind: str, version: str, obj: Obj, node: Node) -> None:
    if errors := type_errors(node, obj):
        listed = "; ".join(errors[:ERRORS_LISTED_MAX])
        raise BadRequest(f'{kind} in version "{version}" cannot be handled as a {kind}: {listed}')


def body_as(call: Call, definition: str) -> Obj:
    """The body of an endpoint that takes another type than its resource's: options, or a subresource's own kind.

    Nothing in it is required.  Raises what `body_of` raises, and BadRequest for another kind or values of wrong types.
    """
    return fitted(body_of(call), definition)


def fitted(body: Obj, definition: str) -> Obj:
    """`body` as the built-in type of that definition name.  Raises BadRequest."""
    node = nodes()[definition]
    version, _, kind = definition.rpartition(".")
    if (given := body.get("kind")) and given != kind:
        raise BadRequest(f"the kind of the object ({given}) does not match the expected kind ({kind})")
    _check_types(kind, version.rpartition(".")[2], body, node)
    return without_nulls(node, body)


def report(call: Call, problems: Sequence[str], field_validation: str) -> None:
    """Warn of unknown and duplicate fields or, with Strict, refuse them."""
    if field_validation == "Strict":
        more = ", ..." if len(problems) > ERRORS_LISTED_MAX else ""
        raise BadRequest("strict decoding error: " + ", ".join(problems[:ERRORS_LISTED_MAX]) + more)
    call.warnings.extend(problems[:ERRORS_LISTED_MAX])


def duplicates_of(call: Call, decoded: Obj) -> Sequence[str]:
    """Paths of keys that occur twice in the JSON text of the body, which decoding alone would hide.

    `decoded` may have the endpoint's apiVersion and kind besides what is written.
    """
    body = call.request.body
    if not body or media_type_of(call) not in ("", "application/json"):
        return ()
    written = [name for name in (b'"apiVersion"', b'"kind"') if name in body]
    if not written:
        decoded = {name: value for name, value in decoded.items() if name not in ("apiVersion", "kind")}
    # With only one of them there is no telling at which level it is written.
    return duplicates_in(body, decoded if len(written) != 1 else None)


def duplicates_in(body: bytes, decoded: Any) -> Sequence[str]:
    """Paths of keys that occur twice in a JSON text; `decoded` is its value, None when that is not at hand."""
    # As many keys written as decoded: no duplicates.  Text inside strings counts alike on both sides.
    if decoded is not None and not _SPACED.search(body) and body.count(b'":') == orjson.dumps(decoded).count(b'":'):
        return ()
    return tuple(_duplicates_in(json.loads(body, object_pairs_hook=_Pairs), "")) if body else ()


_SPACED = re.compile(rb'"\s+:')
"""A key that a count of quotes and colons would miss."""


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as it is written."""


def _duplicates_in(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for name, inner in value:
            here = f"{path}.{name}" if path else name
            if name in seen:
                yield here
            seen.add(name)
            yield from _duplicates_in(inner, here)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _duplicates_in(inner, f"{path}[{index}]")
