"""Coarse ticks: remotes are asked at their interval, spread so that many do not ask at once; a late tick is not made up for."""

from __future__ import annotations

from collections.abc import Callable

from apscheduler.schedulers.asyncio import AsyncIOScheduler

JITTER = 0.1
"""Fraction of the interval."""

INTERVAL_MIN_S = 1.0
GRACE_S = 3600


class Ticks:
    """Named periodic calls on the event loop; one that still runs is not started again."""

    def __init__(self) -> None:
        self._scheduler = AsyncIOScheduler(timezone="UTC")

    def start(self) -> None:
        """Needs the running event loop."""
        self._scheduler.start()

    def set(self, name: str, interval_s: float, call: Callable[[], None]) -> None:
        """Call every `interval_s` from now on, instead of what was set under `name`."""
        interval_s = max(interval_s, INTERVAL_MIN_S)

        async def tick() -> None:
            # The scheduler runs on the loop what it sees to be a coroutine function; all else goes to a thread.
            call()

        self._scheduler.add_job(
            tick,
            "interval",
            seconds=interval_s,
            jitter=max(1, int(interval_s * JITTER)) if interval_s > 2 else None,
            id=name,
            replace_existing=True,
            coalesce=True,
            max_instances=1,
            misfire_grace_time=GRACE_S,
        )

    def remove(self, name: str) -> None:
        if self._scheduler.get_job(name) is not None:
            self._scheduler.remove_job(name)

    def close(self) -> None:
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
