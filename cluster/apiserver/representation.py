"""How rows are written: as they are stored, in another version, as a table, as their metadata only.

One representation serves single objects, lists and watch events alike.
"""

from __future__ import annotations

from typing import Any, Protocol

import orjson

from cluster.apiserver.call import Call, RowsResult
from cluster.apiserver.negotiation import Accepted, Form
from cluster.apiserver.state import Row, State
from cluster.apiserver.watch import INITIAL_EVENTS_END, Representation
from cluster.base.clock import Clock
from cluster.machinery.errors import BadRequest
from cluster.machinery.objects import Obj, meta_of
from cluster.resources.catalog import Descriptor
from cluster.resources.printing import IncludeObject, table_of

_INCLUDE: dict[str, IncludeObject] = {"": "Metadata", "None": "None", "Metadata": "Metadata", "Object": "Object"}


class ListRepresentation(Representation, Protocol):
    """Also writes whole lists."""

    def encode_list(self, rows: RowsResult) -> bytes: ...


def representation_of(call: Call, accepted: Accepted, state: State, clock: Clock) -> ListRepresentation:
    match accepted.form:
        case Form.TABLE:
            include = _INCLUDE.get(call.request.parameter("includeObject"))
            if include is None:
                raise BadRequest(f"unrecognized includeObject value: {call.request.parameter('includeObject')!r}")
            return AsTable(call.descriptor, state, clock, accepted.version, include)
        case Form.METADATA:
            return AsMetadata(state, accepted.version)
        case Form.OBJECT:
            if call.descriptor.is_stored:
                return AsStored(call.descriptor, state)
            return AsVersion(call.descriptor, state)


def list_metadata(rows: RowsResult) -> dict[str, Any]:
    metadata: dict[str, Any] = {"resourceVersion": str(rows.revision)}
    if rows.continue_token:
        metadata["continue"] = rows.continue_token
        if rows.remaining is not None:
            metadata["remainingItemCount"] = rows.remaining
    return metadata


def _bookmark(api_version: str, kind: str, revision: int, *, initial_events_end: bool) -> bytes:
    metadata: dict[str, Any] = {"resourceVersion": str(revision), "creationTimestamp": None}
    if initial_events_end:
        metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
    return orjson.dumps({"kind": kind, "apiVersion": api_version, "metadata": metadata})


class AsStored:
    """The stored bytes, untouched."""

    name = "stored"
    has_head = False

    def __init__(self, descriptor: Descriptor, state: State) -> None:
        self._resource = descriptor.resource
        self._state = state

    def encode(self, row: Row, *, first: bool) -> bytes:
        return row.value

    def decode(self, row: Row) -> Obj:
        return self._state.obj(row)

    def bookmark(self, revision: int, *, initial_events_end: bool) -> bytes:
        resource = self._resource
        return _bookmark(resource.api_version, resource.kind, revision, initial_events_end=initial_events_end)

    def encode_list(self, rows: RowsResult) -> bytes:
        return _joined(self._resource.api_version, self._resource.kind, rows, [row.value for row in rows.rows])


def _joined(api_version: str, kind: str, rows: RowsResult, items: list[bytes]) -> bytes:
    head = orjson.dumps({"kind": f"{kind}List", "apiVersion": api_version, "metadata": list_metadata(rows)})
    return b"".join((head[:-1], b',"items":[', b",".join(items), b"]}"))


class AsVersion:
    """Converted from the stored version."""

    has_head = False

    def __init__(self, descriptor: Descriptor, state: State) -> None:
        self._descriptor = descriptor
        self._resource = descriptor.resource
        self._state = state
        self.name = self._resource.api_version

    def encode(self, row: Row, *, first: bool) -> bytes:
        return orjson.dumps(self.decode(row))

    def decode(self, row: Row) -> Obj:
        return self._descriptor.from_storage(self._state.obj(row))

    def bookmark(self, revision: int, *, initial_events_end: bool) -> bytes:
        resource = self._resource
        return _bookmark(resource.api_version, resource.kind, revision, initial_events_end=initial_events_end)

    def encode_list(self, rows: RowsResult) -> bytes:
        items = [orjson.dumps(self._descriptor.from_storage(row.obj())) for row in rows.rows]
        return _joined(self._resource.api_version, self._resource.kind, rows, items)


class AsTable:
    """Columns for people.  In a watch only the first event carries the column definitions."""

    has_head = True

    def __init__(
        self, descriptor: Descriptor, state: State, clock: Clock, version: str, include: IncludeObject
    ) -> None:
        self._descriptor = descriptor
        self._state = state
        self._clock = clock
        self._api_version = f"meta.k8s.io/{version}"
        self._include: IncludeObject = include
        self.name = f"table/{descriptor.resource.api_version}/{version}/{include}"

    def encode(self, row: Row, *, first: bool) -> bytes:
        metadata = {"resourceVersion": str(row.revision)}
        table = dict(self._table([self.decode(row)], metadata))
        if not first:
            table["columnDefinitions"] = None
        return orjson.dumps(table)

    def decode(self, row: Row) -> Obj:
        return self._descriptor.from_storage(self._state.obj(row))

    def bookmark(self, revision: int, *, initial_events_end: bool) -> bytes:
        metadata: dict[str, Any] = {"resourceVersion": str(revision)}
        table = {"kind": "Table", "apiVersion": self._api_version, "metadata": metadata, "columnDefinitions": None}
        if initial_events_end:
            metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
        return orjson.dumps({**table, "rows": []})

    def encode_list(self, rows: RowsResult) -> bytes:
        objects = [self._descriptor.from_storage(row.obj()) for row in rows.rows]
        return orjson.dumps(self._table(objects, list_metadata(rows)))

    def _table(self, objects: list[Obj], metadata: Obj) -> Obj:
        return table_of(
            self._descriptor.columns,
            objects,
            self._clock.now(),
            include_object=self._include,
            list_metadata=metadata,
            api_version=self._api_version,
        )


class AsMetadata:
    """PartialObjectMetadata: for clients that only follow labels and owners."""

    has_head = False

    def __init__(self, state: State, version: str) -> None:
        self._state = state
        self._api_version = f"meta.k8s.io/{version}"
        self.name = f"metadata/{version}"

    def encode(self, row: Row, *, first: bool) -> bytes:
        return orjson.dumps(self._partial(self._state.obj(row)))

    def decode(self, row: Row) -> Obj:
        return self._partial(self._state.obj(row))

    def bookmark(self, revision: int, *, initial_events_end: bool) -> bytes:
        return _bookmark(self._api_version, "PartialObjectMetadata", revision, initial_events_end=initial_events_end)

    def encode_list(self, rows: RowsResult) -> bytes:
        items = [orjson.dumps(self._partial(row.obj())) for row in rows.rows]
        return _joined(self._api_version, "PartialObjectMetadata", rows, items)

    def _partial(self, obj: Obj) -> Obj:
        return {"kind": "PartialObjectMetadata", "apiVersion": self._api_version, "metadata": meta_of(obj)}
