"""Pods that wait for a node: ready to be tried, backing off after a failure, or parked until something changes.

A pod is in at most one of the three.  Higher priority goes first, then who has waited longest.  A parked pod returns by
one of the changes its rejection named, or after PARKED_MAX_S, in case a change went unnoticed.
Upstream: pkg/scheduler/backend/queue/scheduling_queue.go.
"""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import dataclass

from cluster.base.clock import Clock
from cluster.machinery.objects import Key
from cluster.scheduler.framework import Wake
from cluster.scheduler.requests import PodInfo

BACKOFF_BASE_S = 1.0
BACKOFF_MAX_S = 10.0
PARKED_MAX_S = 300.0


@dataclass(frozen=True, slots=True)
class _Parked:
    info: PodInfo
    wakes_on: frozenset[Wake]
    due: float
    not_before: float
    """A change that comes sooner does not shorten the back-off."""


class SchedulingQueue:
    """See the module.  `run_timers` must be running (supervised) for waits to end."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._active: dict[Key, PodInfo] = {}
        self._heap: list[tuple[int, int, Key]] = []
        self._number = 0
        self._backoff: dict[Key, tuple[PodInfo, float]] = {}
        self._parked: dict[Key, _Parked] = {}
        self._waits_for: dict[Wake, int] = dict.fromkeys(Wake, 0)
        self._attempts: dict[Key, int] = {}
        self._ready = asyncio.Event()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        """Pods waiting in any way."""
        return len(self._active) + len(self._backoff) + len(self._parked)

    @property
    def active(self) -> int:
        return len(self._active)

    def add(self, info: PodInfo) -> None:
        """A pod is new or has changed: try it as soon as its turn comes."""
        self._backoff.pop(info.key, None)
        self._unpark(info.key)
        self._activate(info)

    def remove(self, key: Key) -> None:
        """The pod is bound or gone."""
        self._active.pop(key, None)
        self._backoff.pop(key, None)
        self._unpark(key)
        self._attempts.pop(key, None)

    def known(self, key: Key) -> PodInfo | None:
        """The waiting pod as it was queued."""
        backing_off = self._backoff.get(key)
        parked = self._parked.get(key)
        return self._active.get(key) or (backing_off and backing_off[0]) or (parked and parked.info) or None

    async def pop(self) -> PodInfo:
        """The next pod to try; wait until there is one."""
        while True:
            while self._heap:
                _, _, key = heapq.heappop(self._heap)
                info = self._active.pop(key, None)
                if info is not None:
                    self._attempts[key] = self._attempts.get(key, 0) + 1
                    return info
            self._ready.clear()
            await self._ready.wait()

    def park(self, info: PodInfo, wakes_on: frozenset[Wake], *, backs_off: bool = True) -> None:
        """Wait for one of `wakes_on`; with `backs_off` (no node fits) then also for the rest of the back-off."""
        now = self._clock.monotonic()
        delay_s = self._delay_s(info.key) if backs_off else 0.0
        self._parked[info.key] = _Parked(info, wakes_on, now + PARKED_MAX_S, now + delay_s)
        for wake in wakes_on:
            self._waits_for[wake] += 1
        self._changed.set()

    def back_off(self, info: PodInfo) -> None:
        """Trying failed for another reason (the binding was refused): try again after 1 s, doubling to 10 s."""
        self._backoff[info.key] = (info, self._clock.monotonic() + self._delay_s(info.key))
        self._changed.set()

    def wake(self, wake: Wake) -> None:
        """Something changed in the cluster: the parked pods it may help are tried again, in a fixed order."""
        if not self._waits_for[wake]:
            return
        now = self._clock.monotonic()
        for key in sorted(key for key, parked in self._parked.items() if wake in parked.wakes_on):
            parked = self._unpark(key)
            if parked is None:
                continue
            if parked.not_before <= now:
                self._activate(parked.info)
            else:
                self._backoff[key] = (parked.info, parked.not_before)
                self._changed.set()

    async def run_timers(self) -> None:
        """End back-offs and long parkings when their time has come."""
        while True:
            self._changed.clear()
            now = self._clock.monotonic()
            waits = {key: due for key, (_, due) in self._backoff.items()}
            waits |= {key: parked.due for key, parked in self._parked.items()}
            for key in sorted(key for key, due in waits.items() if due <= now):
                if key in self._backoff:
                    self._activate(self._backoff.pop(key)[0])
                elif (parked := self._unpark(key)) is not None:
                    self._activate(parked.info)
                del waits[key]
            if not waits:
                await self._changed.wait()
                continue
            # A second at most: cheaper than a timer per pod, and finer than any back-off needs.
            await self._clock.sleep(min(1.0, min(waits.values()) - now))

    def _delay_s(self, key: Key) -> float:
        attempts = max(0, self._attempts.get(key, 1) - 1)
        return min(BACKOFF_BASE_S * float(1 << min(attempts, 10)), BACKOFF_MAX_S)

    def _unpark(self, key: Key) -> _Parked | None:
        parked = self._parked.pop(key, None)
        if parked is not None:
            for wake in parked.wakes_on:
                self._waits_for[wake] -= 1
        return parked

    def _activate(self, info: PodInfo) -> None:
        known = self._active.get(info.key)
        self._active[info.key] = info
        if known is None or known.priority != info.priority:
            self._number += 1
            heapq.heappush(self._heap, (-info.priority, self._number, info.key))
        self._ready.set()
