"""The latest statistics of the nodes, asked for when somebody reads metrics: with no readers it costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from loguru import logger

from cluster.base.clock import Clock
from cluster.client.node_channel import NodeChannels
from cluster.client.node_stats import NodeStats
from cluster.machinery.errors import ApiError

MAX_AGE_S = 5.0
"""Readers that follow each other sooner get the same answer."""
ANSWER_TIMEOUT_S = 8.0
ASKED_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class _Known:
    at: float
    stats: NodeStats | None


class NodeStatsCache:
    """One answer a node, for all who ask within MAX_AGE_S; who asks meanwhile waits for it."""

    def __init__(self, channels: NodeChannels, clock: Clock) -> None:
        self._channels = channels
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._asking: dict[str, asyncio.Lock] = {}
        self._seats = asyncio.Semaphore(ASKED_AT_ONCE)

    async def of(self, nodes: Sequence[str]) -> dict[str, NodeStats]:
        """Of those of `nodes` that answer."""
        now = self._clock.monotonic()
        self._known = {node: known for node, known in self._known.items() if now - known.at < MAX_AGE_S}
        answers = await asyncio.gather(*map(self._of_one, nodes))
        return {node: stats for node, stats in zip(nodes, answers, strict=True) if stats is not None}

    async def _of_one(self, node: str) -> NodeStats | None:
        lock = self._asking.setdefault(node, asyncio.Lock())
        try:
            async with lock:
                known = self._known.get(node)
                if known is None:
                    known = _Known(self._clock.monotonic(), await self._ask(node))
                    self._known[node] = known
                return known.stats
        finally:
            if not lock.locked():
                self._asking.pop(node, None)

    async def _ask(self, node: str) -> NodeStats | None:
        try:
            async with self._seats, asyncio.timeout(ANSWER_TIMEOUT_S):
                return await self._channels.channel(node).stats()
        except (ApiError, TimeoutError) as error:
            logger.debug("a node gives no statistics", node=node, reason=str(error))
            return None
