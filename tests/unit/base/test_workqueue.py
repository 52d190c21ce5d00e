from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.base.entropy import SeededEntropy
from cluster.base.workqueue import ShutDown, WorkQueue
from tests.clocks import SteppedClock


def queue_of(clock: SteppedClock | None = None) -> WorkQueue[str]:
    return WorkQueue(clock or SteppedClock(), SeededEntropy(1), backoff_base_s=1.0)


async def test_keys_come_in_the_order_they_were_added() -> None:
    queue = queue_of()
    for key in "bac":
        queue.add(key)
    assert [await queue.get() for _ in range(3)] == ["b", "a", "c"]


async def test_a_key_added_twice_is_handed_out_once() -> None:
    queue = queue_of()
    queue.add("a")
    queue.add("a")
    await queue.get()
    assert len(queue) == 0


async def test_a_key_added_while_worked_on_comes_again_when_done() -> None:
    queue = queue_of()
    queue.add("a")
    await queue.get()
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert await queue.get() == "a"


async def test_a_delayed_key_comes_when_its_time_has_come() -> None:
    clock = SteppedClock()
    queue = queue_of(clock)
    timers = asyncio.create_task(queue.run_timers())
    queue.add_after("a", 5)
    await clock.step(4.9)
    assert len(queue) == 0
    await clock.step(0.2)
    assert len(queue) == 1
    queue.shut_down()
    await timers


async def test_the_earlier_of_two_delays_wins() -> None:
    clock = SteppedClock()
    queue = queue_of(clock)
    timers = asyncio.create_task(queue.run_timers())
    await clock.step(0)
    queue.add_after("a", 10)
    await clock.step(0)
    queue.add_after("a", 2)
    queue.add_after("a", 7)
    await clock.step(2)
    assert await queue.get() == "a"
    queue.done("a")
    await clock.step(20)
    assert len(queue) == 0
    queue.shut_down()
    await timers


async def test_adding_at_once_replaces_a_delay() -> None:
    clock = SteppedClock()
    queue = queue_of(clock)
    queue.add_after("a", 5)
    queue.add("a")
    assert await queue.get() == "a"
    assert queue.waiting == 0


async def test_failures_double_the_delay_until_forgotten() -> None:
    queue = queue_of()
    delays = [queue.add_rate_limited("a") for _ in range(3)]
    assert [round(delay // 1) for delay in delays] == [1, 2, 4]
    queue.forget("a")
    assert queue.add_rate_limited("a") < 2


async def test_a_delay_asked_for_while_worked_on_is_kept() -> None:
    clock = SteppedClock()
    queue = queue_of(clock)
    timers = asyncio.create_task(queue.run_timers())
    queue.add("a")
    await queue.get()
    queue.add_after("a", 1)
    queue.done("a")
    assert len(queue) == 0
    await clock.step(1)
    assert len(queue) == 1
    queue.shut_down()
    await timers


async def test_a_shut_down_queue_hands_out_what_is_left_then_releases_its_consumers() -> None:
    queue = queue_of()
    queue.add("a")
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    assert waiting.done()
    second = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.shut_down()
    queue.add("b")
    with pytest.raises(ShutDown):
        await second


async def test_a_cancelled_consumer_passes_its_key_on() -> None:
    queue = queue_of()
    first = asyncio.create_task(queue.get())
    second = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    assert await asyncio.wait_for(second, 5) == "a"


@given(st.lists(st.tuples(st.sampled_from(["add", "get", "done"]), st.sampled_from("abc"))))
def test_no_added_key_is_lost_and_none_is_worked_on_twice(steps: list[tuple[str, str]]) -> None:
    async def run() -> None:
        queue = queue_of()
        wanted: set[str] = set()
        working: set[str] = set()
        for verb, key in steps:
            if verb == "add":
                queue.add(key)
                wanted.add(key)
            elif verb == "get" and len(queue):
                got = await queue.get()
                assert got not in working
                working.add(got)
                wanted.discard(got)
            elif verb == "done" and key in working:
                queue.done(key)
                working.discard(key)
        for key in sorted(working):
            queue.done(key)
        rest = {await queue.get() for _ in range(len(queue))}
        assert rest == wanted

    asyncio.run(run())
