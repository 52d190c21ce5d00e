"""A read view of objects as of some revision: what controllers, scheduler, kubelet, proxy and DNS decide from.

Implementations: `Informer` (`client.informer`: list, then watch, its own copy) and the API server's view of its own state
(in one process: no second copy).  Both index by namespace, by controller owner and by the node a pod is bound to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from cluster.base.values import frozen
from cluster.machinery.objects import Key, Obj
from cluster.machinery.resource import Resource
from cluster.machinery.selectors import Selector


@frozen
class Change:
    """An object changed: `old` is None when it is new to this view, `new` is None when it is gone.

    Only a hint to look again: changes may be merged, repeated or, over a reconnection, lost together with their keys' history.
    """

    resource: Resource
    key: Key
    old: Obj | None
    new: Obj | None


class Cache(Protocol):
    """Reads never block and never fail; results are in key order."""

    async def sync(self, resources: Sequence[Resource]) -> None:
        """Return once every one of `resources` has been read completely at least once."""
        ...

    def get(self, resource: Resource, key: Key) -> Obj | None: ...

    def versions(self, resource: Resource, keys: Iterable[Key]) -> Sequence[str]:
        """The resourceVersion of each object, empty where there is none: whether to look again, without decoding."""
        ...

    def list(self, resource: Resource, *, namespace: str = "", selector: Selector | None = None) -> Sequence[Obj]:
        """Objects of a namespace (empty: all) whose labels match."""
        ...

    def owned_by(self, owner: Obj, resource: Resource) -> Sequence[Obj]:
        """Objects of `resource` in the owner's namespace whose controller reference has the owner's uid."""
        ...

    def on_node(self, node: str, resource: Resource) -> Sequence[Obj]:
        """Pods whose `spec.nodeName` is `node` (empty: pods bound to none)."""
        ...

    def revision(self, resource: Resource) -> int:
        """Every write up to this revision is visible."""
        ...

    def subscribe(self, resource: Resource, handler: Callable[[Change], None]) -> Callable[[], None]:
        """Call `handler` for each later change, and at once with each object present.  Returns the way to stop it."""
        ...
