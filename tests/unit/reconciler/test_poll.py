"""Ticks come on the event loop, again and again, until they are removed."""

from __future__ import annotations

import asyncio
import threading

from reconciler.source.poll import INTERVAL_MIN_S, Ticks


async def test_a_tick_is_a_call_on_the_event_loop() -> None:
    ticks = Ticks()
    ticks.start()
    called: asyncio.Queue[int] = asyncio.Queue()
    ticks.set("r", INTERVAL_MIN_S, lambda: called.put_nowait(threading.get_ident()))
    try:
        async with asyncio.timeout(10):
            assert await called.get() == threading.get_ident()
    finally:
        ticks.remove("r")
        ticks.close()
