"""Leases: which keys go when, and the deletion of them.  Shared by the engines that keep time themselves.

A lease has a fixed end and is never renewed (upstream's event TTL needs no more).  A key belongs to the lease of its last
put.  Knows of an engine only how to commit and how to forget a lease.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from cluster.base.clock import Clock
from cluster.base.tasks import Supervisor
from cluster.store.api import Conflict, Delete, LeaseNotFound, Operation, Put

EXPIRY_BATCH_MAX = 100
"""Deletions asked for at once, so that an engine can group them."""


@dataclass(frozen=True, slots=True)
class _Binding:
    lease: int
    revision: int


class Leases:
    """The leases alive.  `commit` is the engine's own; `forget(lease)` drops its durable trace after its keys are gone."""

    def __init__(
        self,
        clock: Clock,
        *,
        commit: Callable[[Sequence[Operation]], Awaitable[int]],
        forget: Callable[[int], None],
    ) -> None:
        self._clock = clock
        self._commit = commit
        self._forget = forget
        self._keys: dict[int, set[str]] = {}
        self._ends_at: dict[int, float] = {}
        self._bindings: dict[str, _Binding] = {}
        self._supervisor = Supervisor(clock)
        self._ended: list[int] = []

    async def grant(self, lease: int, ttl_s: float) -> None:
        """Let the new `lease` live for `ttl_s` seconds from now."""
        while self._ended:
            await self._supervisor.cancel(_task_of(self._ended.pop()))  # the supervisor keeps ended tasks until told
        self.resume(lease, ttl_s)

    def resume(self, lease: int, remaining_s: float) -> None:
        """Let `lease` end in `remaining_s` seconds; needs a running event loop."""
        self._keys[lease] = set()
        self._ends_at[lease] = self._clock.monotonic() + remaining_s
        self._supervisor.start(_task_of(lease), lambda: self._expire(lease))

    def check(self, operations: Sequence[Operation]) -> None:
        """Raise LeaseNotFound when a put names a lease that is not alive."""
        for operation in operations:
            if isinstance(operation, Put) and operation.lease and operation.lease not in self._keys:
                raise LeaseNotFound(operation.lease)

    def applied(self, operations: Sequence[Operation], revision: int) -> None:
        """Note what a transaction committed at `revision` did to the keys' leases."""
        for operation in operations:
            lease = operation.lease if isinstance(operation, Put) else 0
            if lease or operation.key in self._bindings:
                self.bind(operation.key, lease, revision)

    def bind(self, key: str, lease: int, revision: int) -> None:
        """`key`, as written at `revision`, ends with `lease`, or with none (0)."""
        if (before := self._bindings.pop(key, None)) is not None:
            self._keys[before.lease].discard(key)
        if lease:
            self._bindings[key] = _Binding(lease, revision)
            self._keys[lease].add(key)

    def lease_of(self, key: str) -> int:
        """The key's lease, 0 when it has none."""
        binding = self._bindings.get(key)
        return binding.lease if binding is not None else 0

    def remaining_s(self) -> dict[int, float]:
        """Seconds left per lease, in order of lease."""
        now = self._clock.monotonic()
        return {lease: max(0.0, self._ends_at[lease] - now) for lease in sorted(self._ends_at)}

    async def close(self) -> None:
        """Stop waiting; nothing expires any more."""
        await self._supervisor.stop()

    async def _expire(self, lease: int) -> None:
        # Repeatable from the start: a store that cannot write fails this task, and supervision tries again.
        if (remaining_s := self._ends_at[lease] - self._clock.monotonic()) > 0:
            await self._clock.sleep(remaining_s)
        while batch := sorted(self._keys[lease])[:EXPIRY_BATCH_MAX]:
            await asyncio.gather(*(self._delete(key, lease) for key in batch))
        self._forget(lease)
        del self._keys[lease], self._ends_at[lease]
        self._ended.append(lease)

    async def _delete(self, key: str, lease: int) -> None:
        binding = self._bindings.get(key)
        if binding is None or binding.lease != lease:
            return
        with contextlib.suppress(Conflict):  # written again meanwhile, and so bound anew
            await self._commit([Delete(key, expect=binding.revision)])


def _task_of(lease: int) -> str:
    return f"store lease {lease}"
