"""Our own kinds, each read from the cache that shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cluster.client.cache import Change
from cluster.machinery.objects import Key, Obj
from cluster.machinery.resource import Resource
from reconciler.pipeline import CacheOf


class OwnKinds:
    """The part of `Cache` that is used, over several caches."""

    def __init__(self, cache_of: CacheOf) -> None:
        self._cache_of = cache_of

    def get(self, resource: Resource, key: Key) -> Obj | None:
        return self._cache_of(resource).get(resource, key)

    def list(self, resource: Resource, *, namespace: str = "") -> Sequence[Obj]:
        return self._cache_of(resource).list(resource, namespace=namespace)

    def subscribe(self, resource: Resource, handler: Callable[[Change], None]) -> Callable[[], None]:
        return self._cache_of(resource).subscribe(resource, handler)
