"""Server-side tables: what a column is, how its cell is computed, and a list of objects as a meta.k8s.io/v1 Table.

Upstream: kubernetes/pkg/printers.  Each kind's columns stand beside its strategy.  Time is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from cluster.machinery.objects import Obj, meta_of, name_of
from cluster.machinery.timestamps import age_of

Cell: TypeAlias = str | int | float | bool | None
CellOf: TypeAlias = Callable[[Obj, datetime], Cell]
IncludeObject: TypeAlias = Literal["None", "Metadata", "Object"]

UNKNOWN = "<unknown>"
NONE = "<none>"
UNSET = "<unset>"


@dataclass(frozen=True, slots=True)
class Column:
    """`cell` computes the value from an object and the present.  A `wide` column is only shown by `-o wide`."""

    name: str
    cell: CellOf
    type: str = "string"
    format: str = ""
    description: str = ""
    wide: bool = False

    def definition(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description,
            "priority": 1 if self.wide else 0,
        }


def column_definitions(columns: Sequence[Column]) -> list[dict[str, Any]]:
    return [column.definition() for column in columns]


def row_of(columns: Sequence[Column], obj: Obj, now: datetime, include_object: IncludeObject = "Metadata") -> Obj:
    """One TableRow."""
    row: dict[str, Any] = {"cells": [column.cell(obj, now) for column in columns]}
    match include_object:
        case "None":
            row["object"] = None
        case "Metadata":
            row["object"] = {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": meta_of(obj),
            }
        case "Object":
            row["object"] = obj
    return row


def table_of(
    columns: Sequence[Column],
    objects: Iterable[Obj],
    now: datetime,
    *,
    include_object: IncludeObject = "Metadata",
    list_metadata: Obj | None = None,
    api_version: str = "meta.k8s.io/v1",
) -> Obj:
    """A Table of `objects` in their order; `list_metadata` carries the list's resourceVersion and continue token."""
    return {
        "kind": "Table",
        "apiVersion": api_version,
        "metadata": list_metadata or {},
        "columnDefinitions": column_definitions(columns),
        "rows": [row_of(columns, obj, now, include_object) for obj in objects],
    }


def name_cell(obj: Obj, now: datetime) -> str:
    return name_of(obj)


def age_cell(obj: Obj, now: datetime) -> str:
    return age_of(meta_of(obj).get("creationTimestamp", ""), now)


def created_cell(obj: Obj, now: datetime) -> str:
    return str(meta_of(obj).get("creationTimestamp", ""))


def field_cell(*path: str, default: Cell = "") -> CellOf:
    """A cell that shows the field at `path`."""

    def cell(obj: Obj, now: datetime) -> Cell:
        value: Any = obj
        for part in path:
            value = value.get(part) if isinstance(value, dict) or hasattr(value, "get") else None
            if value is None:
                return default
        return value if isinstance(value, (str, int, float, bool)) else str(value)

    return cell


NAME = Column("Name", name_cell, format="name", description="Name must be unique within a namespace.")
AGE = Column("Age", age_cell, description="Time since creation.")
CREATED_AT = Column("Created At", created_cell, description="Creation time in RFC 3339 form.")
DEFAULT_COLUMNS: tuple[Column, ...] = (NAME, AGE)
