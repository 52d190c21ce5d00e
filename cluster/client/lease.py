"""Leases: which of several candidates leads, and the sign of life of one that is alone.

A holder renews; a candidate takes over when it has itself seen no renewal for the lease's duration, measured on its own
monotonic clock, so that hosts' clocks need not agree.  Upstream: client-go/tools/leaderelection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from loguru import logger

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.base.tasks import Supervisor
from cluster.client.transport import Transport
from cluster.machinery.errors import AlreadyExists, ApiError, Conflict, NotFound
from cluster.machinery.objects import Key, Obj
from cluster.machinery.timestamps import format_micro_time
from cluster.resources.builtin import LEASES

LEASE_DURATION_S = 15.0
RENEW_DEADLINE_S = 10.0
RETRY_PERIOD_S = 2.0


class LeaderElector:
    """Candidate `holder` for the Lease at `key`.  At most one candidate leads, as long as clocks advance equally fast."""

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        entropy: Entropy,
        *,
        key: Key,
        holder: str,
        duration_s: float = LEASE_DURATION_S,
        renew_deadline_s: float = RENEW_DEADLINE_S,
        retry_period_s: float = RETRY_PERIOD_S,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._entropy = entropy
        self._key = key
        self._holder = holder
        self._duration_s = duration_s
        self._renew_deadline_s = renew_deadline_s
        self._retry_period_s = retry_period_s
        self._seen: tuple[Any, Any] = (None, None)
        self._seen_at = 0.0

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Wait to be elected, run `lead` while leading, and stand again when the lease is lost; until cancelled.

        `lead` is cancelled, and has ended, before this candidate stands again.  A clean end gives the lease away.
        """
        while True:
            while not await self._try_once():
                await self._clock.sleep(self._retry_s())
            logger.info("leading", lease=str(self._key), holder=self._holder)
            try:
                async with Supervisor(self._clock) as supervisor:
                    supervisor.start(f"lead-{self._key.name}", lead)
                    await self._renew_while_possible()
            finally:
                await self._release()
            logger.warning("lost the lease", lease=str(self._key), holder=self._holder)

    async def _renew_while_possible(self) -> None:
        renewed_at = self._clock.monotonic()
        while (left_s := renewed_at + self._renew_deadline_s - self._clock.monotonic()) > 0:
            await self._clock.sleep(min(self._retry_period_s, left_s))
            try:
                async with asyncio.timeout(self._renew_deadline_s):
                    renewed = await self._try_once()
            except TimeoutError:
                return
            if renewed:
                renewed_at = self._clock.monotonic()

    async def _try_once(self) -> bool:
        """Take or renew the lease; False when another holds it or the server did not let us."""
        try:
            try:
                lease = await self._transport.get(LEASES, self._key)
            except NotFound:
                await self._transport.create(LEASES, self._lease_from({}, transitions=0))
                return True
            spec = lease.get("spec") or {}
            observed = (spec.get("holderIdentity"), spec.get("renewTime"))
            if observed != self._seen:
                self._seen, self._seen_at = observed, self._clock.monotonic()
            held = bool(observed[0]) and observed[0] != self._holder
            duration_s = float(spec.get("leaseDurationSeconds") or self._duration_s)
            if held and self._clock.monotonic() - self._seen_at < duration_s:
                return False
            transitions = int(spec.get("leaseTransitions") or 0) + (observed[0] != self._holder)
            await self._transport.update(LEASES, self._lease_from(lease, transitions=transitions))
        except (Conflict, AlreadyExists):
            return False
        except ApiError as error:
            logger.debug("lease not reached", lease=str(self._key), reason=error.message)
            return False
        return True

    async def _release(self) -> None:
        try:
            lease = await self._transport.get(LEASES, self._key)
            spec = lease.get("spec") or {}
            if spec.get("holderIdentity") == self._holder:
                freed = {**spec, "holderIdentity": "", "leaseDurationSeconds": 1}
                await self._transport.update(LEASES, {**lease, "spec": freed})
        except ApiError as error:
            logger.debug("lease not given away", lease=str(self._key), reason=error.message)

    def _lease_from(self, lease: Obj, *, transitions: int) -> dict[str, Any]:
        now = format_micro_time(self._clock.now())
        spec = lease.get("spec") or {}
        acquired = spec.get("acquireTime") if spec.get("holderIdentity") == self._holder else now
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": lease.get("metadata") or {"namespace": self._key.namespace, "name": self._key.name},
            "spec": {
                "holderIdentity": self._holder,
                "leaseDurationSeconds": max(1, int(self._duration_s)),
                "acquireTime": acquired,
                "renewTime": now,
                "leaseTransitions": transitions,
            },
        }

    def _retry_s(self) -> float:
        return self._entropy.uniform(self._retry_period_s, self._retry_period_s * 1.2)


class Heartbeat:
    """The Lease by which one holder says it lives (a node: `kube-node-lease/NAME`, 40 s).  `beat` every quarter of that."""

    def __init__(
        self, transport: Transport, clock: Clock, *, key: Key, duration_s: int = 40, owner: Obj | None = None
    ) -> None:
        """`owner` is an ownerReference for the Lease, so that it goes with its node."""
        self._transport = transport
        self._clock = clock
        self._key = key
        self._duration_s = duration_s
        self._owner = owner
        self._lease: Obj | None = None

    async def beat(self) -> None:
        """Renew once, creating the Lease if need be.  Raises ApiError."""
        if self._lease is None:
            try:
                self._lease = await self._transport.get(LEASES, self._key)
            except NotFound:
                self._lease = await self._transport.create(LEASES, self._renewed({}))
                return
        try:
            self._lease = await self._transport.update(LEASES, self._renewed(self._lease))
        except (Conflict, NotFound):
            self._lease = None
            raise

    def _renewed(self, lease: Obj) -> dict[str, Any]:
        fresh: dict[str, Any] = {"namespace": self._key.namespace, "name": self._key.name}
        if self._owner is not None:
            fresh["ownerReferences"] = [self._owner]
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": lease.get("metadata") or fresh,
            "spec": {
                "holderIdentity": self._key.name,
                "leaseDurationSeconds": self._duration_s,
                "renewTime": format_micro_time(self._clock.now()),
            },
        }
