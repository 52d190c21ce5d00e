"""The in-process Transport: the same routes, authorization, admission and registry as the wire, without bytes.

What it returns is shared with everybody else who reads that revision, and what it is given is copied once.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeAlias
from urllib.parse import parse_qs, urlsplit

import orjson

from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call, ObjResult, Result, RowResult, RowsResult, WatchResult
from cluster.apiserver.http import ApiRequest, ByteSource, Identity, Reply
from cluster.client.transport import (
    DeleteOptions,
    ObjList,
    Patch,
    Query,
    RawResponse,
    WatchEvent,
    WriteOptions,
)
from cluster.machinery.errors import ApiError, BadRequest, InternalError, error_of_status
from cluster.machinery.objects import Key, Obj, key_of
from cluster.machinery.resource import Resource

_Parameters: TypeAlias = Mapping[str, list[str]]
_OwnParameters: TypeAlias = dict[str, list[str]]


class Executed(Protocol):
    @property
    def call(self) -> Call | None: ...

    @property
    def result(self) -> Result: ...


class InProcessTransport:
    """See `cluster.client.transport.Transport`.  `agent` names the component as a User-Agent would."""

    def __init__(
        self,
        backend: Backend,
        execute: Callable[[ApiRequest], Awaitable[Executed]],
        handle: Callable[[ApiRequest], Awaitable[Reply]],
        identity: Identity,
    ) -> None:
        self._backend = backend
        self._execute = execute
        self._handle = handle
        self._identity = identity
        self._headers = {"user-agent": identity.name}

    async def get(self, resource: Resource, key: Key, *, subresource: str = "") -> Obj:
        return await self._object("GET", resource.path(namespace=key.namespace, name=key.name, subresource=subresource))

    async def list(self, resource: Resource, query: Query = Query()) -> ObjList:
        executed = await self._run("GET", resource.path(namespace=query.namespace), _query_of(query))
        result = executed.result
        if not isinstance(result, RowsResult) or executed.call is None:
            raise BadRequest("the answer is not a list")
        state, descriptor = self._backend.state, executed.call.descriptor
        items = [descriptor.from_storage(state.obj(row)) for row in result.rows]
        return ObjList(items, str(result.revision), result.continue_token)

    async def watch(
        self, resource: Resource, query: Query = Query(), *, bookmarks: bool = True, timeout_s: float = 0
    ) -> AsyncIterator[WatchEvent]:
        parameters = _query_of(query) | {"watch": ["true"]}
        if bookmarks:
            parameters["allowWatchBookmarks"] = ["true"]
        if timeout_s:
            parameters["timeoutSeconds"] = [str(math.ceil(timeout_s))]
        executed = await self._run("GET", resource.path(namespace=query.namespace), parameters)
        if not isinstance(executed.result, WatchResult):
            raise BadRequest("the answer is not a watch")
        events = executed.result.watcher.events()
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()

    async def create(
        self,
        resource: Resource,
        obj: Obj,
        *,
        name: str = "",
        subresource: str = "",
        options: WriteOptions = WriteOptions(),
    ) -> Obj:
        path = resource.path(namespace=key_of(obj).namespace, name=name, subresource=subresource)
        return await self._object("POST", path, _query_of_write(options), _copied(obj))

    async def update(
        self, resource: Resource, obj: Obj, *, subresource: str = "", options: WriteOptions = WriteOptions()
    ) -> Obj:
        key = key_of(obj)
        path = resource.path(namespace=key.namespace, name=key.name, subresource=subresource)
        return await self._object("PUT", path, _query_of_write(options), _copied(obj))

    async def patch(
        self,
        resource: Resource,
        key: Key,
        patch: Patch,
        *,
        subresource: str = "",
        options: WriteOptions = WriteOptions(),
    ) -> Obj:
        path = resource.path(namespace=key.namespace, name=key.name, subresource=subresource)
        query = _query_of_write(options)
        if patch.force:
            query["force"] = ["true"]
        return await self._object("PATCH", path, query, _copied(patch.body), content_type=patch.type.value)

    async def delete(self, resource: Resource, key: Key, options: DeleteOptions = DeleteOptions()) -> Obj:
        preconditions = {"uid": options.uid, "resourceVersion": options.resource_version}
        body: dict[str, Any] = {
            "gracePeriodSeconds": options.grace_period_s,
            "propagationPolicy": options.propagation_policy,
            "preconditions": {name: value for name, value in preconditions.items() if value},
            "dryRun": ["All"] if options.dry_run else [],
        }
        return await self._object("DELETE", resource.path(namespace=key.namespace, name=key.name), {}, body)

    async def raw(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> RawResponse:
        split = urlsplit(path)
        named = self._headers | {name.lower(): value for name, value in (headers or {}).items()}
        query = parse_qs(split.query, keep_blank_values=True)
        reply = await self._handle(ApiRequest(method, split.path, self._identity, query, named, body))
        content = await _content_of(reply)
        if reply.status >= 400:
            raise _error_of(content)
        return RawResponse(reply.status, {"content-type": reply.content_type, **reply.headers}, content)

    async def _object(
        self,
        method: str,
        path: str,
        query: _Parameters | None = None,
        obj: Any = None,
        *,
        content_type: str = "application/json",
    ) -> Obj:
        executed = await self._run(method, path, query or {}, obj, content_type)
        match executed.result:
            case RowResult(row) if executed.call is not None:
                return executed.call.descriptor.from_storage(self._backend.state.obj(row))
            case ObjResult(answer):
                return answer
            case _:
                raise BadRequest("the answer is not an object")

    async def _run(
        self,
        method: str,
        path: str,
        query: _Parameters,
        obj: Any = None,
        content_type: str = "application/json",
    ) -> Executed:
        headers = self._headers if obj is None else {**self._headers, "content-type": content_type}
        return await self._execute(ApiRequest(method, path, self._identity, query, headers, b"", obj))


def _copied(obj: Any) -> Any:
    """Detached from the caller, and with JSON's types only: tuples would never compare equal to what was read."""
    try:
        return orjson.loads(orjson.dumps(obj))
    except TypeError as error:
        raise BadRequest(f"the object is not JSON: {error}") from None


