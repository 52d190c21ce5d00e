"""The built-in kinds' schemas: loaded on first use, compiled once, shared by everyone who reads them.

`definitions` is OpenAPI v2 as data, `nodes` the same compiled, `docs` the descriptions, which only `explain` and the OpenAPI
documents need.  Knows nothing of which kinds are served.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import orjson

from cluster.machinery.objects import GroupVersionKind
from cluster.machinery.schema import Node, compile_definitions

REF = "#/definitions/"
OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


@cache
def definitions() -> Mapping[str, Any]:
    """Definition name (`io.k8s.api.core.v1.Pod`) to its OpenAPI v2 schema, without descriptions.  Read-only."""
    content: Mapping[str, Any] = _load("schema.json.z")
    return content


@cache
def nodes() -> Mapping[str, Node]:
    """Definition name to compiled schema."""
    return compile_definitions(definitions())


@cache
def docs() -> Mapping[str, Mapping[str, str]]:
    """Definition name to descriptions: its own under the empty name, each property's under the property's name."""
    content: Mapping[str, Mapping[str, str]] = _load("docs.json.z")
    return content


@cache
def _definition_names() -> Mapping[GroupVersionKind, str]:
    names: dict[GroupVersionKind, str] = {}
    for name, definition in definitions().items():
        kinds = definition.get("x-kubernetes-group-version-kind", ())
        # Shared option types (DeleteOptions, WatchEvent) belong to every group and define no kind of their own.
        if len(kinds) == 1 or name.endswith(f".{kinds[0]['kind']}" if kinds else "."):
            for kind in kinds:
                gvk = GroupVersionKind(kind["group"], kind["version"], kind["kind"])
                if gvk not in names or kind["version"] == name.split(".")[-2]:
                    names[gvk] = name
    return names


def definition_name_of(gvk: GroupVersionKind) -> str:
    """The definition that describes `gvk`.  Raises KeyError for a kind that is not built in."""
    return _definition_names()[gvk]


def node_of(gvk: GroupVersionKind) -> Node:
    """The compiled schema of a built-in kind.  Raises KeyError for any other."""
    return nodes()[definition_name_of(gvk)]


def _load(name: str) -> Any:
    packed = files("cluster.resources").joinpath("data", name).read_bytes()
    return orjson.loads(zlib.decompress(packed))
