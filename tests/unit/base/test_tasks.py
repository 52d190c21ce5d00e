from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from cluster.base.tasks import Supervisor


class RecordingClock:
    """Time that passes only by sleeping, at once."""

    def __init__(self) -> None:
        self.time = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.time

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time, UTC)

    async def sleep(self, delay_s: float) -> None:
        self.slept.append(delay_s)
        self.time += delay_s
        await asyncio.sleep(0)


async def test_a_task_that_fails_is_restarted_with_growing_delays() -> None:
    clock = RecordingClock()
    done = asyncio.Event()
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs <= 3:
            raise ValueError("not yet")
        done.set()

    async with Supervisor(clock) as supervisor:
        supervisor.start("worker", work)
        await asyncio.wait_for(done.wait(), 5)
    assert clock.slept == [0.2, 0.4, 0.8]


async def test_a_task_that_returns_is_not_restarted() -> None:
    runs: list[int] = []

    async def work() -> None:
        runs.append(1)

    async with Supervisor(RecordingClock()) as supervisor:
        supervisor.start("worker", work)
        for _ in range(5):
            await asyncio.sleep(0)
        assert supervisor.names == ()
    assert runs == [1]


async def test_stopping_ends_tasks_in_reverse_order_one_after_the_other() -> None:
    ended: list[str] = []

    def task(name: str):
        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                ended.append(name)

        return work

    async with Supervisor(RecordingClock()) as supervisor:
        for name in ("a", "b", "c"):
            supervisor.start(name, task(name))
        await asyncio.sleep(0)
        assert supervisor.names == ("a", "b", "c")
    assert ended == ["c", "b", "a"]


async def test_a_task_that_fails_while_it_is_stopped_is_not_started_anew() -> None:
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        try:
            await asyncio.Event().wait()
        finally:
            raise KeyError("cleaning up failed")

    supervisor = Supervisor(RecordingClock())
    supervisor.start("work", work)
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await supervisor.stop()
    assert (runs, supervisor.names) == (1, ())


async def test_the_failure_of_a_fatal_task_is_reported() -> None:
    async def work() -> None:
        raise ValueError("broken")

    async with Supervisor(RecordingClock()) as supervisor:
        supervisor.start("worker", work, fatal=True)
        failure = await asyncio.wait_for(supervisor.failed(), 5)
    assert str(failure) == "broken"


async def test_a_name_in_use_is_refused() -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    async with Supervisor(RecordingClock()) as supervisor:
        supervisor.start("a", forever)
        with pytest.raises(ValueError, match="already running"):
            supervisor.start("a", forever)
        await supervisor.cancel("a")
        supervisor.start("a", forever)


async def test_cancelling_the_stop_itself_still_ends_the_tasks() -> None:
    release = asyncio.Event()
    ended: list[str] = []

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await release.wait()
            ended.append("stubborn")

    supervisor = Supervisor(RecordingClock())
    supervisor.start("stubborn", stubborn)
    await asyncio.sleep(0)
    stop = asyncio.create_task(supervisor.stop())
    await asyncio.sleep(0)
    stop.cancel()
    await asyncio.sleep(0)
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await stop
    assert ended == ["stubborn"]
