"""Objects of one resource, indexed as `Cache` promises: by namespace, by controller owner, by node.

A plain in-memory structure: no I/O, no clock.  The informer keeps one per resource.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from cluster.client.cache import Change
from cluster.machinery.objects import Key, Obj, controller_of, key_of, labels_of, namespace_of, uid_of
from cluster.machinery.resource import Resource
from cluster.machinery.selectors import Selector


class ObjectIndex:
    """See the module.  `revision` is the newest resourceVersion this view includes."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        self._objects: dict[Key, Obj] = {}
        self._by_namespace: dict[str, set[Key]] = {}
        self._by_owner: dict[str, set[Key]] = {}
        self._by_node: dict[str, set[Key]] = {}
        self._handlers: dict[int, Callable[[Change], None]] = {}
        self._handler_number = 0
        self.revision = 0

    def get(self, key: Key) -> Obj | None:
        return self._objects.get(key)

    def list(self, *, namespace: str = "", selector: Selector | None = None) -> Sequence[Obj]:
        keys: Iterable[Key] = self._by_namespace.get(namespace, ()) if namespace else self._objects
        found = (self._objects[key] for key in sorted(keys))
        if selector is None:
            return tuple(found)
        return tuple(obj for obj in found if selector.matches(labels_of(obj)))

    def owned_by(self, owner: Obj) -> Sequence[Obj]:
        keys = self._by_owner.get(uid_of(owner), ())
        namespace = namespace_of(owner)
        return tuple(self._objects[key] for key in sorted(keys) if not namespace or key.namespace == namespace)

    def on_node(self, node: str) -> Sequence[Obj]:
        return tuple(self._objects[key] for key in sorted(self._by_node.get(node, ())))

    def put(self, obj: Obj) -> None:
        """The object is now this; subscribers are told unless it is the very version known."""
        key = key_of(obj)
        old = self._objects.get(key)
        if old is not None:
            if old is obj or old == obj:
                return
            self._unindex(key, old)
        self._objects[key] = obj
        self._by_namespace.setdefault(key.namespace, set()).add(key)
        if (owner := controller_of(obj)) is not None:
            self._by_owner.setdefault(owner.get("uid", ""), set()).add(key)
        if (node := _node_of(obj)) is not None:
            self._by_node.setdefault(node, set()).add(key)
        self._tell(Change(self._resource, key, old, obj))

    def remove(self, key: Key) -> None:
        """The object is gone; unknown ones are nothing to do."""
        old = self._objects.pop(key, None)
        if old is None:
            return
        self._unindex(key, old)
        self._tell(Change(self._resource, key, old, None))

    def replace(self, objects: Sequence[Obj]) -> None:
        """These are all the objects there are: what changed, came or went is told, in key order."""
        wanted = {key_of(obj): obj for obj in objects}
        for key in sorted(self._objects.keys() - wanted.keys()):
            self.remove(key)
        for key in sorted(wanted):
            self.put(wanted[key])

    def subscribe(self, handler: Callable[[Change], None]) -> Callable[[], None]:
        self._handler_number += 1
        number = self._handler_number
        self._handlers[number] = handler
        for key in sorted(self._objects):
            handler(Change(self._resource, key, None, self._objects[key]))

        def stop() -> None:
            self._handlers.pop(number, None)

        return stop

    def _tell(self, change: Change) -> None:
        for handler in tuple(self._handlers.values()):
            handler(change)

    def _unindex(self, key: Key, obj: Obj) -> None:
        _discard(self._by_namespace, key.namespace, key)
        if (owner := controller_of(obj)) is not None:
            _discard(self._by_owner, owner.get("uid", ""), key)
        if (node := _node_of(obj)) is not None:
            _discard(self._by_node, node, key)


def _node_of(obj: Obj) -> str | None:
    """The node a pod is bound to; empty for an unbound pod, None for what is no pod."""
    if obj.get("kind") != "Pod":
        return None
    return str((obj.get("spec") or {}).get("nodeName") or "")


def _discard(index: dict[str, set[Key]], name: str, key: Key) -> None:
    keys = index.get(name)
    if keys is not None:
        keys.discard(key)
        if not keys:
            del index[name]
