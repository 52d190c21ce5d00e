"""One place in a schema: what may stand there.  Nodes are shared and may be recursive; nobody changes one after compiling.

Upstream: OpenAPI v2/v3 schemas with the `x-kubernetes-*` extensions; apiextensions' structural schemas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster.machinery.regex import Pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class Validations:
    """The value rules of a node (OpenAPI v3).  None means no such rule; lengths count characters."""

    enum: tuple[Any, ...] | None = None
    pattern: Pattern | None = None
    pattern_text: str = ""
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: bool = False
    exclusive_maximum: bool = False
    multiple_of: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    min_items: int | None = None
    max_items: int | None = None
    unique_items: bool = False
    min_properties: int | None = None
    max_properties: int | None = None
    one_of: tuple[Node, ...] = ()
    any_of: tuple[Node, ...] = ()
    all_of: tuple[Node, ...] = ()
    not_: Node | None = None


@dataclass(slots=True, eq=False, kw_only=True)
class Node:
    """`type` is "object", "array", "string", "integer", "number", "boolean", or "" where any JSON value may stand.

    `name` is the Go type of a definition (`v1.PodSpec`), else empty.  `format` is OpenAPI's, or "quantity".
    `list_type` is "atomic", "set", "map" or "" (treated as atomic); `map_type` is "granular", "atomic" or "".
    """

    type: str = ""
    format: str = ""
    name: str = ""
    properties: Mapping[str, Node] = field(default_factory=dict)
    items: Node | None = None
    additional: Node | None = None
    required: tuple[str, ...] = ()
    default: Any = None
    has_default: bool = False
    nullable: bool = False
    int_or_string: bool = False
    preserve_unknown: bool = False
    embedded_resource: bool = False
    list_type: str = ""
    list_map_keys: tuple[str, ...] = ()
    map_type: str = ""
    merge_key: str = ""
    patch_strategy: tuple[str, ...] = ()
    validations: Validations | None = None
    rules: tuple[Mapping[str, Any], ...] = ()
    """`x-kubernetes-validations`, uncompiled: CEL is not this package's business."""


ANYTHING = Node(preserve_unknown=True)
"""Any JSON value, kept as it is."""

SCALARS = frozenset({str, int, float, bool, type(None)})
"""Types of values that have nothing below them: asked first, since most values are of these."""
