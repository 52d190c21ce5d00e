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


def kind_of(group: str, kind: str, version: str = "") -> Descriptor:
    """In its preferred version, unless another is named."""
    found = CATALOG.of_kind(GroupKind(group, kind), version)
    assert found is not None
    return found


def complaints(descriptor: Descriptor, obj: Obj, old: Obj | None = None) -> list[str]:
    """`path: message` of everything wrong with a new object, or with an update of `old`; both are prepared first."""
    strategy = descriptor.strategy
    if old is None:
        causes = strategy.validate(strategy.prepare_create(strategy.default(obj), CONTEXT))
    else:
        before = strategy.default(old)
        causes = strategy.validate_update(strategy.prepare_update(strategy.default(obj), before), before)
    return [f"{cause.field}: {cause.message}" for cause in causes]


def begin(found: list[str], expected: str) -> bool:
    """Exactly one complaint, which begins as expected: long values need not be repeated."""
    return len(found) == 1 and found[0].startswith(expected)


def cells(descriptor: Descriptor, obj: Obj) -> list[object]:
    """The row as `-o wide` shows it."""
    return list(table_of(descriptor.columns, [obj], NOW)["rows"][0]["cells"])


def named(name: str, namespace: str = "", **fields: object) -> dict[str, object]:
    metadata = {"name": name, "creationTimestamp": "2025-01-01T11:59:00Z"}
    return {"metadata": {**metadata, "namespace": namespace} if namespace else metadata, **fields}
