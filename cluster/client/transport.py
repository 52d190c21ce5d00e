"""How components talk to an API server: one protocol, built with an identity; authorization applies on every path.

Implementations: `InProcessTransport` (in `apiserver`, no sockets, no re-encoding) and `HttpTransport` (`client.rest`).
Every method raises `cluster.machinery.errors.ApiError`; a server that cannot be reached is ServiceUnavailable.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from cluster.machinery.objects import Key, Obj
from cluster.machinery.resource import Resource


@dataclass(frozen=True, slots=True)
class Query:
    """Which objects: an empty namespace is all of them; selectors in their query-string form."""

    namespace: str = ""
    label_selector: str = ""
    field_selector: str = ""
    resource_version: str = ""
    resource_version_match: str = ""
    limit: int = 0
    continue_token: str = ""


@dataclass(frozen=True, slots=True)
class ObjList:
    """A page of objects, each complete with apiVersion and kind, as of `resource_version`."""

    items: Sequence[Obj]
    resource_version: str
    continue_token: str = ""


class EventType(StrEnum):
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """`object` is the new state; for DELETED the last one, with the deletion's resourceVersion."""

    type: EventType
    object: Obj


class PatchType(StrEnum):
    """The patch formats by their media types."""

    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class Patch:
    """`body` is a list of operations for JSON, an object otherwise.  `force` takes over fields of others (APPLY only)."""

    type: PatchType
    body: Any
    force: bool = False


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """Query parameters of writes.  An empty field manager is derived from the identity by the server."""

    field_manager: str = ""
    dry_run: bool = False
    field_validation: str = ""  # Strict, Warn, Ignore; empty: the server's default


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """metav1.DeleteOptions: None or empty leaves the choice to the kind's default."""

    grace_period_s: int | None = None
    propagation_policy: str = ""  # Background, Foreground, Orphan
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class RawResponse:
    """What a non-resource path answered (discovery, OpenAPI, health, logs); failures are raised, not returned."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Transport(Protocol):
    """The verbs of the Kubernetes API as one identity.  Objects passed in are not changed; those returned are shared."""

    async def get(self, resource: Resource, key: Key, *, subresource: str = "") -> Obj: ...

    async def list(self, resource: Resource, query: Query = Query()) -> ObjList:
        """One page; `continue_token` of the answer asks for the next.  See `list_all` for the whole."""
        ...

    def watch(
        self, resource: Resource, query: Query = Query(), *, bookmarks: bool = True, timeout_s: float = 0
    ) -> AsyncIterator[WatchEvent]:
        """Events after `query.resource_version` until closed with `aclose`.  Raises Expired when those are forgotten."""
        ...

    async def create(
        self,
        resource: Resource,
        obj: Obj,
        *,
        name: str = "",
        subresource: str = "",
        options: WriteOptions = WriteOptions(),
    ) -> Obj:
        """POST; the namespace is the object's.  With `name` and `subresource` it posts there (pods/NAME/binding)."""
        ...

    async def update(
        self, resource: Resource, obj: Obj, *, subresource: str = "", options: WriteOptions = WriteOptions()
    ) -> Obj: ...

    async def patch(
        self,
        resource: Resource,
        key: Key,
        patch: Patch,
        *,
        subresource: str = "",
        options: WriteOptions = WriteOptions(),
    ) -> Obj: ...

    async def delete(self, resource: Resource, key: Key, options: DeleteOptions = DeleteOptions()) -> Obj:
        """The object as it now is (finalizing) or was, or a Status."""
        ...

    async def raw(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> RawResponse:
        """Any other request; `path` includes the query string.  The response is read whole."""
        ...


async def list_all(
    transport: Transport, resource: Resource, query: Query = Query(), *, page_size: int = 500
) -> ObjList:
    """Every page of one consistent list.  Raises Expired when the list outlives its snapshot: start again."""
    items: list[Obj] = []
    token = ""
    while True:
        page = await transport.list(
            resource,
            Query(
                namespace=query.namespace,
                label_selector=query.label_selector,
                field_selector=query.field_selector,
                resource_version="" if token else query.resource_version,
                limit=page_size,
                continue_token=token,
            ),
        )
        items.extend(page.items)
        token = page.continue_token
        if not token:
            return ObjList(items, page.resource_version)
