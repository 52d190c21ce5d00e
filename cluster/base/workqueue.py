"""A queue of keys for reconcile loops.  Its promises (upstream: client-go/util/workqueue/doc.go):

- Fair: keys are handed out in the order they were added.
- Stingy: a key added several times before it is handed out is handed out once; one added while it is worked on is handed
  out again, after that work is done.
- Never two workers on one key.
- Many producers and consumers on one event loop; a shut-down queue refuses keys and releases its consumers.

Three fields carry this:

- `_ready`: keys to hand out, in order.  Every one is in `_dirty` and none is in `_processing`.
- `_dirty`: keys that need work.
- `_processing`: keys handed out and not done.  One may be dirty as well; then `done` puts it back into `_ready`.

On top: `add_after` keeps, per key, the earliest time it was asked for; `add_rate_limited` is `add_after` with a delay that
doubles with each failure of that key until `forget`.  The bound is the number of distinct keys, which are live objects.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy

BACKOFF_BASE_S = 0.05
BACKOFF_MAX_S = 60.0
BACKOFF_JITTER = 0.1
"""Delays are spread by this fraction, so that keys that failed together do not return together."""

K = TypeVar("K", bound=Hashable)


class ShutDown(Exception):
    """The queue has been shut down and is empty."""


class WorkQueue(Generic[K]):
    """See the module.  `run_timers` must be running (supervised) for delayed keys to arrive."""

    def __init__(
        self,
        clock: Clock,
        entropy: Entropy,
        *,
        backoff_base_s: float = BACKOFF_BASE_S,
        backoff_max_s: float = BACKOFF_MAX_S,
    ) -> None:
        self._clock = clock
        self._entropy = entropy
        self._backoff_base_s = backoff_base_s
        self._backoff_max_s = backoff_max_s
        self._ready: deque[K] = deque()
        self._dirty: set[K] = set()
        self._processing: set[K] = set()
        self._failures: dict[K, int] = {}
        self._due: dict[K, float] = {}
        self._timers: list[tuple[float, int, K]] = []
        self._timer_number = 0
        self._timer_added = asyncio.Event()
        self._getters: deque[asyncio.Future[None]] = deque()
        self._shut_down = False

    def __len__(self) -> int:
        """Keys that are ready now."""
        return len(self._ready)

    @property
    def is_idle(self) -> bool:
        """Nothing is ready and nothing is being worked on; delayed keys may still come."""
        return not self._ready and not self._processing

    @property
    def waiting(self) -> int:
        """Keys that come later."""
        return len(self._due)

    def add(self, key: K) -> None:
        """Ask for `key` to be worked on as soon as possible; this also covers any later time it was asked for."""
        if self._shut_down:
            return
        self._due.pop(key, None)
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._processing:
            self._push(key)

    def add_after(self, key: K, delay_s: float) -> None:
        """Ask for `key` in `delay_s` seconds, or at the earlier time it was already asked for."""
        if self._shut_down:
            return
        if delay_s <= 0:
            self.add(key)
            return
        due = self._clock.monotonic() + delay_s
        if key in self._dirty and key not in self._processing:
            return
        earlier = self._due.get(key)
        if earlier is not None and earlier <= due:
            return
        self._due[key] = due
        self._timer_number += 1
        heapq.heappush(self._timers, (due, self._timer_number, key))
        self._timer_added.set()

    def add_rate_limited(self, key: K) -> float:
        """Ask for `key` after a delay that doubles with each call since `forget`; return the delay in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay_s = min(self._backoff_base_s * float(1 << min(failures, 32)), self._backoff_max_s)
        delay_s *= 1 + self._entropy.uniform(0, BACKOFF_JITTER)
        self.add_after(key, delay_s)
        return delay_s

    def forget(self, key: K) -> None:
        """The key succeeded: its next failure starts the back-off anew."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """The next key; it is the caller's until `done`.  Raises ShutDown when the queue is shut down and empty."""
        while not self._ready:
            if self._shut_down:
                raise ShutDown
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                # A wake-up that this getter can no longer use goes to the next one.
                if getter.done() and not getter.cancelled():
                    self._wake_one()
                raise
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._processing.add(key)
        return key

    def done(self, key: K) -> None:
        """Work on `key` has ended; it becomes ready again if it was added meanwhile."""
        self._processing.discard(key)
        if key in self._dirty:
            self._push(key)

    def shut_down(self) -> None:
        """Refuse further keys; ready ones are still handed out, then every `get` raises ShutDown."""
        self._shut_down = True
        self._due.clear()
        self._timers.clear()
        self._timer_added.set()
        while self._getters:
            self._wake_one()

    async def run_timers(self) -> None:
        """Move delayed keys to the ready ones when their time has come, until shut down."""
        while not self._shut_down:
            self._release_due()
            self._timer_added.clear()
            if not self._timers:
                await self._timer_added.wait()
                continue
            await self._sleep_until(self._timers[0][0])

    async def _sleep_until(self, due: float) -> None:
        """Return at `due`, or when an earlier timer may have been added."""
        delay_s = due - self._clock.monotonic()
        if delay_s <= 0:
            return
        loop = asyncio.get_running_loop()
        sleeper = loop.create_task(_sleep(self._clock, delay_s))
        added = loop.create_task(self._wait_added())
        try:
            await asyncio.wait((sleeper, added), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()
            added.cancel()

    async def _wait_added(self) -> None:
        await self._timer_added.wait()

    def _release_due(self) -> None:
        now = self._clock.monotonic()
        while self._timers and self._timers[0][0] <= now:
            due, _, key = heapq.heappop(self._timers)
            # A timer that was overtaken by an earlier one or by `add` is no longer the key's.
            if self._due.get(key) == due:
                self.add(key)

    def _push(self, key: K) -> None:
        self._ready.append(key)
        self._wake_one()

    def _wake_one(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return


async def _sleep(clock: Clock, delay_s: float) -> None:
    await clock.sleep(delay_s)
