"""OpenAPI documents: version 3, one per group-version with an index of hashes, and version 2, everything in one.

Documents are pure functions of the catalogue; `OpenApi` keeps them, encoded, for one catalogue generation.  In protobuf only
version 2 is answered, and it declares nothing: kubectl and helm ask for it when version 3 does not know a kind, and refuse to
go on without an answer.  Upstream: kube-openapi/pkg/handler{,3}.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from cluster.apiserver.discovery import GIT_VERSION
from cluster.apiserver.http import ApiRequest, Reply
from cluster.apiserver.openapi_paths import Operation, list_definition_of, operations_of
from cluster.apiserver.openapi_schemas import REF_V3, definitions_for, in_v2, in_v3
from cluster.machinery.errors import MethodNotAllowed, NotAcceptable, NotFound
from cluster.machinery.objects import Obj
from cluster.resources.catalog import Catalog, Descriptor
from cluster.resources.schemas import REF

CACHED_MAX = 8
"""Encoded documents kept; the oldest goes first.  Each is up to about a megabyte."""

_INFO: Obj = {"title": "Kubernetes", "version": GIT_VERSION}
_V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
# An "@" is asked for and is no media type: upstream answers with a dot in its place, which clients can parse.
_V2_PROTOBUF_ANSWER = _V2_PROTOBUF.replace("@", ".")
_ANSWER_TYPES = ("application/json", "application/yaml")


def path_of(group: str, version: str) -> str:
    """How the index names a group-version: `api/v1`, `apis/apps/v1`."""
    return f"apis/{group}/{version}" if group else f"api/{version}"


def hash_of(descriptors: Iterable[Descriptor]) -> str:
    """What changes when a group-version's document does: cheap, since built-in schemas are fixed for a release."""
    digest = hashlib.sha512(GIT_VERSION.encode())
    for descriptor in descriptors:
        digest.update(repr(descriptor.resource).encode())
        if descriptor.custom:
            digest.update(orjson.dumps(descriptor.schema, option=orjson.OPT_SORT_KEYS))
    return digest.hexdigest().upper()


def index_document(catalog: Catalog) -> Obj:
    """`/openapi/v3`."""
    paths: dict[str, Obj] = {}
    for group in catalog.groups():
        for version in catalog.versions(group):
            name = path_of(group, version)
            url = f"/openapi/v3/{name}?hash={hash_of(catalog.in_version(group, version))}"
            paths[name] = {"serverRelativeURL": url}
    return {"paths": paths}


def v3_document(descriptors: Iterable[Descriptor]) -> Obj:
    """One group-version's document."""
    served = tuple(descriptors)
    schemas = {name: in_v3(schema) for name, schema in definitions_for(served).items()}
    return {
        "openapi": "3.0.0",
        "info": _INFO,
        "paths": _paths(served, _v3_operation, _v3_parameter),
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "BearerToken": {
                    "type": "apiKey",
                    "name": "authorization",
                    "in": "header",
                    "description": "Bearer Token",
                }
            },
        },
    }


def v2_document(descriptors: Iterable[Descriptor]) -> Obj:
    """Everything served, in one document."""
    served = tuple(descriptors)
    custom = {
        name
        for descriptor in served
        if descriptor.custom
        for name in (descriptor.definition, list_definition_of(descriptor.definition))
    }
    return {
        "swagger": "2.0",
        "info": _INFO,
        "paths": _paths(served, _v2_operation, _v2_parameter),
        "definitions": in_v2(definitions_for(served), custom),
        "securityDefinitions": {
            "BearerToken": {"type": "apiKey", "name": "authorization", "in": "header", "description": "Bearer Token"}
        },
        "security": [{"BearerToken": []}],
    }


def v2_protobuf() -> bytes:
    """A gnostic openapi.v2.Document with its version and title only: whoever looks a kind up finds that it has no schema."""
    title, version = (_protobuf_text(tag, _INFO[name]) for tag, name in ((1, "title"), (2, "version")))
    return _protobuf_text(1, "2.0") + b"\x12" + bytes([len(title + version)]) + title + version


def _protobuf_text(tag: int, text: str) -> bytes:
    """A length-delimited field of fewer than 128 bytes."""
    return bytes([tag << 3 | 2, len(text)]) + text.encode()


def _paths(descriptors: tuple[Descriptor, ...], operation_of: Any, parameter_of: Any) -> Obj:
    paths: dict[str, dict[str, Any]] = {}
    for descriptor in descriptors:
        for operation in operations_of(descriptor):
            if operation.path not in paths:
                in_path = [parameter_of(name, "path", "string") for name in re.findall(r"{(\w+)}", operation.path)]
                paths[operation.path] = {"parameters": [*in_path, parameter_of("pretty", "query", "string")]}
            paths[operation.path][operation.method] = operation_of(operation)
    return dict(sorted(paths.items()))


def _shared(operation: Operation) -> dict[str, Any]:
    gvk = operation.gvk
    return {
        "operationId": operation.id,
        "tags": [operation.id],
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": {"group": gvk.group, "version": gvk.version, "kind": gvk.kind},
    }


