"""Readiness: a waiter goes on inside the callback; failures and cancellation arrive in order."""

from __future__ import annotations

import asyncio

import pytest

from cluster.base.readiness import Readiness


async def test_the_waiter_goes_on_before_the_callback_returns():
    loop = asyncio.get_running_loop()
    readiness = Readiness(loop)
    seen: list[str] = []

    async def wait() -> None:
        await readiness
        seen.append("resumed")

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)

    def callback() -> None:
        readiness.fire()
        seen.append("callback ends")

    loop.call_soon(callback)
    await task
    assert seen == ["resumed", "callback ends"]


async def test_what_fired_before_the_wait_does_not_wait():
    readiness = Readiness(asyncio.get_running_loop())
    readiness.fire()
    await readiness


async def test_a_failure_is_raised_in_the_waiter():
    readiness = Readiness(asyncio.get_running_loop())
    task = asyncio.create_task(_wait_for(readiness))
    await asyncio.sleep(0)
    assert readiness.fail(ConnectionAbortedError("closed"))
    with pytest.raises(ConnectionAbortedError):
        await task
    assert not readiness.fail(OSError())


async def test_a_cancelled_waiter_is_cancelled_and_a_later_event_harmless():
    readiness = Readiness(asyncio.get_running_loop())
    task = asyncio.create_task(_wait_for(readiness))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    readiness.fire()


async def test_a_timeout_around_the_wait_ends_it():
    readiness = Readiness(asyncio.get_running_loop())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await readiness


async def _wait_for(readiness: Readiness) -> None:
    await readiness
