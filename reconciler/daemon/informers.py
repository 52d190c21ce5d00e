"""Caches over a remote API: one informer for each resource, begun when it is first asked for.

Knows no kind: which resources there are is the asker's.  In a process that has the server at hand nothing of this is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.base.tasks import Supervisor
from cluster.client.cache import Cache, Change
from cluster.client.informer import Informer
from cluster.client.transport import Transport
from cluster.machinery.objects import Key, Obj
from cluster.machinery.resource import Resource
from cluster.machinery.selectors import Selector


class Informers:
    """Called with a resource it gives the cache that shows it.  They end with `supervisor`."""

    def __init__(self, transport: Transport, clock: Clock, entropy: Entropy, supervisor: Supervisor) -> None:
        self._transport = transport
        self._clock = clock
        self._entropy = entropy
        self._supervisor = supervisor
        self._caches: dict[tuple[str, str, str], Cache] = {}

    def __call__(self, resource: Resource) -> Cache:
        """The same cache for every description of a resource: discovery tells more of one than a constant does."""
        place = (resource.group, resource.version, resource.plural)
        cache = self._caches.get(place)
        if cache is None:
            informer = Informer(self._transport, (resource,), self._clock, self._entropy)
            self._supervisor.start(f"informer-{resource.qualified_name}-{resource.version}", informer.run)
            cache = self._caches[place] = _OneResource(informer, resource)
        return cache


class _OneResource:
    """A Cache of one resource, by whatever description it is asked for."""

    def __init__(self, informer: Informer, resource: Resource) -> None:
        self._informer = informer
        self._resource = resource

    async def sync(self, resources: Sequence[Resource]) -> None:
        await self._informer.sync((self._resource,))

    def get(self, resource: Resource, key: Key) -> Obj | None:
        return self._informer.get(self._resource, key)

    def versions(self, resource: Resource, keys: Iterable[Key]) -> Sequence[str]:
        return self._informer.versions(self._resource, keys)

    def list(self, resource: Resource, *, namespace: str = "", selector: Selector | None = None) -> Sequence[Obj]:
        return self._informer.list(self._resource, namespace=namespace, selector=selector)

    def owned_by(self, owner: Obj, resource: Resource) -> Sequence[Obj]:
        return self._informer.owned_by(owner, self._resource)

    def on_node(self, node: str, resource: Resource) -> Sequence[Obj]:
        return self._informer.on_node(node, self._resource)

    def revision(self, resource: Resource) -> int:
        return self._informer.revision(self._resource)

    def subscribe(self, resource: Resource, handler: Callable[[Change], None]) -> Callable[[], None]:
        return self._informer.subscribe(self._resource, handler)
