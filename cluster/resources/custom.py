"""What one version of a CustomResourceDefinition makes served: a descriptor like any built-in kind's.

Upstream: apiextensions-apiserver/pkg/registry/customresource, pkg/apiserver/customresource_handler.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import invalid
from cluster.machinery.objects import Obj, field_of, generation_of, meta_of, with_field
from cluster.machinery.resource import Resource
from cluster.machinery.schema import ABSENT, Node, apply_defaults, compile_structural, has_rules, prune, validate
from cluster.machinery.timestamps import age_of
from cluster.resources.catalog import Descriptor, same
from cluster.resources.conversion import Conversion, conversion_of, reader_of_converted, writer_of_converted
from cluster.resources.field_path import parse_field_path, plain_path
from cluster.resources.kind import metadata_fields, text_at
from cluster.resources.printing import DEFAULT_COLUMNS, NAME, Cell, Column
from cluster.resources.schemas import OBJECT_META, nodes
from cluster.resources.strategy import GenericStrategy, ScaleFields, WriteContext

if TYPE_CHECKING:
    from cluster.machinery.cel.rules import Rules


_BLOCKING = frozenset(
    ("FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid")
)
"""What makes an object so unlike its schema that rules about it would only confuse."""
_UNCHECKED = invalid(
    "<nil>",
    None,
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
)


class CustomStrategy(GenericStrategy):
    """A custom resource's rules: those of its schema."""

    has_generation = True
    unconditional_update = False

    def __init__(
        self, node: Node, *, namespaced: bool, has_status: bool, has_rules: bool, scale: ScaleFields | None
    ) -> None:
        self.namespaced = namespaced
        self.has_status = has_status
        self.scale = scale
        self._node = node
        self._has_rules = has_rules

    def default(self, obj: Obj) -> Obj:
        return apply_defaults(self._node, obj)

    def prepare_create(self, obj: Obj, context: WriteContext) -> Obj:
        new = super().prepare_create(obj, context)
        return {key: value for key, value in new.items() if key != "status"} if self.has_status else new

    def prepare_update(self, new: Obj, old: Obj) -> Obj:
        prepared = super().prepare_update(new, old)
        if not self.has_status and prepared.get("status") != old.get("status"):
            # Without a status endpoint `status` is a field like any other.
            return with_field(prepared, ("metadata", "generation"), generation_of(old) + 1)
        return prepared

    def prepare_status(self, new: Obj, old: Obj) -> Obj:
        prepared = {key: value for key, value in old.items() if key != "status"}
        if "status" in new:
            prepared["status"] = new["status"]
        meta = {key: value for key, value in meta_of(old).items() if key != "managedFields"}
        if "managedFields" in meta_of(new):
            meta["managedFields"] = meta_of(new)["managedFields"]
        return {**apply_defaults(self._node, prepared), "metadata": meta}

    @cached_property
    def _rules(self) -> Rules | None:
        # Compiled when first needed: a server may hold hundreds of definitions that nobody writes objects of.
        from cluster.machinery.cel.rules import compile_rules

        return compile_rules(self._node)

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return self._causes(obj, ABSENT)

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        return self._causes(new, old)

    def _causes(self, obj: Obj, old: Any) -> tuple[Cause, ...]:
        found = validate(self._node, obj, old=old)
        if not self._has_rules or self._rules is None:
            return found
        from cluster.machinery.cel import Budget
        from cluster.machinery.cel.rules import broken_rules

        if any(cause.reason in _BLOCKING for cause in found):
            return (*found, _UNCHECKED)
        return (*found, *broken_rules(self._rules, obj, old, Budget()))

    def validate_status(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        return (*super().validate_status(new, old), *self._validate_update(new, old))


def custom_descriptors(crd: Obj) -> tuple[Descriptor, ...]:
    """One descriptor per served version of a CRD that passed validation."""
    spec = crd["spec"]
    version = next(version for version in spec["versions"] if version.get("storage"))
    stored_in = field_of(crd, "status", "storedVersions", default=())
    shapes = {f"{spec['group']}/{each['name']}": _node_of(each) for each in spec["versions"]}
    storage = Storage(
        resource_of(spec, version), shapes, set(stored_in) <= {version["name"]}, conversion_of(crd, shapes)
    )
    return tuple(_descriptor(spec, version, storage) for version in spec["versions"] if version.get("served"))


@dataclass(frozen=True, slots=True)
class Storage:
    """What the rows of a custom resource are: `is_uniform` when none was written before the storage version changed.

    `shapes` are the schemas of all versions, by apiVersion.
    """

    resource: Resource
    shapes: Mapping[str, Node]
    is_uniform: bool
    conversion: Conversion | None


def resource_of(spec: Obj, version: Obj) -> Resource:
    names = spec["names"]
    subresources = version.get("subresources") or {}
    return Resource(
        group=spec["group"],
        version=version["name"],
        kind=names["kind"],
        plural=names["plural"],
        namespaced=spec["scope"] == "Namespaced",
        singular=names.get("singular", ""),
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=tuple(name for name in ("status", "scale") if subresources.get(name) is not None),
    )


def _schema_of(version: Obj) -> Obj:
    schema: Obj = field_of(version, "schema", "openAPIV3Schema", default={"type": "object"})
    return schema


def _node_of(version: Obj) -> Node:
    return compile_structural(_schema_of(version), object_meta=nodes()[OBJECT_META])


def _descriptor(spec: Obj, version: Obj, storage: Storage) -> Descriptor:
    resource = resource_of(spec, version)
    is_stored = storage.resource.version == resource.version
    node = storage.shapes[resource.api_version]
    conversion = None if is_stored and storage.is_uniform else storage.conversion
    strategy = CustomStrategy(
        node,
        namespaced=resource.namespaced,
        has_status="status" in resource.subresources,
        has_rules=has_rules(_schema_of(version)),
        scale=_scale_of(version),
    )
    return Descriptor(
        resource=resource,
        node=node,
        strategy=strategy,
        columns=_columns_of(version),
        storage=storage.resource,
        definition=definition_name(resource),
        selectable={**metadata_fields(resource), **_selectable_of(version)},
        to_storage=same if is_stored else _writer(storage),
        from_storage=reader_of_converted(resource.api_version, node)
        if conversion
        else _reader(resource.api_version, node, is_plain=is_stored and storage.is_uniform),
        custom=True,
        schema=_schema_of(version),
        deprecation=_deprecation_of(version, resource),
        conversion=conversion,
    )


def _deprecation_of(version: Obj, resource: Resource) -> str:
    if not version.get("deprecated"):
        return ""
    return str(version.get("deprecationWarning") or f"{resource.api_version} {resource.kind} is deprecated")


def definition_name(resource: Resource) -> str:
    """`com.example.stable.v1.CronTab`: the group reversed, as the published schemas are named."""
    return ".".join((*reversed(resource.group.split(".")), resource.version, resource.kind))


def has_defaults(node: Node) -> bool:
    """Whether reading may add something: then rows are converted, not copied."""
    parts = [*node.properties.values(), *(part for part in (node.items, node.additional) if part is not None)]
    # The metadata every object has is shared with the built-in kinds and has none.
    return node.has_default or any(has_defaults(part) for part in parts if part.name != "v1.ObjectMeta")


def _in_version(api_version: str, node: Node) -> Callable[[Obj], Obj]:
    """Conversion `None`: the same fields, as far as the other version's schema has them."""
    return lambda obj: prune(node, {**obj, "apiVersion": api_version})


def _writer(storage: Storage) -> Callable[[Obj], Obj]:
    api_version = storage.resource.api_version
    return (
        writer_of_converted(api_version)
        if storage.conversion
        else _in_version(api_version, storage.shapes[api_version])
    )


def _reader(api_version: str, node: Node, *, is_plain: bool) -> Callable[[Obj], Obj]:
    """How a row is read; `is_plain` when all were written in this version."""
    if is_plain:
        return (lambda obj: apply_defaults(node, obj)) if has_defaults(node) else same
    convert = _in_version(api_version, node)
    return lambda obj: apply_defaults(node, obj if obj.get("apiVersion") == api_version else convert(obj))


def _scale_of(version: Obj) -> ScaleFields | None:
    scale = field_of(version, "subresources", "scale")
    if scale is None:
        return None
    selector = scale.get("labelSelectorPath")
    return ScaleFields(
        plain_path(scale["specReplicasPath"]),
        plain_path(scale["statusReplicasPath"]),
        plain_path(selector) if selector else (),
    )


def _selectable_of(version: Obj) -> dict[str, Callable[[Obj], str]]:
    paths = [plain_path(field["jsonPath"]) for field in version.get("selectableFields") or ()]
    return {".".join(path): text_at(*path) for path in paths}


def _columns_of(version: Obj) -> Sequence[Column]:
    stated = version.get("additionalPrinterColumns") or ()
    if not stated:
        return DEFAULT_COLUMNS
    return (NAME, *(_column(column) for column in stated))


def _column(column: Obj) -> Column:
    kind = column["type"]
    return Column(
        column["name"],
        _cell(column["jsonPath"], kind),
        kind,
        column.get("format", ""),
        column.get("description", ""),
        wide=column.get("priority", 0) > 0,
    )


def _cell(path: str, kind: str) -> Callable[[Obj, datetime], Cell]:
    find = parse_field_path(path)

    def cell(obj: Obj, now: datetime) -> Cell:
        found = find(obj)
        if not found:
            return None
        return _shown(found[0], kind, now)

    return cell


def _shown(value: Any, kind: str, now: datetime) -> Cell:
    """A value as a column of `kind` shows it; one of another type is not shown (upstream: cellForJSONValue)."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    match kind:
        case "integer":
            return int(value) if is_number else None
        case "number":
            return float(value) if is_number else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case "date":
            return age_of(value, now) if isinstance(value, str) else None
        case _:
            return value if isinstance(value, (str, int, float, bool)) else str(value)
