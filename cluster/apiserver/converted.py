"""Watches of custom resources that a webhook converts: a second ring beside the stored one, a step behind it.

It is fed in the order of the first ring, a batch of events at a time, for as long as somebody watches; watchers of one
version share it.  When a conversion fails the ring ends: watchers are told that they are too late, list again, and the
list says what failed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import islice

from loguru import logger

from cluster.apiserver.conversion import Converter
from cluster.apiserver.state import RING_EVENTS_MAX, Entry, Row, Table, subscriptions
from cluster.base.clock import Clock
from cluster.base.tasks import Supervisor
from cluster.machinery.errors import ApiError, Expired, ServiceUnavailable
from cluster.resources.catalog import Catalog, Descriptor

BATCH_EVENTS_MAX = 128
UNWATCHED_S = 60.0
"""How long a ring is fed after it was last asked for while nobody watches it."""


@dataclass(slots=True, eq=False)
class _Ring:
    """`position` is the next event to convert, in the ring of `base`."""

    name: str
    base: Table
    table: Table
    descriptor: Descriptor
    position: int
    asked_at: float
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: list[tuple[int, asyncio.Future[None]]] = field(default_factory=list)


class ConvertedTables:
    """The rings being fed, by kind and version."""

    def __init__(self, converter: Converter, catalog: Catalog, supervisor: Supervisor, clock: Clock) -> None:
        self._converter = converter
        self._catalog = catalog
        self._supervisor = supervisor
        self._clock = clock
        self._rings: dict[str, _Ring] = {}

    async def table(self, descriptor: Descriptor, base: Table, revision: int) -> Table:
        """A table without rows whose ring has every event of `base` from after `revision` until now, converted.

        Raises Expired for a revision that `base` has forgotten, InternalError when a conversion fails.
        """
        name = descriptor.resource.api_version + "/" + descriptor.resource.plural
        if revision < base.floor:
            raise Expired(f"too old resource version: {revision} ({base.floor})")
        ring = self._rings.get(name)
        if ring is None or ring.descriptor is not descriptor or revision < ring.table.floor:
            ring = self._start(name, descriptor, base, revision)
        ring.asked_at = self._clock.monotonic()
        if ring.position < base.ring_end:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            ring.waiting.append((base.ring_end, future))
            ring.changed.set()
            await future
        return ring.table

    def _start(self, name: str, descriptor: Descriptor, base: Table, revision: int) -> _Ring:
        table = Table(base.id, floor=revision, ring_events_max=RING_EVENTS_MAX)
        ring = _Ring(name, base, table, descriptor, base.position_after(revision), self._clock.monotonic())
        # One that begins later stays for those who watch it already.
        self._rings[name] = ring
        self._supervisor.start(f"conversion of {name} {next(subscriptions)}", lambda: self._feed(ring), restart=False)
        return ring

    async def _feed(self, ring: _Ring) -> None:
        handle = next(subscriptions)
        ring.base.wakes[handle] = ring.changed.set
        try:
            while self._is_wanted(ring):
                ring.changed.clear()
                if ring.position < ring.base.ring_start:
                    break  # the feed of the store broke: everybody lists again
                if not await self._step(ring):
                    await ring.changed.wait()
        except ApiError as error:
            logger.warning("a watched object could not be converted", resource=ring.name, reason=error.message)
            for _, future in ring.waiting:
                if not future.done():
                    future.set_exception(error)
        finally:
            ring.base.wakes.pop(handle, None)
            if self._rings.get(ring.name) is ring:
                del self._rings[ring.name]
            for _, future in ring.waiting:
                if not future.done():
                    future.set_exception(ServiceUnavailable("the watched kind changed; try again", retry_after_s=1))
            ring.table.expire(ring.base.revision)
            ring.table.wake()

    def _is_wanted(self, ring: _Ring) -> bool:
        resource = ring.descriptor.resource
        if self._catalog.get(resource.group, resource.version, resource.plural) is not ring.descriptor:
            return False
        return bool(ring.table.wakes) or self._clock.monotonic() - ring.asked_at < UNWATCHED_S

    async def _step(self, ring: _Ring) -> bool:
        """Convert the next events; False when there are none."""
        begin = ring.position - ring.base.ring_start
        entries = list(islice(ring.base.ring, begin, begin + BATCH_EVENTS_MAX))
        rows: list[Row] = []
        for entry in entries:
            rows.append(entry.row)
            if entry.old is not None:
                rows.append(entry.old)
        converted = iter(await self._converter.rows(ring.descriptor, rows))
        for entry in entries:
            row = next(converted)
            old = next(converted) if entry.old is not None else None
            ring.table.publish(Entry(row, old, deleted=entry.deleted))
        ring.position += len(entries)
        for target, future in ring.waiting:
            if ring.position >= target and not future.done():
                future.set_result(None)
        ring.waiting = [waiting for waiting in ring.waiting if not waiting[1].done()]
        if entries:
            ring.table.wake()
        return bool(entries)
