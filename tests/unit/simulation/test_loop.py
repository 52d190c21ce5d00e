"""Virtual time passes without waiting, in order, and never silently stands still."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest

from cluster.simulation.loop import EPOCH, Deadlock, VirtualClock, run_virtual


def test_a_day_of_sleep_takes_no_time():
    clock = VirtualClock()

    async def main():
        await clock.sleep(86_400)
        return clock.now()

    assert run_virtual(main()) == EPOCH + timedelta(days=1)


def test_timers_fire_in_the_order_of_their_instants():
    seen = []

    async def wait(name, delay_s):
        await asyncio.sleep(delay_s)
        seen.append((name, asyncio.get_running_loop().time()))

    async def main():
        await asyncio.gather(wait("c", 3), wait("a", 1), wait("b", 2))

    run_virtual(main())
    assert seen == [("a", 1), ("b", 2), ("c", 3)]


def test_timeouts_are_virtual():
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await asyncio.sleep(7200)
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 3600


def test_waiting_for_nothing_is_a_deadlock():
    async def main():
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock):
        run_virtual(main())


def test_threads_are_refused():
    async def main():
        await asyncio.to_thread(time.time)

    with pytest.raises(RuntimeError, match="threads"):
        run_virtual(main())
