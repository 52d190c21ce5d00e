"""What form of answer the Accept header asks for.  Pure.

Upstream: apiserver/pkg/endpoints/handlers/negotiation.  Unknown parameters are ignored; the first clause that can be
served wins, whatever its weight, as clients order them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from cluster.machinery.errors import NotAcceptable

HEADERS_KEPT_MAX = 256


class Form(Enum):
    OBJECT = "object"
    TABLE = "table"
    METADATA = "metadata"


@dataclass(frozen=True, slots=True)
class Accepted:
    """`version` is that of the meta.k8s.io kinds TABLE and METADATA."""

    form: Form = Form.OBJECT
    version: str = "v1"
    yaml: bool = False


JSON = Accepted()
_JSON_TYPES = frozenset(("application/json", "*/*", "application/*"))
_YAML_TYPES = frozenset(("application/yaml", "application/x-yaml", "text/yaml"))
_FORMS = {
    "Table": Form.TABLE,
    "PartialObjectMetadata": Form.METADATA,
    "PartialObjectMetadataList": Form.METADATA,
}


@lru_cache(HEADERS_KEPT_MAX)
def accepted(header: str, *, transformable: bool = True) -> Accepted:
    """Raises NotAcceptable.  `transformable`: whether the answer has a table and metadata of its own."""
    if not header:
        return JSON
    for clause in header.split(","):
        media_type, *parameters = (part.strip() for part in clause.split(";"))
        media_type = media_type.lower()
        if media_type not in _JSON_TYPES and media_type not in _YAML_TYPES:
            continue
        named = dict(part.partition("=")[::2] for part in parameters)
        yaml = media_type in _YAML_TYPES
        if "as" not in named:
            return Accepted(yaml=True) if yaml else JSON
        form = _FORMS.get(named["as"])
        right_group = named.get("g") == "meta.k8s.io" and named.get("v") in ("v1", "v1beta1")
        if form is not None and right_group and transformable and not yaml:
            return Accepted(form, named["v"])
    raise NotAcceptable(
        "only the following media types are accepted: application/json, application/yaml, "
        "application/json;as=Table;v=v1;g=meta.k8s.io, application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
    )
