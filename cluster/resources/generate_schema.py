"""Write `data/schema.json.z` and `data/docs.json.z` from upstream's published definitions.

Run by hand on a version bump: `python -m cluster.resources.generate_schema`.  The source is the development dependency
`kubernetes-validate`, which carries the official OpenAPI v2 definitions with three changes that are undone here: types are
made nullable, Quantity and IntOrString become `oneOf`, and `apiVersion` and `kind` gain enums.  Knows nothing of how the
result is used.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

VERSION = "1.33"
DATA = Path(__file__).parent / "data"
REF = "#/definitions/"

_GA = re.compile(r"v[0-9]+")
_SOURCE_REF = "#/$defs/"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_REPLACED: Mapping[str, Mapping[str, Any]] = {
    _QUANTITY: {"type": "string"},
    _INT_OR_STRING: {"format": "int-or-string", "type": "string"},
}
# Upstream serves these two in OpenAPI v3 only; server-side apply needs them, since `protocol` is part of a list-map key.
_KEY_DEFAULTS = {
    "io.k8s.api.core.v1.ContainerPort": {"protocol": "TCP"},
    "io.k8s.api.core.v1.ServicePort": {"protocol": "TCP"},
}
_DROPPED_WORDS = frozenset({"description", "enum"})


def source_path() -> Path | None:
    """Upstream's definitions in the installed development dependency; None when it is not installed."""
    spec = find_spec("kubernetes_validate")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "kubernetes-json-schema" / f"v{VERSION}.0-local"
    return folder / "_definitions.json"


def schema_of(source: Mapping[str, Any]) -> dict[str, Any]:
    """The definitions every GA kind needs, as upstream's OpenAPI v2 has them, without descriptions."""
    kept = sorted(_closure(source))
    return {name: _definition(name, source[name]) for name in kept}


def docs_of(source: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Per kept definition: its description under the empty name, and each property's under the property's."""
    docs: dict[str, dict[str, str]] = {}
    for name in sorted(_closure(source)):
        definition = source[name]
        texts = {"": definition.get("description", "")}
        for property_name, schema in sorted(definition.get("properties", {}).items()):
            texts[property_name] = schema.get("description", "")
        docs[name] = {key: text for key, text in texts.items() if text}
    return docs


def _closure(source: Mapping[str, Any]) -> set[str]:
    found: set[str] = set()
    open_names = [name for name, definition in source.items() if _is_wanted(name, definition)]
    while open_names:
        name = open_names.pop()
        if name not in found:
            found.add(name)
            open_names.extend(_references(source[name]))
    return found


def _is_wanted(name: str, definition: Mapping[str, Any]) -> bool:
    kinds = definition.get("x-kubernetes-group-version-kind", ())
    return any(_GA.fullmatch(kind["version"]) for kind in kinds) or name.startswith("io.k8s.apimachinery.pkg.version.")


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        reference = schema.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix(_SOURCE_REF)
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _definition(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    if name in _REPLACED:
        return dict(_REPLACED[name])
    plain = _plain(schema)
    for property_name, default in _KEY_DEFAULTS.get(name, {}).items():
        plain["properties"][property_name]["default"] = default
    kinds = plain.get("x-kubernetes-group-version-kind")
    if kinds:
        plain["x-kubernetes-group-version-kind"] = [kind for kind in kinds if _GA.fullmatch(kind["version"])]
    return plain


def _plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for word in sorted(schema):
        value = schema[word]
        if word in _DROPPED_WORDS:
            continue
        match word:
            case "properties":
                plain[word] = {name: _plain(value[name]) for name in sorted(value)}
            case "items" | "additionalProperties" if isinstance(value, Mapping):
                plain[word] = _plain(value)
            case "$ref":
                plain[word] = REF + value.removeprefix(_SOURCE_REF)
            case "type" if isinstance(value, list):
                plain[word] = next(name for name in value if name != "null")
            case _:
                plain[word] = value
    return plain


def encoded(content: Any) -> bytes:
    return zlib.compress(orjson.dumps(content, option=orjson.OPT_SORT_KEYS), 9)


def main() -> None:
    path = source_path()
    if path is None:
        raise SystemExit("kubernetes-validate is not installed: it is a development dependency")
    source = orjson.loads(path.read_bytes())["$defs"]
    DATA.mkdir(exist_ok=True)
    (DATA / "schema.json.z").write_bytes(encoded(schema_of(source)))
    (DATA / "docs.json.z").write_bytes(encoded(docs_of(source)))


if __name__ == "__main__":
    main()
