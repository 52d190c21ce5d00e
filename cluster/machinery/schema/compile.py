"""From OpenAPI documents to nodes: the built-in kinds' definitions, and the structural schemas of custom resources.

The input of `compile_definitions` is trusted (generated at build time); that of `compile_structural` must have passed
`check_structural`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from cluster.machinery.objects import Obj
from cluster.machinery.regex import compile_pattern
from cluster.machinery.schema.node import ANYTHING, Node, Validations

Resolve = Callable[[str], Node]

_SPECIAL: Mapping[str, Mapping[str, Any]] = {
    "api.resource.Quantity": {"format": "quantity"},
    "util.intstr.IntOrString": {"int_or_string": True},
    "meta.v1.Time": {"type": "string", "format": "date-time"},
    "meta.v1.MicroTime": {"type": "string", "format": "date-time"},
    "meta.v1.FieldsV1": {"type": "object", "preserve_unknown": True},
    "pkg.runtime.RawExtension": {"type": "object", "preserve_unknown": True},
}
"""Types whose JSON form the definitions do not tell, by the last three words of their names."""

_NODE_FIELDS = tuple(f.name for f in fields(Node))
_PLAIN_KEYS = frozenset({"type", "format", "description"})


def compile_definitions(definitions: Mapping[str, Any]) -> Mapping[str, Node]:
    """Every definition's node, by its full name (`io.k8s.api.core.v1.Pod`).  Raises KeyError for a dangling `$ref`."""
    nodes = {name: Node(name=".".join(name.split(".")[-2:])) for name in definitions}
    compiler = _Compiler(lambda ref: nodes[ref.rpartition("/")[2]])
    for name, schema in definitions.items():
        special = _SPECIAL.get(".".join(name.split(".")[-3:]))
        made = Node(**special) if special is not None else compiler.node(schema, shared=False)
        made.name = nodes[name].name
        _copy_into(nodes[name], made)
    compiler.finish()
    return nodes


def compile_structural(schema: Obj, *, object_meta: Node | None = None) -> Node:
    """The node of a custom resource's `openAPIV3Schema`, its root treated as a whole object.

    `object_meta` is the node of metav1.ObjectMeta, used at the root and in embedded resources; without it metadata is
    kept as it is.
    """
    compiler = _Compiler(_no_reference, object_meta=object_meta or ANYTHING)
    root = compiler.node(schema, shared=False)
    root.embedded_resource = True
    compiler.add_type_meta(root)
    compiler.finish()
    return root


def compile_part(schema: Obj) -> Node:
    """The node of a part of a structural schema, which is not a whole object by itself."""
    compiler = _Compiler(_no_reference, object_meta=ANYTHING)
    return compiler.node(schema, shared=False)


def _no_reference(ref: str) -> Node:
    raise ValueError(f"$ref is not supported in structural schemas: {ref}")


