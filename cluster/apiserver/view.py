"""The server's own state as a `Cache`: in one process an informer is a view, not a second copy.

It is not authorized: only components that the composer trusts with everything get one.  What a webhook would have to convert
is shown in the version it is stored in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from cluster.apiserver.state import Row, State, Table, TableId, subscriptions
from cluster.client.cache import Change
from cluster.machinery.objects import Key, Obj, namespace_of, uid_of
from cluster.machinery.resource import Resource
from cluster.machinery.selectors import Selector
from cluster.resources.catalog import Catalog, same


class ObjView:
    """See `cluster.client.cache.Cache`."""

    def __init__(self, state: State, catalog: Catalog) -> None:
        self._state = state
        self._catalog = catalog

    async def sync(self, resources: Sequence[Resource]) -> None:
        """Nothing to wait for: the server loads its state before it hands out views."""

    def get(self, resource: Resource, key: Key) -> Obj | None:
        row = self._table(resource).get(key)
        return None if row is None else self._read(resource)(row)

    def versions(self, resource: Resource, keys: Iterable[Key]) -> Sequence[str]:
        rows = self._table(resource).rows
        return ["" if (row := rows.get(key)) is None else str(row.revision) for key in keys]

    def list(self, resource: Resource, *, namespace: str = "", selector: Selector | None = None) -> Sequence[Obj]:
        table = self._table(resource)
        rows: Iterable[Row] = (table.by_namespace.get(namespace) or {}).values() if namespace else table.rows.values()
        if selector is not None and not selector.is_empty:
            rows = [row for row in rows if selector.matches(row.labels)]
        return self._objects(resource, rows)

    def owned_by(self, owner: Obj, resource: Resource) -> Sequence[Obj]:
        namespace = namespace_of(owner)
        rows = (self._table(resource).by_owner.get(uid_of(owner)) or {}).values()
        return self._objects(resource, [row for row in rows if not namespace or row.key.namespace == namespace])

    def on_node(self, node: str, resource: Resource) -> Sequence[Obj]:
        return self._objects(resource, (self._table(resource).by_node.get(node) or {}).values())

    def revision(self, resource: Resource) -> int:
        return self._state.revision

    def subscribe(self, resource: Resource, handler: Callable[[Change], None]) -> Callable[[], None]:
        table, read = self._table(resource), self._read(resource)
        handle = next(subscriptions)

        def on_change(old: Row | None, new: Row | None) -> None:
            key = new.key if new is not None else old.key if old is not None else Key("", "")
            handler(Change(resource, key, None if old is None else read(old), None if new is None else read(new)))

        table.subscribers[handle] = on_change
        for obj in self.list(resource):
            handler(Change(resource, Key(namespace_of(obj), obj["metadata"]["name"]), None, obj))

        def stop() -> None:
            table.subscribers.pop(handle, None)

        return stop

    def _table(self, resource: Resource) -> Table:
        descriptor = self._catalog.get(resource.group, resource.version, resource.plural)
        storage = resource if descriptor is None else descriptor.storage
        return self._state.table(TableId(storage.group, storage.plural))

    def _read(self, resource: Resource) -> Callable[[Row], Obj]:
        descriptor = self._catalog.get(resource.group, resource.version, resource.plural)
        if descriptor is None or descriptor.from_storage is same or descriptor.conversion is not None:
            return self._state.obj
        convert = descriptor.from_storage
        return lambda row: convert(self._state.obj(row))

    def _objects(self, resource: Resource, rows: Iterable[Row]) -> Sequence[Obj]:
        read = self._read(resource)
        return [read(row) for row in sorted(rows, key=_key)]


def _key(row: Row) -> Key:
    return row.key
