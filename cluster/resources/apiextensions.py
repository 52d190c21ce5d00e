"""CustomResourceDefinitions: defaults and rules.  What one makes served is planned by the API server.

Upstream: apiextensions-apiserver/pkg/apis/apiextensions/{v1/defaults,validation/validation}.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import duplicate, forbidden, invalid, not_supported, required, too_long
from cluster.machinery.names import label_errors, service_name_errors, subdomain_errors
from cluster.machinery.objects import GroupKind, Obj, annotations_of, field_of, name_of, with_field
from cluster.machinery.schema import check_structural, has_rules
from cluster.resources.conversion import validate_conversion
from cluster.resources.defaulting import each, filled
from cluster.resources.field_path import FieldPathError, parse_field_path, plain_path
from cluster.resources.kind import Kind
from cluster.resources.printing import CREATED_AT, NAME
from cluster.resources.strategy import GenericStrategy

SCOPES = ("Cluster", "Namespaced")
COLUMN_TYPES = ("integer", "number", "string", "boolean", "date")
APPROVED = "api-approved.kubernetes.io"
SELECTABLE_MAX = 8
SELECTABLE_TYPES = ("boolean", "integer", "string")
_SELECTABLE_WHY = (
    "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."
)
DEPRECATION_MAX = 256


class CrdStrategy(GenericStrategy):
    namespaced = False
    has_status = True
    has_generation = True
    unconditional_update = False

    def default(self, obj: Obj) -> Obj:
        spec = filled(obj.get("spec") or {}, absent={"conversion": {"strategy": "None"}})
        names = filled(spec.get("names") or {})
        if kind := names.get("kind"):
            names = filled(names, {"singular": kind.lower(), "listKind": f"{kind}List"})
        spec["names"] = names
        each(spec, "versions", _default_version)
        if (service := field_of(spec, "conversion", "webhook", "clientConfig", "service")) is not None:
            path = ("conversion", "webhook", "clientConfig", "service")
            spec = with_field(spec, path, filled(service, absent={"port": 443}))
        return {**obj, "spec": spec}

    def _first_status(self, obj: Obj) -> Any:
        stored = [v.get("name", "") for v in obj["spec"].get("versions") or () if v.get("storage")]
        return {"conditions": [], "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored}

    def prepare_update(self, new: Obj, old: Obj) -> Obj:
        prepared = dict(super().prepare_update(new, old))
        status = dict(prepared.get("status") or {})
        stored = list(status.get("storedVersions") or ())
        stored += [
            v["name"]
            for v in prepared["spec"].get("versions") or ()
            if v.get("storage") and v.get("name") and v["name"] not in stored
        ]
        return {**prepared, "status": {**status, "storedVersions": stored}}

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(_validate_crd(obj))

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        found = list(self._validate(new))
        for path in (("group",), ("scope",), ("names", "kind"), ("names", "plural")):
            after = field_of(new, "spec", *path)
            if after != field_of(old, "spec", *path):
                found.append(invalid("spec." + ".".join(path), after, "field is immutable"))
        served = {version.get("name") for version in field_of(new, "spec", "versions", default=())}
        for index, version in enumerate(field_of(old, "status", "storedVersions", default=())):
            if version not in served:
                why = (
                    f"missing from spec.versions; {version} was previously a storage version, and must remain in spec.versions "
                    f"until a storage migration ensures no data remains persisted in {version} and removes {version} from "
                    "status.storedVersions"
                )
                found.append(invalid(f"status.storedVersions[{index}]", version, why))
        return tuple(found)


def _default_version(version: Obj) -> Obj:
    return filled(version, absent={"served": False, "storage": False})


def _validate_crd(crd: Obj) -> Iterator[Cause]:
    spec = crd.get("spec") or {}
    names, group = spec.get("names") or {}, spec.get("group") or ""
    if name_of(crd) != f"{names.get('plural', '')}.{group}":
        yield invalid("metadata.name", name_of(crd), 'must be spec.names.plural+"."+spec.group')
    if not group:
        yield required("spec.group")
    else:
        for why in subdomain_errors(group):
            yield invalid("spec.group", group, why)
        if "." not in group:
            yield invalid("spec.group", group, "should be a domain with at least one dot")
    is_protected = group.endswith((".k8s.io", ".kubernetes.io")) or group in ("k8s.io", "kubernetes.io")
    if is_protected and not annotations_of(crd).get(APPROVED):
        path = f"metadata.annotations[{APPROVED}]"
        yield required(
            path,
            "protected groups must have approval annotation, see https://github.com/kubernetes/enhancements/pull/1111",
        )
    if spec.get("scope") not in SCOPES:
        yield not_supported("spec.scope", spec["scope"], SCOPES) if spec.get("scope") else required("spec.scope")
    yield from _validate_names(names)
    if spec.get("preserveUnknownFields"):
        yield invalid("spec.preserveUnknownFields", True, "must be false")
    yield from validate_conversion(spec.get("conversion") or {}, "spec.conversion")
    versions = spec.get("versions") or ()
    if not versions:
        yield required("spec.versions")
    if versions and sum(bool(version.get("storage")) for version in versions) != 1:
        listed = [version.get("name", "") for version in versions]
        yield invalid("spec.versions", listed, "must have exactly one version marked as storage version")
    seen: set[str] = set()
    for index, version in enumerate(versions):
        name, path = version.get("name", ""), f"spec.versions[{index}]"
        for why in service_name_errors(name):
            yield invalid(f"{path}.name", name, why)
        if name in seen:
            yield duplicate(f"{path}.name", name)
        seen.add(name)
        yield from _validate_version(version, path)


def _validate_names(names: Obj) -> Iterator[Cause]:
    for field in ("plural", "singular", "kind", "listKind"):
        name, path = names.get(field) or "", f"spec.names.{field}"
        if not name:
            yield required(path)
            continue
        for why in service_name_errors(name.lower()):
            yield invalid(path, name, why)
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        yield invalid("spec.names.listKind", names["listKind"], "kind and listKind may not be the same")
    for field in ("shortNames", "categories"):
        for index, name in enumerate(names.get(field) or ()):
            for why in label_errors(name):
                yield invalid(f"spec.names.{field}[{index}]", name, why)


def _validate_version(version: Obj, path: str) -> Iterator[Cause]:
    schema = field_of(version, "schema", "openAPIV3Schema")
    if schema is None:
        yield required(f"{path}.schema.openAPIV3Schema", "schemas are required")
    else:
        at = f"{path}.schema.openAPIV3Schema"
        yield from check_structural(schema, at) or _check_rules(schema, at)
    if warning := version.get("deprecationWarning"):
        at = f"{path}.deprecationWarning"
        if not version.get("deprecated"):
            yield invalid(at, warning, "can only be set for deprecated versions")
        if len(warning) > DEPRECATION_MAX:
            yield too_long(at, DEPRECATION_MAX)
        elif not warning.isprintable():
            yield invalid(at, warning, "must only contain printable UTF-8 characters; non-printable character found")
    for index, column in enumerate(version.get("additionalPrinterColumns") or ()):
        at = f"{path}.additionalPrinterColumns[{index}]"
        if not column.get("name"):
            yield required(f"{at}.name")
        if column.get("type") not in COLUMN_TYPES:
            yield not_supported(f"{at}.type", column.get("type") or "", COLUMN_TYPES)
        yield from _validate_path(column.get("jsonPath") or "", f"{at}.jsonPath")
    fields = version.get("selectableFields") or ()
    if len(fields) > SELECTABLE_MAX:
        yield forbidden(f"{path}.selectableFields", f"must have at most {SELECTABLE_MAX} items")
    seen: set[str] = set()
    for index, field in enumerate(fields):
        at, text = f"{path}.selectableFields[{index}].jsonPath", field.get("jsonPath") or ""
        yield from _validate_selectable(text, at, schema or {})
        if text in seen:
            yield duplicate(at, text)
        seen.add(text)
    scale = field_of(version, "subresources", "scale")
    if scale is not None:
        at = f"{path}.subresources.scale"
        yield from _validate_plain_path(scale.get("specReplicasPath") or "", f"{at}.specReplicasPath", ".spec.")
        yield from _validate_plain_path(scale.get("statusReplicasPath") or "", f"{at}.statusReplicasPath", ".status.")
        if selector := scale.get("labelSelectorPath"):
            yield from _validate_plain_path(selector, f"{at}.labelSelectorPath", ".")


def _validate_selectable(text: str, path: str, schema: Obj) -> Iterator[Cause]:
    """Upstream: validateCustomResourceDefinitionVersion, cel.ValidFieldPath."""
    wrong = tuple(_validate_plain_path(text, path, "."))
    if wrong:
        yield from wrong
        return
    names = plain_path(text)
    if names[0] == "metadata":
        yield invalid(path, text, "must not point to fields in metadata")
        return
    found: Any = schema
    for name in names:
        found = field_of(found, "properties", name)
        if found is None:
            yield invalid(path, text, "is an invalid path: does not refer to a valid field")
            return
    if found.get("type") not in SELECTABLE_TYPES:
        yield invalid(path, text, _SELECTABLE_WHY)


def _check_rules(schema: Obj, path: str) -> tuple[Cause, ...]:
    if not has_rules(schema):
        return ()
    from cluster.machinery.cel.check import check_rules  # the expression language is loaded with the first rule

    return check_rules(schema, path)


def _validate_path(text: str, path: str) -> Iterator[Cause]:
    if not text:
        yield required(path)
        return
    try:
        parse_field_path(text)
    except FieldPathError as error:
        yield invalid(path, text, str(error))


def _validate_plain_path(text: str, path: str, prefix: str) -> Iterator[Cause]:
    if not text:
        yield required(path)
        return
    try:
        plain_path(text)
    except FieldPathError as error:
        yield invalid(path, text, str(error))
        return
    if not text.startswith(prefix):
        yield invalid(path, text, f"should be a json path under {prefix.rstrip('.')}")


KINDS: Mapping[GroupKind, Kind] = {
    GroupKind("apiextensions.k8s.io", "CustomResourceDefinition"): Kind(CrdStrategy(), (NAME, CREATED_AT)),
}
