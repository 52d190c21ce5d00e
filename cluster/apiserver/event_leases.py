"""Events are forgotten after an hour: they are written with a lease of the store, one lease for those of a minute.

Upstream: kube-apiserver's --event-ttl, etcd3/lease_manager.go (which shares leases for the same reason: few of them).
"""

from __future__ import annotations

from cluster.base.clock import Clock
from cluster.resources.catalog import Descriptor
from cluster.store.api import Store

EVENT_TTL_S = 3600.0
SHARED_FOR_S = 60.0
NO_LEASE = 0


class EventLeases:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lease = NO_LEASE
        self._granted_at = 0.0

    async def lease_for(self, descriptor: Descriptor) -> int:
        """The lease to write an object of this kind with; none for what stays.  Raises Unavailable."""
        if descriptor.storage.kind != "Event" or descriptor.storage.group:
            return NO_LEASE
        now = self._clock.monotonic()
        if self._lease == NO_LEASE or now - self._granted_at >= SHARED_FOR_S:
            # The last of its minute still lives for the whole hour.
            self._lease = await self._store.lease(EVENT_TTL_S + SHARED_FOR_S)
            self._granted_at = now
        return self._lease
