"""Time as an argument: every component that waits or stamps gets a Clock by constructor."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Two clocks and a way to wait.  Intervals use `monotonic`; only what is shown to people uses `now`."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary point; never goes back."""
        ...

    def now(self) -> datetime:
        """The wall clock in UTC, timezone-aware; may jump."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Return after `delay_s` seconds of `monotonic`."""
        ...


class SystemClock:
    """The machine's clocks."""

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
