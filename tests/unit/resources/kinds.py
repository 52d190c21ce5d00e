"""What tests of built-in kinds share: a kind by its name, its complaints as clients read them, its row in a table."""

from __future__ import annotations

from datetime import UTC, datetime

from cluster.machinery.objects import GroupKind, Obj
from cluster.resources.catalog import Descriptor, builtin_catalog
from cluster.resources.printing import table_of
from cluster.resources.strategy import WriteContext

CATALOG = builtin_catalog()
CONTEXT = WriteContext(user="tester")
NOW = datetime(2025, 1, 1, 12, tzinfo=UTC)


def kind_of(group: str, kind: str) -> Descriptor:
    found = CATALOG.of_kind(GroupKind(group, kind))
    assert found is not None
    return found


def complaints(descriptor: Descriptor, obj: Obj, old: Obj | None = None) -> list[str]:
    """`path: message` of everything wrong with a new object, or with an update of `old`; both are defaulted first."""
    strategy = descriptor.strategy
    new = strategy.default(obj)
    causes = strategy.validate(new) if old is None else strategy.validate_update(new, strategy.default(old))
    return [f"{cause.field}: {cause.message}" for cause in causes]


def cells(descriptor: Descriptor, obj: Obj) -> list[object]:
    """The row as `-o wide` shows it."""
    return list(table_of(descriptor.columns, [obj], NOW)["rows"][0]["cells"])


def named(name: str, namespace: str = "", **fields: object) -> dict[str, object]:
    metadata = {"name": name, "creationTimestamp": "2025-01-01T11:59:00Z"}
    return {"metadata": {**metadata, "namespace": namespace} if namespace else metadata, **fields}
