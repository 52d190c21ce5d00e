"""This node's statistics, made when somebody asks: nothing is read, and nothing runs, while nobody does.

Processor use is a difference of two readings.  Askers that come at least a second apart get the average since the one before;
the first, or one after a long pause, waits a second for the second reading.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from cluster.base.clock import Clock
from cluster.client.node_stats import ContainerUse, NodeStats, Use
from cluster.kubelet.engine_view import EngineView
from cluster.kubelet.host import Host
from cluster.kubelet.observe import ObservedContainer
from cluster.kubelet.stats_cgroups import HOST, Counters
from cluster.machinery.timestamps import format_time

WINDOW_MIN_S = 1.0
WINDOW_MAX_S = 60.0


@dataclass(frozen=True, slots=True)
class _Reading:
    at: float
    host: Counters
    containers: Mapping[str, Counters]


class NodeStatsReader:
    """Reads the counters of what `view` shows to run."""

    def __init__(self, *, view: EngineView, host: Host, clock: Clock) -> None:
        self._view = view
        self._host = host
        self._clock = clock
        self._lock = asyncio.Lock()
        self._last: _Reading | None = None
        self._answer: NodeStats | None = None

    async def stats(self) -> NodeStats:
        """Of the running containers, by namespace, pod and container.  Raises EngineError."""
        async with self._lock:
            age_s = self._clock.monotonic() - self._last.at if self._last is not None else WINDOW_MAX_S
            if self._answer is not None and age_s < WINDOW_MIN_S:
                return self._answer
            before = self._last
            if before is None or age_s >= WINDOW_MAX_S:
                before = self._read(await self._running())
                await self._clock.sleep(WINDOW_MIN_S)
            running = await self._running()
            now = self._read(running)
            self._last = now
            self._answer = self._between(before, now, running)
            return self._answer

    async def _running(self) -> Mapping[str, ObservedContainer]:
        pods = await self._view.look()
        return {container.id: container for uid in sorted(pods) for container in pods[uid].running}

    def _read(self, running: Mapping[str, ObservedContainer]) -> _Reading:
        counted = {key: self._host.usage(one.container.pid) for key, one in running.items() if one.container.pid}
        host = self._host.usage(HOST) or Counters(0, 0)
        present = {key: counters for key, counters in counted.items() if counters is not None}
        return _Reading(self._clock.monotonic(), host, present)

    def _between(self, before: _Reading, now: _Reading, running: Mapping[str, ObservedContainer]) -> NodeStats:
        window_s = now.at - before.at
        uses: list[ContainerUse] = []
        for key, counters in now.containers.items():
            one = running[key]
            earlier, over_s = before.containers.get(key), window_s
            if earlier is None:
                # It began within the window: its whole life is the average.
                earlier = Counters(0, 0)
                if one.started_at is not None:
                    over_s = max((self._clock.now() - one.started_at).total_seconds(), WINDOW_MIN_S)
            owner = one.identity
            use = _average(earlier, counters, over_s)
            uses.append(ContainerUse(owner.pod_namespace, owner.pod_name, owner.pod_uid, owner.container, use))
        uses.sort(key=lambda one: (one.namespace, one.pod, one.uid, one.container))
        return NodeStats(
            at=format_time(self._clock.now()),
            window_ms=round(window_s * 1000),
            node=_average(before.host, now.host, window_s),
            containers=tuple(uses),
        )


def _average(before: Counters, now: Counters, over_s: float) -> Use:
    return Use(max(0, round((now.cpu_ns - before.cpu_ns) / over_s)), now.memory_bytes)
