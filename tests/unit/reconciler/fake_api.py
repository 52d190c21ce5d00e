"""A small API server for tests of the reconciler: objects in a dictionary, server-side apply by one manager, watches by call.

It answers as upstream does where the reconciler looks: dry run, uid preconditions, generations, definitions that begin to
be served.  It is not a model of anything else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson

from cluster.client.cache import Change
from cluster.client.transport import (
    DeleteOptions,
    EventType,
    ObjList,
    Patch,
    PatchType,
    Query,
    RawResponse,
    WatchEvent,
    WriteOptions,
)
from cluster.machinery.errors import AlreadyExists, ApiError, Conflict, Invalid, not_found
from cluster.machinery.objects import Key, Obj, key_of, resource_version_of, uid_of
from cluster.machinery.resource import Resource
from cluster.machinery.selectors import Selector
from cluster.resources.builtin import BUILTIN


async def _at_once(verb: str, resource: Resource, obj: Obj) -> None:
    return


class FakeApi:
    """Transport and Cache at once, for every identity: `user` names who asks."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[Key, dict[str, Any]]] = {}
        self.requests: list[tuple[str, str, str]] = []
        self.before: Callable[[str, Resource, Obj], Awaitable[None]] = _at_once
        """Awaited before a write is carried out: a test may hold it."""
        self.refuse: Callable[[str, str, Resource, Obj], ApiError | None] = lambda user, verb, resource, obj: None
        self._applied: dict[tuple[str, str, Key], Any] = {}
        self._handlers: dict[tuple[str, str], list[Callable[[Change], None]]] = {}
        self._resources: dict[tuple[str, str], Resource] = {(r.group, r.plural): r for r in BUILTIN}
        self._revision = 0

    def as_user(self, user: str, groups: Sequence[str] = ()) -> FakeTransport:
        return FakeTransport(self, user)

    def cache_of(self, resource: Resource) -> FakeApi:
        return self

    def find(self, kind: str, name: str, namespace: str = "default") -> dict[str, Any] | None:
        for table in self.objects.values():
            for key, obj in table.items():
                if obj["kind"] == kind and key.name == name and key.namespace in (namespace, ""):
                    return obj
        return None

    def put(self, resource: Resource, obj: Mapping[str, Any]) -> dict[str, Any]:
        """Store as if a person had."""
        return self._store(resource, dict(obj), bump=True)

    def drop(self, resource: Resource, key: Key) -> None:
        old = self.objects[resource.group, resource.plural].pop(key)
        self._tell(Change(resource, key, old, None))

    async def sync(self, resources: Sequence[Resource]) -> None:
        return None

    def get(self, resource: Resource, key: Key) -> Obj | None:
        return self._table(resource).get(key)

    def versions(self, resource: Resource, keys: Iterable[Key]) -> Sequence[str]:
        return [resource_version_of(self._table(resource).get(key, {"metadata": {}})) for key in keys]

    def list(self, resource: Resource, *, namespace: str = "", selector: Selector | None = None) -> Sequence[Obj]:
        return [
            obj for key, obj in sorted(self._table(resource).items()) if not namespace or key.namespace == namespace
        ]

    def owned_by(self, owner: Obj, resource: Resource) -> Sequence[Obj]:
        return ()

    def on_node(self, node: str, resource: Resource) -> Sequence[Obj]:
        return ()

    def revision(self, resource: Resource) -> int:
        return self._revision

    def subscribe(self, resource: Resource, handler: Callable[[Change], None]) -> Callable[[], None]:
        handlers = self._handlers.setdefault((resource.group, resource.plural), [])
        handlers.append(handler)
        for key, obj in list(self._table(resource).items()):
            handler(Change(resource, key, None, obj))
        return lambda: handlers.remove(handler)

    def _table(self, resource: Resource) -> dict[Key, dict[str, Any]]:
        return self.objects.setdefault((resource.group, resource.plural), {})

    def _tell(self, change: Change) -> None:
        for handler in list(self._handlers.get((change.resource.group, change.resource.plural), ())):
            handler(change)

    def _store(self, resource: Resource, obj: dict[str, Any], *, bump: bool, dry_run: bool = False) -> dict[str, Any]:
        key = key_of(obj)
        old = self._table(resource).get(key)
        meta = dict(obj["metadata"])
        if old is None:
            meta |= {"uid": f"uid-{self._revision + 1}", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"}
        else:
            meta |= {"uid": uid_of(old), "generation": old["metadata"]["generation"]}
            spec_changed = {**obj, "metadata": 0, "status": 0} != {**old, "metadata": 0, "status": 0}
            if spec_changed and bump:
                meta["generation"] += 1
            meta["resourceVersion"] = old["metadata"]["resourceVersion"]
            if {**obj, "metadata": meta} == old:
                return old
        meta["resourceVersion"] = str(self._revision + 1)
        new = {**obj, "metadata": meta}
        if resource.kind == "CustomResourceDefinition":
            new["status"] = {"conditions": [{"type": "Established", "status": "True"}]}
        if dry_run:
            return new
        self._revision += 1
        if meta.get("deletionTimestamp") and not meta.get("finalizers"):
            self.drop(resource, key)
            return new
        self._table(resource)[key] = new
        if resource.kind == "CustomResourceDefinition":
            self._serve(new)
        self._tell(Change(resource, key, old, new))
        return new

    def _serve(self, crd: Obj) -> None:
        spec = crd["spec"]
        names = spec["names"]
        self._resources[spec["group"], names["plural"]] = Resource(
            spec["group"], spec["versions"][0]["name"], names["kind"], names["plural"], spec["scope"] == "Namespaced"
        )

    def discovery(self, path: str) -> Obj:
        groups: dict[str, list[Any]] = {}
        for resource in self._resources.values():
            if (resource.group == "") == (path == "/api"):
                groups.setdefault(resource.group, []).append(
                    {
                        "version": resource.version,
                        "resources": [
                            {
                                "resource": resource.plural,
                                "responseKind": {"kind": resource.kind},
                                "scope": "Namespaced" if resource.namespaced else "Cluster",
                            }
                        ],
                    }
                )
        items = [{"metadata": {"name": group}, "versions": versions} for group, versions in groups.items()]
        return {"kind": "APIGroupDiscoveryList", "items": items}

    def apply(self, resource: Resource, key: Key, body: Obj, *, dry_run: bool) -> dict[str, Any]:
        old = self._table(resource).get(key)
        place = (resource.group, resource.plural, key)
        base = _without(old, self._applied.get(place), body) if old else {}
        merged = _merged(base, body)
        managed = [{"manager": "reconciler", "operation": "Apply"}]
        merged["metadata"] = {**merged["metadata"], "managedFields": managed}
        if not dry_run:
            self._applied[place] = body
        return self._store(resource, merged, bump=True, dry_run=dry_run)


class FakeTransport:
    def __init__(self, api: FakeApi, user: str) -> None:
        self._api = api
        self._user = user

    def _ask(self, verb: str, resource: Resource, obj: Obj) -> None:
        self._api.requests.append((self._user, verb, f"{resource.kind} {key_of(obj)}"))
        if (error := self._api.refuse(self._user, verb, resource, obj)) is not None:
            raise error

    async def get(self, resource: Resource, key: Key, *, subresource: str = "") -> Obj:
        found = self._api.get(resource, key)
        if found is None:
            raise not_found(resource.group, resource.plural, key.name)
        return found

    async def list(self, resource: Resource, query: Query = Query()) -> ObjList:
        return ObjList(self._api.list(resource, namespace=query.namespace), str(self._api.revision(resource)))

    async def watch(
        self, resource: Resource, query: Query = Query(), *, bookmarks: bool = True, timeout_s: float = 0
    ) -> AsyncIterator[WatchEvent]:
        for obj in self._api.list(resource):
            yield WatchEvent(EventType.ADDED, obj)

    async def create(
        self,
        resource: Resource,
        obj: Obj,
        *,
        name: str = "",
        subresource: str = "",
        options: WriteOptions = WriteOptions(),
    ) -> Obj:
        self._ask("create", resource, obj)
        if self._api.get(resource, key_of(obj)) is not None:
            raise AlreadyExists("it exists")
        return self._api._store(resource, dict(obj), bump=True)

    async def update(
        self, resource: Resource, obj: Obj, *, subresource: str = "", options: WriteOptions = WriteOptions()
    ) -> Obj:
        self._ask("update", resource, obj)
        live = await self.get(resource, key_of(obj))
        if live["metadata"]["resourceVersion"] != obj["metadata"].get("resourceVersion"):
            raise Conflict("the object has been modified")
        return self._api._store(resource, dict(obj), bump=True)

    async def patch(
        self,
        resource: Resource,
        key: Key,
        patch: Patch,
        *,
        subresource: str = "",
        options: WriteOptions = WriteOptions(),
    ) -> Obj:
        named = {"metadata": {"namespace": key.namespace, "name": key.name}, **patch.body}
        named["metadata"] = {**named["metadata"], "namespace": key.namespace, "name": key.name}
        verb = "dry-run" if options.dry_run else "patch"
        await self._api.before(verb, resource, patch.body)
        self._ask(verb, resource, named)
        if patch.type is PatchType.APPLY:
            if patch.body.get("spec") == "invalid":
                raise Invalid("spec is invalid")
            return self._api.apply(resource, key, patch.body, dry_run=options.dry_run)
        live = await self.get(resource, key)
        return self._api._store(resource, _merged(live, patch.body), bump=subresource != "status")

    async def delete(self, resource: Resource, key: Key, options: DeleteOptions = DeleteOptions()) -> Obj:
        live = await self.get(resource, key)
        self._ask("delete", resource, live)
        if options.uid and options.uid != uid_of(live):
            raise Conflict("the uid in the precondition does not match")
        if live["metadata"].get("finalizers"):
            meta = {**live["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
            return self._api._store(resource, {**live, "metadata": meta}, bump=False)
        self._api.drop(resource, key)
        return live

    async def raw(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> RawResponse:
        return RawResponse(200, {}, orjson.dumps(self._api.discovery(path)))


def _merged(base: Any, patch: Any) -> Any:
    if not isinstance(base, Mapping) or not isinstance(patch, Mapping):
        return patch
    merged = dict(base)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged


def _without(live: Any, applied: Any, now: Any) -> Any:
    """`live` without the fields that were applied before and are not any more."""
    if not isinstance(live, Mapping) or not isinstance(applied, Mapping):
        return live
    now = now if isinstance(now, Mapping) else {}
    return {
        name: _without(value, applied.get(name), now.get(name))
        for name, value in live.items()
        if name in now or name not in applied
    }
