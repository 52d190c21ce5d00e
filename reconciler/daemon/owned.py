"""Who is told when an object changes: the application that declares or owns it.  Changes are hints, never data."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cluster.client.cache import Change
from cluster.machinery.objects import Key
from cluster.machinery.resource import Resource
from reconciler.model import Ref
from reconciler.pipeline import CacheOf


class OwnedObjects:
    """Subscribes once to each resource that some application uses."""

    def __init__(self, cache_of: CacheOf, changed: Callable[[Key], None]) -> None:
        """`changed` is called with an application's key, on the event loop, possibly often."""
        self._cache_of = cache_of
        self._changed = changed
        self._subscriptions: dict[Resource, Callable[[], None]] = {}
        self._users: dict[Ref, set[Key]] = {}
        self._places: dict[Key, set[Ref]] = {}

    def track(self, application: Key, refs: Iterable[Ref], resources: Iterable[Resource]) -> None:
        """From now on `application` is told about changes of `refs`, and of no others."""
        for resource in resources:
            if resource not in self._subscriptions:
                self._subscriptions[resource] = self._cache_of(resource).subscribe(resource, self._on_change)
        new = set(refs)
        old = self._places.get(application, set())
        for place in old - new:
            self._users[place].discard(application)
            if not self._users[place]:
                del self._users[place]
        for place in new - old:
            self._users.setdefault(place, set()).add(application)
        self._places[application] = new

    def forget(self, application: Key) -> None:
        self.track(application, (), ())
        del self._places[application]

    def close(self) -> None:
        for unsubscribe in self._subscriptions.values():
            unsubscribe()
        self._subscriptions.clear()

    def _on_change(self, change: Change) -> None:
        group, kind = change.resource.group_kind
        for application in sorted(self._users.get(Ref(group, kind, *change.key), ())):
            self._changed(application)