def _answers(operation: Operation, content: Mapping[str, Any]) -> Obj:
    answers: dict[str, Any] = {"200": {"description": "OK", **content}}
    if operation.created:
        answers["201"] = {"description": "Created", **content}
    answers["401"] = {"description": "Unauthorized"}
    return answers


def _v3_parameter(name: str, place: str, kind: str) -> Obj:
    required = {"required": True} if place == "path" else {}
    return {"name": name, "in": place, "schema": {"type": kind, "uniqueItems": True}, **required}


def _v3_operation(operation: Operation) -> Obj:
    made = _shared(operation)
    if operation.parameters:
        made["parameters"] = [_v3_parameter(name, "query", kind) for name, kind in operation.parameters.items()]
    if operation.body:
        schema = {"$ref": REF_V3 + operation.body}
        made["requestBody"] = {"content": {kind: {"schema": schema} for kind in operation.body_types}}
    answer = {"schema": {"$ref": REF_V3 + operation.answer} if operation.answer else {"type": "string"}}
    made["responses"] = _answers(operation, {"content": dict.fromkeys(_ANSWER_TYPES, answer)})
    return made


def _v2_parameter(name: str, place: str, kind: str) -> Obj:
    required = {"required": True} if place == "path" else {}
    return {"name": name, "in": place, "type": kind, "uniqueItems": True, **required}


def _v2_operation(operation: Operation) -> Obj:
    made = _shared(operation)
    parameters = [_v2_parameter(name, "query", kind) for name, kind in operation.parameters.items()]
    if operation.body:
        is_optional = operation.method == "delete"
        schema = {"$ref": REF + operation.body}
        parameters.insert(0, {"name": "body", "in": "body", "required": not is_optional, "schema": schema})
        made["consumes"] = list(operation.body_types)
    if parameters:
        made["parameters"] = parameters
    made["produces"] = list(_ANSWER_TYPES)
    made["schemes"] = ["https"]
    answer = {"$ref": REF + operation.answer} if operation.answer else {"type": "string"}
    made["responses"] = _answers(operation, {"schema": answer})
    return made


class OpenApi:
    """Answers the OpenAPI paths from `catalog`."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._generation = -1
        self._encoded: dict[str, tuple[bytes, str]] = {}

    def handle(self, request: ApiRequest) -> Reply | None:
        """The answer, or None when the path is not one of OpenAPI's.

        Raises MethodNotAllowed, NotFound for a group-version that is not served, NotAcceptable for protobuf.
        """
        path = request.path.rstrip("/")
        if path not in ("/openapi/v2", "/openapi/v3") and not path.startswith("/openapi/v3/"):
            return None
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        accept = request.headers.get("accept", "")
        if path == "/openapi/v2" and accept.strip() == _V2_PROTOBUF:
            return Reply(body=v2_protobuf(), content_type=_V2_PROTOBUF_ANSWER, headers={"Vary": "Accept"})
        if not _takes_json(accept):
            raise NotAcceptable("only the following media types are accepted: application/json")
        if self._generation != self._catalog.generation:
            self._encoded.clear()
            self._generation = self._catalog.generation
        body, tag = self._encode(path)
        asked = request.parameter("hash")
        if asked and asked != tag:
            return Reply(301, body=b"", headers={"Location": f"{path}?hash={tag}"})
        headers = {"ETag": f'"{tag}"', "Vary": "Accept"}
        if asked:
            # The address names the content, so it may be kept for a year.
            headers["Cache-Control"] = "public, immutable, max-age=31536000"
        if f'"{tag}"' in request.headers.get("if-none-match", ""):
            return Reply(304, body=b"", headers=headers)
        return Reply(body=body, headers=headers)

    def _encode(self, path: str) -> tuple[bytes, str]:
        known = self._encoded.get(path)
        if known is None:
            known = self._make(path)
            while len(self._encoded) >= CACHED_MAX:
                del self._encoded[next(iter(self._encoded))]
            self._encoded[path] = known
        return known

    def _make(self, path: str) -> tuple[bytes, str]:
        if path == "/openapi/v3":
            body = orjson.dumps(index_document(self._catalog))
            return body, hashlib.sha512(body).hexdigest().upper()
        if path == "/openapi/v2":
            everything = tuple(self._catalog)
            return orjson.dumps(v2_document(everything)), hash_of(everything)
        name = path.removeprefix("/openapi/v3/")
        for group in self._catalog.groups():
            for version in self._catalog.versions(group):
                if path_of(group, version) == name:
                    descriptors = self._catalog.in_version(group, version)
                    return orjson.dumps(v3_document(descriptors)), hash_of(descriptors)
        raise NotFound("the server could not find the requested resource")


def _takes_json(accept: str) -> bool:
    kinds = [clause.partition(";")[0].strip() for clause in accept.split(",") if clause.strip()]
    return not kinds or any(kind in ("application/json", "application/*", "*/*") for kind in kinds)