def _query_of(query: Query) -> _OwnParameters:
    named = {
        "labelSelector": query.label_selector,
        "fieldSelector": query.field_selector,
        "resourceVersion": query.resource_version,
        "resourceVersionMatch": query.resource_version_match,
        "limit": str(query.limit) if query.limit else "",
        "continue": query.continue_token,
    }
    return {name: [value] for name, value in named.items() if value}


def _query_of_write(options: WriteOptions) -> _OwnParameters:
    named = {
        "fieldManager": options.field_manager,
        "dryRun": "All" if options.dry_run else "",
        "fieldValidation": options.field_validation,
    }
    return {name: [value] for name, value in named.items() if value}


async def _content_of(reply: Reply) -> bytes:
    if reply.stream is not None:
        return await _read_whole(reply.stream)
    if reply.body is not None:
        return reply.body
    if reply.upgrade is not None:
        raise BadRequest("the answer is an upgraded connection")
    return orjson.dumps(reply.obj)


async def _read_whole(source: ByteSource) -> bytes:
    ready = asyncio.Event()
    source.on_ready(ready.set)
    parts: list[bytes] = []
    try:
        while True:
            ready.clear()
            part = source.take()
            if part is None:
                return b"".join(parts)
            if part:
                parts.append(part)
            else:
                await ready.wait()
    finally:
        source.close()


def _error_of(content: bytes) -> ApiError:
    try:
        return error_of_status(orjson.loads(content))
    except (orjson.JSONDecodeError, AttributeError, TypeError):
        return InternalError(content.decode(errors="replace"))
