"""What a group file says of one of its kinds; the catalog joins it with the kind's resource and schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from cluster.machinery.objects import Obj, name_of, namespace_of
from cluster.machinery.resource import Resource
from cluster.resources.printing import DEFAULT_COLUMNS, Column
from cluster.resources.strategy import Strategy

Selectable: TypeAlias = Mapping[str, Callable[[Obj], str]]
"""Field selector paths (`spec.nodeName`) to what they read; absent fields read as the empty string."""


@dataclass(frozen=True, slots=True)
class Kind:
    strategy: Strategy
    columns: Sequence[Column] = DEFAULT_COLUMNS
    selectable: Selectable = field(default_factory=dict)
    """Fields for selectors beyond `metadata.name` and `metadata.namespace`."""


def text_at(*path: str, default: str = "") -> Callable[[Obj], str]:
    """A reader of the field at `path` as selectors see it: text, booleans as `true` and `false`, absence as `default`."""

    def read(obj: Obj) -> str:
        value: Any = obj
        for part in path:
            if not isinstance(value, Mapping):
                return default
            value = value.get(part)
        if value is None:
            return default
        return str(value).lower() if isinstance(value, bool) else str(value)

    return read


def metadata_fields(resource: Resource) -> Selectable:
    """The fields every kind can be selected by."""
    return {"metadata.name": name_of, "metadata.namespace": namespace_of} if resource.namespaced else _NAME_ONLY


_NAME_ONLY: Selectable = {"metadata.name": name_of}
