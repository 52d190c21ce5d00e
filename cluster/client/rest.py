"""A Transport over HTTPS: any conformant Kubernetes API server, ours or another's.

Upstream: client-go/rest.  Objects travel as JSON; a list's items get the apiVersion and kind that lists leave out.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import orjson

from cluster.base.http_client import (
    Headers,
    HttpClient,
    HttpError,
    HttpTimeout,
    Limits,
    Response,
    TcpConnector,
    UpgradedConnection,
    UpgradeRefused,
)
from cluster.client.kubeconfig import ClusterAccess
from cluster.client.transport import (
    DeleteOptions,
    EventType,
    ObjList,
    Patch,
    Query,
    RawResponse,
    WatchEvent,
    WriteOptions,
)
from cluster.machinery.errors import ApiError, ServiceUnavailable, Timeout, error_of_status
from cluster.machinery.objects import Key, Obj, namespace_of
from cluster.machinery.resource import Resource

REQUEST_TIMEOUT_S = 60.0
WATCH_LINE_MAX_BYTES = 16 * 1024 * 1024


class HttpTransport:
    """Speaks as the user of `access`; `impersonate` adds another identity on top (its headers are authorized by the server)."""

    def __init__(
        self,
        access: ClusterAccess,
        *,
        user_agent: str = "reconciler",
        impersonate_user: str = "",
        impersonate_groups: Sequence[str] = (),
        client: HttpClient | None = None,
    ) -> None:
        self._tls = access.tls_context() if client is None else None
        self._client = client or HttpClient(
            TcpConnector(access.host, access.port, tls=self._tls, server_name=access.server_name),
            limits=Limits(body_max_bytes=512 * 1024 * 1024),
        )
        self._access = access
        self._user_agent = user_agent
        self._headers: dict[str, str | Sequence[str]] = {"User-Agent": user_agent, "Accept": "application/json"}
        if access.token:
            self._headers["Authorization"] = f"Bearer {access.token}"
        if impersonate_user:
            self._headers["Impersonate-User"] = impersonate_user
        if impersonate_groups:
            self._headers["Impersonate-Group"] = tuple(impersonate_groups)

    def present(self, access: ClusterAccess) -> None:
        """Log in with the certificate of `access` from the next connection on.  Raises ssl.SSLError."""
        if self._tls is not None:
            access.present_to(self._tls)

    def impersonate(self, user: str, groups: Sequence[str] = ()) -> HttpTransport:
        """The same connection pool as somebody else.

        Without `groups` the server adds a service account's own; with any, exactly those are used (and
        `system:authenticated`), and the server asks whether each may be impersonated.
        """
        return HttpTransport(
            self._access,
            user_agent=self._user_agent,
            impersonate_user=user,
            impersonate_groups=groups,
            client=self._client,
        )

    async def close(self) -> None:
        await self._client.close()

    async def get(self, resource: Resource, key: Key, *, subresource: str = "") -> Obj:
        return await self._call("GET", _path(resource, key, subresource))

    async def list(self, resource: Resource, query: Query = Query()) -> ObjList:
        answer = await self._call("GET", resource.path(namespace=query.namespace), _list_parameters(query))
        meta = answer.get("metadata") or {}
        typed = {"apiVersion": resource.api_version, "kind": resource.kind}
        return ObjList(
            items=[item if "kind" in item else typed | item for item in answer.get("items") or ()],
            resource_version=str(meta.get("resourceVersion", "")),
            continue_token=str(meta.get("continue", "")),
        )

    async def watch(
        self, resource: Resource, query: Query = Query(), *, bookmarks: bool = True, timeout_s: float = 0
    ) -> AsyncIterator[WatchEvent]:
        parameters = _list_parameters(query) | {"watch": "true"}
        if bookmarks:
            parameters["allowWatchBookmarks"] = "true"
        if timeout_s:
            parameters["timeoutSeconds"] = str(math.ceil(timeout_s))
        target = f"{resource.path(namespace=query.namespace)}?{urlencode(parameters)}"
        try:
            async with self._client.stream("GET", target, headers=self._headers, timeout_s=REQUEST_TIMEOUT_S) as answer:
                if answer.status != 200:
                    raise _error_of(Response(answer.status, answer.headers, await answer.read_all(1 << 20)))
                pending = b""
                while chunk := await answer.read():
                    *lines, pending = (pending + chunk).split(b"\n")
                    if len(pending) > WATCH_LINE_MAX_BYTES:
                        raise ServiceUnavailable("the server sent a watch event that is too large")
                    for line in lines:
                        if line:
                            yield _event_of(line)
        except HttpError as error:
            raise _unreachable(error) from error

    async def create(
        self,
        resource: Resource,
        obj: Obj,
        *,
        name: str = "",
        subresource: str = "",
        options: WriteOptions = WriteOptions(),
    ) -> Obj:
        path = resource.path(namespace=namespace_of(obj), name=name, subresource=subresource)
        return await self._call("POST", path, _write_parameters(options), body=orjson.dumps(obj))

    async def update(
        self, resource: Resource, obj: Obj, *, subresource: str = "", options: WriteOptions = WriteOptions()
    ) -> Obj:
        meta = obj["metadata"]
        path = resource.path(namespace=meta.get("namespace", ""), name=meta["name"], subresource=subresource)
        return await self._call("PUT", path, _write_parameters(options), body=orjson.dumps(obj))

    async def patch(
        self,
        resource: Resource,
        key: Key,
        patch: Patch,
        *,
        subresource: str = "",
        options: WriteOptions = WriteOptions(),
    ) -> Obj:
        parameters = _write_parameters(options)
        if patch.force:
            parameters["force"] = "true"
        return await self._call(
            "PATCH",
            _path(resource, key, subresource),
            parameters,
            body=orjson.dumps(patch.body),
            content_type=patch.type.value,
        )

    async def delete(self, resource: Resource, key: Key, options: DeleteOptions = DeleteOptions()) -> Obj:
        body: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if options.grace_period_s is not None:
            body["gracePeriodSeconds"] = options.grace_period_s
        if options.propagation_policy:
            body["propagationPolicy"] = options.propagation_policy
        preconditions = {
            name: value
            for name, value in (("uid", options.uid), ("resourceVersion", options.resource_version))
            if value
        }
        if preconditions:
            body["preconditions"] = preconditions
        if options.dry_run:
            body["dryRun"] = ["All"]
        return await self._call("DELETE", _path(resource, key, ""), body=orjson.dumps(body))

    async def raw(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> RawResponse:
        answer = await self._request(method, path, headers or {}, body)
        return RawResponse(answer.status, answer.headers, answer.body)

    async def upgrade(self, path: str, *, protocol: str) -> UpgradedConnection:
        """A connection that speaks `protocol` from now on.  Raises ApiError."""
        try:
            return await self._client.upgrade(
                "GET", path, protocol=protocol, headers=self._headers, timeout_s=REQUEST_TIMEOUT_S
            )
        except UpgradeRefused as refused:
            raise _error_of(refused.response) from refused
        except HttpError as error:
            raise _unreachable(error) from error

    async def _call(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        *,
        body: bytes = b"",
        content_type: str = "application/json",
    ) -> Obj:
        target = f"{path}?{urlencode(parameters)}" if parameters else path
        headers = {"Content-Type": content_type} if body else {}
        answer = await self._request(method, target, headers, body)
        decoded = orjson.loads(answer.body)
        if not isinstance(decoded, dict):
            raise ServiceUnavailable("the server's answer is not an object")
        return decoded

    async def _request(self, method: str, target: str, headers: Headers, body: bytes) -> Response:
        try:
            answer = await self._client.request(
                method, target, headers={**self._headers, **headers}, body=body, timeout_s=REQUEST_TIMEOUT_S
            )
        except HttpError as error:
            raise _unreachable(error) from error
        if answer.status >= 400:
            raise _error_of(answer)
        return answer


def _path(resource: Resource, key: Key, subresource: str) -> str:
    return resource.path(namespace=key.namespace, name=key.name, subresource=subresource)


def _list_parameters(query: Query) -> dict[str, str]:
    parameters = {
        "labelSelector": query.label_selector,
        "fieldSelector": query.field_selector,
        "resourceVersion": query.resource_version,
        "resourceVersionMatch": query.resource_version_match,
        "limit": str(query.limit) if query.limit else "",
        "continue": query.continue_token,
    }
    return {name: value for name, value in parameters.items() if value}


def _write_parameters(options: WriteOptions) -> dict[str, str]:
    parameters = {
        "fieldManager": options.field_manager,
        "dryRun": "All" if options.dry_run else "",
        "fieldValidation": options.field_validation,
    }
    return {name: value for name, value in parameters.items() if value}


def _event_of(line: bytes) -> WatchEvent:
    event = orjson.loads(line)
    if event["type"] == "ERROR":
        raise error_of_status(event["object"])
    return WatchEvent(EventType(event["type"]), event["object"])


def _error_of(answer: Response) -> ApiError:
    try:
        status = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        status = None
    if not isinstance(status, dict) or status.get("kind") != "Status":
        text = answer.body[:200].decode("utf-8", "replace")
        status = {"code": answer.status, "message": f"the server answered {answer.status}: {text}"}
    return error_of_status(status)


def _unreachable(error: HttpError) -> ApiError:
    if isinstance(error, HttpTimeout):
        return Timeout(f"the API server did not answer in time: {error}")
    return ServiceUnavailable(f"the API server cannot be reached: {error}")
