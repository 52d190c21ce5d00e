"""Fields that stay as they were created.  Upstream: apimachinery/pkg/api/validation ValidateImmutableField."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import invalid
from cluster.machinery.objects import Obj, field_of


def validate_immutable(new: Obj, old: Obj, *paths: str) -> Iterator[Cause]:
    """A cause for each of the dotted `paths` whose value differs; null and absence are the same."""
    for path in paths:
        parts = path.split(".")
        value = field_of(new, *parts)
        if value != field_of(old, *parts):
            yield invalid(path, value, "field is immutable")
