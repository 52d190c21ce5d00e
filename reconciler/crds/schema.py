"""Words for structural schemas: each returns a fragment of OpenAPI v3 as a CRD holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cluster.machinery.resource import Resource

GROUP = "gitops.reconciler.io"
VERSION = "v1"
DURATION = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"

Schema = dict[str, Any]


def string(description: str = "", **rules: Any) -> Schema:
    return {"type": "string", **({"description": description} if description else {}), **rules}


def integer(description: str = "", **rules: Any) -> Schema:
    return {"type": "integer", **({"description": description} if description else {}), **rules}


def boolean(description: str, **rules: Any) -> Schema:
    return {"type": "boolean", "description": description, **rules}


def instant(description: str = "") -> Schema:
    return string(description, format="date-time")


def duration(description: str, default: str) -> Schema:
    return string(description, pattern=DURATION, maxLength=32, default=default)


def array(items: Schema, description: str = "", **rules: Any) -> Schema:
    return {"type": "array", "items": items, **({"description": description} if description else {}), **rules}


def obj(properties: Mapping[str, Schema], description: str = "", required: Sequence[str] = (), **rules: Any) -> Schema:
    schema: Schema = {"type": "object", "properties": dict(properties)}
    if description:
        schema["description"] = description
    if required:
        schema["required"] = list(required)
    return schema | rules


def conditions() -> Schema:
    """metav1.Condition, a map by type."""
    condition = obj(
        {
            "type": string(maxLength=316),
            "status": string(enum=["True", "False", "Unknown"]),
            "observedGeneration": integer(minimum=0),
            "lastTransitionTime": instant(),
            "reason": string(maxLength=1024),
            "message": string(maxLength=32768),
        },
        required=("type", "status", "lastTransitionTime", "reason", "message"),
    )
    return array(condition) | {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}


def column(name: str, path: str, *, kind: str = "string", wide: bool = False) -> Schema:
    return {"name": name, "type": kind, "jsonPath": path} | ({"priority": 1} if wide else {})


def definition(resource: Resource, schema: Schema, columns: Sequence[Schema]) -> dict[str, Any]:
    """The CustomResourceDefinition that serves `resource`."""
    names = {
        "plural": resource.plural,
        "singular": resource.singular,
        "kind": resource.kind,
        "listKind": f"{resource.kind}List",
        "shortNames": list(resource.short_names),
        "categories": list(resource.categories),
    }
    version: dict[str, Any] = {
        "name": resource.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": list(columns),
    }
    if "status" in resource.subresources:
        version["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{resource.group}"},
        "spec": {"group": resource.group, "scope": "Namespaced", "names": names, "versions": [version]},
    }
