from __future__ import annotations

from cluster.client.unrest import RESTED_S, Unrest
from tests.clocks import SteppedClock


async def test_a_key_that_writes_nothing_is_at_rest() -> None:
    clock = SteppedClock()
    unrest: Unrest[str] = Unrest(clock)
    unrest.began("a")
    await clock.step(2)
    assert unrest.longest_s() == 2
    unrest.rested("a")
    assert unrest.longest_s() == 0


async def test_a_key_that_fails_is_restless_until_it_succeeds() -> None:
    clock = SteppedClock()
    unrest: Unrest[str] = Unrest(clock)
    unrest.began("a")
    await clock.step(100)
    unrest.began("a")
    assert unrest.longest_s() == 100


async def test_a_key_that_its_own_writes_bring_back_never_rests() -> None:
    clock = SteppedClock()
    unrest: Unrest[str] = Unrest(clock)
    for _ in range(10):
        unrest.began("a")
        unrest.wrote("a")
        await clock.step(RESTED_S / 2)
    assert unrest.longest_s() == 5 * RESTED_S


async def test_a_write_that_brings_nobody_back_ends_the_spell() -> None:
    clock = SteppedClock()
    unrest: Unrest[str] = Unrest(clock)
    unrest.began("a")
    unrest.wrote("a")
    await clock.step(RESTED_S + 1)
    assert unrest.longest_s() == 0
    unrest.began("a")
    assert unrest.longest_s() == 0