class _Compiler:
    """One run.  References with siblings are copies that wait until their targets are complete."""

    def __init__(self, resolve: Resolve, *, object_meta: Node | None = None) -> None:
        self._resolve = resolve
        self._object_meta = object_meta
        self._waiting: list[tuple[Node, Node, Mapping[str, Any]]] = []
        self._leaves: dict[tuple[str, str], Node] = {}

    def finish(self) -> None:
        for copy, target, schema in self._waiting:
            _copy_into(copy, target)
            self._extend(copy, schema)

    def node(self, schema: Obj, *, shared: bool = True) -> Node:
        if ref := schema.get("$ref"):
            return self._reference(str(ref), schema)
        parts: Sequence[Obj] = schema.get("allOf") or ()
        if len(parts) == 1 and "$ref" in parts[0]:  # v3's way to give a $ref siblings
            return self._reference(str(parts[0]["$ref"]), schema)
        kind = _type_of(schema)
        plain = kind in ("string", "integer", "number", "boolean") and schema.keys() <= _PLAIN_KEYS
        wording = str(schema.get("format") or "")
        node = Node(type=kind, format=wording)
        if shared and plain:
            return self._leaves.setdefault((kind, wording), node)
        if properties := schema.get("properties"):
            node.properties = {name: self.node(part) for name, part in properties.items()}
        if isinstance(items := schema.get("items"), Mapping):
            node.items = self.node(items)
        additional = schema.get("additionalProperties")
        if isinstance(additional, Mapping):
            node.additional = self.node(additional)
        elif additional is True:
            node.additional = ANYTHING
        self._extend(node, schema)
        if not self._object_meta and not node.properties and node.additional is None and kind in ("", "object"):
            node.preserve_unknown = True  # in definitions an object without fields is a free-form one
        return node

    def _reference(self, ref: str, schema: Obj) -> Node:
        target = self._resolve(ref)
        if schema.keys() <= {"$ref", "allOf", "description"}:
            return target
        copy = Node()
        self._waiting.append((copy, target, {key: value for key, value in schema.items() if key != "allOf"}))
        return copy

    def _extend(self, node: Node, schema: Obj) -> None:
        """Everything of `schema` that is neither its type nor its parts, laid over `node`."""
        node.required = tuple(schema.get("required") or node.required)
        node.nullable = bool(schema.get("nullable", node.nullable))
        node.int_or_string = bool(schema.get("x-kubernetes-int-or-string", node.int_or_string))
        node.preserve_unknown = bool(schema.get("x-kubernetes-preserve-unknown-fields", node.preserve_unknown))
        node.list_type = schema.get("x-kubernetes-list-type", node.list_type)
        node.list_map_keys = tuple(schema.get("x-kubernetes-list-map-keys", node.list_map_keys))
        node.map_type = schema.get("x-kubernetes-map-type", node.map_type)
        node.merge_key = schema.get("x-kubernetes-patch-merge-key", node.merge_key)
        if strategy := schema.get("x-kubernetes-patch-strategy"):
            node.patch_strategy = tuple(strategy.split(","))
        if "default" in schema:
            node.default, node.has_default = schema["default"], True
        node.rules = tuple(schema.get("x-kubernetes-validations") or node.rules)
        node.validations = self._validations(schema) or node.validations
        if schema.get("x-kubernetes-embedded-resource"):
            node.embedded_resource = True
            self.add_type_meta(node)

    def add_type_meta(self, node: Node) -> None:
        meta = self._object_meta or ANYTHING
        stated = node.properties.get("metadata")
        # A stated metadata schema may only restrict name and generateName: its rules are kept beside the real fields.
        if stated is not None and stated.properties:
            restricted = Node()
            _copy_into(restricted, meta)
            restricted.properties = {**meta.properties, **stated.properties}
            meta = restricted
        string = self._leaves.setdefault(("string", ""), Node(type="string"))
        node.properties = {**node.properties, "apiVersion": string, "kind": string, "metadata": meta}

    def _validations(self, schema: Obj) -> Validations | None:
        pattern = schema.get("pattern")
        made = Validations(
            enum=tuple(schema["enum"]) if schema.get("enum") else None,
            pattern=compile_pattern(pattern) if pattern else None,
            pattern_text=pattern or "",
            minimum=schema.get("minimum"),
            maximum=schema.get("maximum"),
            exclusive_minimum=bool(schema.get("exclusiveMinimum")),
            exclusive_maximum=bool(schema.get("exclusiveMaximum")),
            multiple_of=schema.get("multipleOf"),
            min_length=schema.get("minLength"),
            max_length=schema.get("maxLength"),
            min_items=schema.get("minItems"),
            max_items=schema.get("maxItems"),
            unique_items=bool(schema.get("uniqueItems")),
            min_properties=schema.get("minProperties"),
            max_properties=schema.get("maxProperties"),
            one_of=self._parts(schema, "oneOf"),
            any_of=self._parts(schema, "anyOf"),
            all_of=self._parts(schema, "allOf"),
            not_=self.node(schema["not"], shared=False) if schema.get("not") else None,
        )
        return made if made != _NO_VALIDATIONS else None

    def _parts(self, schema: Obj, word: str) -> tuple[Node, ...]:
        return tuple(self.node(part, shared=False) for part in schema.get(word) or ())


_NO_VALIDATIONS = Validations()


def _type_of(schema: Obj) -> str:
    kind = schema.get("type", "")
    if isinstance(kind, list):  # ["string", "null"]: a generator's way to say nullable
        kind = next((word for word in kind if word != "null"), "")
    if not kind and "properties" in schema:
        return "object"
    return str(kind)


def _copy_into(node: Node, source: Node) -> None:
    for name in _NODE_FIELDS:
        setattr(node, name, getattr(source, name))
