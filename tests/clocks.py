"""Clocks for tests: time that passes only when the test says so."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime


class SteppedClock:
    """Time that passes only when the test says so."""

    def __init__(self) -> None:
        self.time = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        return self.time

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time, UTC)

    async def sleep(self, delay_s: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.time + delay_s, future))
        await future

    async def step(self, delay_s: float) -> None:
        self.time += delay_s
        for due, future in self._sleepers:
            if due <= self.time and not future.done():
                future.set_result(None)
        for _ in range(10):
            await asyncio.sleep(0)
