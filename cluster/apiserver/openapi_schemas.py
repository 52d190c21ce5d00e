"""Definitions for OpenAPI documents: the built-in kinds' with their descriptions, custom resources' from their CRDs.

In version 2 a definition lies under `#/definitions/`, in version 3 under `#/components/schemas/`, where a `$ref` has no
siblings.  Upstream: kube-openapi/pkg/{builder,builder3}, apiextensions/pkg/controller/openapi.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from cluster.apiserver.openapi_paths import DELETE_OPTIONS, STATUS, list_definition_of, operations_of
from cluster.machinery.objects import Obj
from cluster.resources.catalog import Descriptor
from cluster.resources.schemas import REF, definitions, docs

REF_V3 = "#/components/schemas/"
_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_LIST_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"
_V3_ONLY = frozenset({"nullable", "oneOf", "anyOf", "allOf", "not", "default"})


def definitions_for(descriptors: Iterable[Descriptor]) -> dict[str, Obj]:
    """Every definition their operations need, by name, in version 2's form and sorted."""
    made: dict[str, Obj] = {}
    open_names: list[str] = [DELETE_OPTIONS, STATUS]
    for descriptor in descriptors:
        if descriptor.custom:
            for name, schema in custom_definitions(descriptor).items():
                made[name] = schema
                open_names.extend(references_in(schema))
        for operation in operations_of(descriptor):
            open_names.extend(name for name in (operation.body, operation.answer) if name)
    builtin = definitions()
    while open_names:
        name = open_names.pop()
        if name not in made and name in builtin:
            made[name] = described(name, builtin[name])
            open_names.extend(references_in(builtin[name]))
    return dict(sorted(made.items()))


def references_in(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        reference = schema.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix(REF)
        for value in schema.values():
            yield from references_in(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from references_in(value)


def described(name: str, schema: Obj) -> Obj:
    """A built-in definition with its descriptions."""
    texts = docs().get(name, {})
    made = dict(schema)
    if text := texts.get(""):
        made["description"] = text
    if properties := schema.get("properties"):
        made["properties"] = {
            field: {**part, "description": texts[field]} if field in texts else part
            for field, part in properties.items()
        }
    return made


def custom_definitions(descriptor: Descriptor) -> dict[str, Obj]:
    """A custom resource's definition and its list's."""
    resource, name = descriptor.resource, descriptor.definition
    type_meta = {"apiVersion": _described_field("apiVersion"), "kind": _described_field("kind")}
    schema = {**descriptor.schema, "type": "object"}
    own = dict(schema.get("properties") or {})
    own.pop("metadata", None)
    preserves = schema.get("x-kubernetes-preserve-unknown-fields")
    if own or not preserves:
        schema["properties"] = {**own, **type_meta, "metadata": {"$ref": REF + _OBJECT_META}}
    schema["x-kubernetes-group-version-kind"] = [_gvk(resource.group, resource.version, resource.kind)]
    items = {"type": "array", "items": {"$ref": REF + name}}
    listed = {
        "type": "object",
        "description": f"{resource.kind}List is a list of {resource.kind}",
        "required": ["items"],
        "properties": {**type_meta, "items": items, "metadata": {"$ref": REF + _LIST_META}},
        "x-kubernetes-group-version-kind": [_gvk(resource.group, resource.version, f"{resource.kind}List")],
    }
    return {name: schema, list_definition_of(name): listed}


def _described_field(field: str) -> Obj:
    return {"type": "string", "description": docs()["io.k8s.api.core.v1.ConfigMap"][field]}


def _gvk(group: str, version: str, kind: str) -> Obj:
    return {"group": group, "version": version, "kind": kind}


def in_v3(schema: Any) -> Any:
    """A version 2 schema as version 3 writes it."""
    if isinstance(schema, list):
        return [in_v3(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    reference = schema.get("$ref")
    if isinstance(reference, str):
        moved = {"$ref": REF_V3 + reference.removeprefix(REF)}
        siblings = {key: value for key, value in schema.items() if key != "$ref"}
        return {**siblings, "allOf": [moved]} if siblings else moved
    return {key: in_v3(value) for key, value in schema.items()}


def in_v2(schemas: Mapping[str, Obj], custom: Collection[str]) -> dict[str, Obj]:
    """Custom resources' schemas without the words that version 2 lacks."""
    return {name: _without_v3_words(schema) if name in custom else schema for name, schema in schemas.items()}


def _without_v3_words(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_v3_words(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    made: dict[str, Any] = {}
    for word, value in schema.items():
        if word == "properties" and isinstance(value, Mapping):
            made[word] = {name: _without_v3_words(part) for name, part in value.items()}
        elif word not in _V3_ONLY:
            made[word] = _without_v3_words(value)
    if made.get("x-kubernetes-preserve-unknown-fields"):
        # Clients of this version would refuse the unknown fields that the server keeps.
        made.pop("properties", None)
        made.pop("items", None)
    return made
