from __future__ import annotations

import asyncio
from typing import Any

from cluster.scheduler.framework import Wake
from cluster.scheduler.queue import SchedulingQueue
from cluster.scheduler.requests import PodInfo, pod_info
from tests.clocks import SteppedClock


def info(name: str, priority: int = 0) -> PodInfo:
    pod: dict[str, Any] = {"metadata": {"namespace": "d", "name": name}, "spec": {"priority": priority}}
    return pod_info(pod)


async def test_higher_priority_goes_first_then_the_longest_wait() -> None:
    queue = SchedulingQueue(SteppedClock())
    for name, priority in (("b", 0), ("a", 0), ("vip", 10)):
        queue.add(info(name, priority))
    assert [(await queue.pop()).key.name for _ in range(3)] == ["vip", "b", "a"]


async def test_a_parked_pod_returns_by_the_change_it_waits_for_only() -> None:
    clock = SteppedClock()
    queue = SchedulingQueue(clock)
    queue.add(info("a"))
    queue.park(await queue.pop(), frozenset({Wake.POD_DELETED}))
    await clock.step(1)
    queue.wake(Wake.NODE_RELABELED)
    assert queue.active == 0
    queue.wake(Wake.POD_DELETED)
    assert (await queue.pop()).key.name == "a"


async def test_a_change_does_not_shorten_the_back_off_of_a_parked_pod() -> None:
    clock = SteppedClock()
    queue = SchedulingQueue(clock)
    timers = asyncio.create_task(queue.run_timers())
    queue.add(info("a"))
    queue.park(await queue.pop(), frozenset({Wake.POD_DELETED}))
    queue.wake(Wake.POD_DELETED)
    assert queue.active == 0
    await clock.step(0)
    await clock.step(1)
    assert queue.active == 1
    timers.cancel()
    await asyncio.gather(timers, return_exceptions=True)


async def test_a_failed_pod_backs_off_longer_each_time() -> None:
    clock = SteppedClock()
    queue = SchedulingQueue(clock)
    timers = asyncio.create_task(queue.run_timers())
    queue.add(info("a"))
    for wait_s in (1, 2, 4):
        queue.back_off(await queue.pop())
        for _ in range(wait_s):
            assert queue.active == 0
            await clock.step(0)
            await clock.step(1)
        assert queue.active == 1
    timers.cancel()
    await asyncio.gather(timers, return_exceptions=True)


async def test_a_removed_pod_is_not_handed_out() -> None:
    queue = SchedulingQueue(SteppedClock())
    queue.add(info("a"))
    queue.add(info("b"))
    queue.remove(info("a").key)
    assert (await queue.pop()).key.name == "b"
    assert len(queue) == 0
