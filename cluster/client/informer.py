"""A cache fed by list and watch: works against any API server, in process or remote.

For each resource: list everything, then watch from the list's revision.  A watch that ends is resumed from the newest
revision seen (bookmarks keep that fresh); one whose revision is forgotten (`Expired`) starts again with a list, after a
jittered delay, so that a restarted server is not met by every client at once.
Upstream: client-go/tools/cache/reflector.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, cast

from loguru import logger

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.base.tasks import Supervisor
from cluster.client.cache import Change
from cluster.client.index import ObjectIndex
from cluster.client.transport import EventType, Query, Transport, WatchEvent, list_all
from cluster.machinery.errors import ApiError, Expired, Gone
from cluster.machinery.objects import Key, Obj, key_of, resource_version_of
from cluster.machinery.resource import Resource
from cluster.machinery.selectors import Selector

WATCH_TIMEOUT_MIN_S = 300.0
WATCH_TIMEOUT_MAX_S = 600.0
WATCH_SHORT_S = 1.0
"""A watch that ended sooner is followed by a delay: a server that is stopping ends every one at once."""
RETRY_BASE_S = 0.8
RETRY_MAX_S = 30.0


class Informer:
    """Implements `Cache` over `resources`.  `run` must be running (supervised) for it to fill.

    `queries` narrows what is listed and watched for a resource (a namespace, selectors); absent ones are read whole.
    Attempts at a server that is away are up to twice `retry_max_s` apart.
    Reading a resource it was not built with raises KeyError.
    """

    def __init__(
        self,
        transport: Transport,
        resources: Sequence[Resource],
        clock: Clock,
        entropy: Entropy,
        *,
        queries: Mapping[Resource, Query] | None = None,
        retry_max_s: float = RETRY_MAX_S,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._entropy = entropy
        self._queries = dict(queries or {})
        self._retry_max_s = retry_max_s
        self._indexes = {resource: ObjectIndex(resource) for resource in resources}
        self._synced = {resource: asyncio.Event() for resource in resources}

    async def run(self) -> None:
        """Keep every resource current until cancelled."""
        async with Supervisor(self._clock) as supervisor:
            for resource in self._indexes:
                supervisor.start(f"informer-{resource.qualified_name}", self._reflector(resource))
            await asyncio.Event().wait()

    async def sync(self, resources: Sequence[Resource]) -> None:
        for resource in resources:
            await self._synced[resource].wait()

    def is_synced(self, resource: Resource) -> bool:
        """It has been read, or shown what to go on with."""
        return self._synced[resource].is_set()

    def preload(self, resource: Resource, objects: Sequence[Obj]) -> None:
        """Go on with `objects` until the server says what there is; nothing, once it has."""
        if not self._synced[resource].is_set():
            self._indexes[resource].replace(objects)
            self._synced[resource].set()

    def get(self, resource: Resource, key: Key) -> Obj | None:
        return self._indexes[resource].get(key)

    def versions(self, resource: Resource, keys: Iterable[Key]) -> Sequence[str]:
        get = self._indexes[resource].get
        return ["" if (obj := get(key)) is None else resource_version_of(obj) for key in keys]

    def list(self, resource: Resource, *, namespace: str = "", selector: Selector | None = None) -> Sequence[Obj]:
        return self._indexes[resource].list(namespace=namespace, selector=selector)

    def owned_by(self, owner: Obj, resource: Resource) -> Sequence[Obj]:
        return self._indexes[resource].owned_by(owner)

    def on_node(self, node: str, resource: Resource) -> Sequence[Obj]:
        return self._indexes[resource].on_node(node)

    def revision(self, resource: Resource) -> int:
        return self._indexes[resource].revision

    def subscribe(self, resource: Resource, handler: Callable[[Change], None]) -> Callable[[], None]:
        return self._indexes[resource].subscribe(handler)

    def _reflector(self, resource: Resource) -> Callable[[], Coroutine[Any, Any, None]]:
        async def reflect() -> None:
            await self._reflect(resource)

        return reflect

    async def _reflect(self, resource: Resource) -> None:
        index = self._indexes[resource]
        query = self._queries.get(resource, Query())
        delay_s = RETRY_BASE_S
        resource_version = ""
        is_told = False
        while True:
            started = self._clock.monotonic()
            try:
                if not resource_version:
                    listing = await list_all(self._transport, resource, query)
                    index.replace(listing.items)
                    resource_version = listing.resource_version
                    index.revision = max(index.revision, revision_of(resource_version))
                    self._synced[resource].set()
                resource_version = await self._watch(resource, index, query, resource_version)
                if self._clock.monotonic() - started >= WATCH_SHORT_S:
                    delay_s, is_told = RETRY_BASE_S, False
                    continue
            except (Expired, Gone):
                resource_version = ""
                logger.info("watch expired, listing again", resource=resource.qualified_name)
            except ApiError as error:
                if self._clock.monotonic() - started >= WATCH_SHORT_S:
                    delay_s, is_told = RETRY_BASE_S, False
                if not is_told:
                    # Once: a server that is away for an hour would fill the log.
                    logger.warning("watch failed, retrying", resource=resource.qualified_name, reason=error.message)
                    is_told = True
                # Events seen before the failure need not be asked for again.
                if resource_version and index.revision > revision_of(resource_version):
                    resource_version = str(index.revision)
            await self._clock.sleep(self._entropy.uniform(delay_s, delay_s * 2))
            delay_s = min(delay_s * 2, self._retry_max_s)

    async def _watch(self, resource: Resource, index: ObjectIndex, query: Query, resource_version: str) -> str:
        """Apply events until the server ends the watch; return the revision to resume from."""
        start = Query(
            namespace=query.namespace,
            label_selector=query.label_selector,
            field_selector=query.field_selector,
            resource_version=resource_version,
        )
        timeout_s = self._entropy.uniform(WATCH_TIMEOUT_MIN_S, WATCH_TIMEOUT_MAX_S)
        stream = self._transport.watch(resource, start, timeout_s=timeout_s)
        async with aclosing(cast("AsyncGenerator[WatchEvent, None]", stream)) as events:
            async for event in events:
                # The revision moves first: a subscriber that asks while it is told must see it included.
                resource_version = resource_version_of(event.object) or resource_version
                index.revision = max(index.revision, revision_of(resource_version))
                match event.type:
                    case EventType.ADDED | EventType.MODIFIED:
                        index.put(event.object)
                    case EventType.DELETED:
                        index.remove(key_of(event.object))
                    case EventType.BOOKMARK:
                        pass
        return resource_version


def revision_of(resource_version: str) -> int:
    """The number in a resourceVersion of our own server; 0 for a foreign, opaque one."""
    return int(resource_version) if resource_version.isdecimal() else 0
