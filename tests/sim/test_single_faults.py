"""One fault at every place it can be: the rollout ends as it does without, and nothing is made or removed twice.

After Sieve: a crash between any two writes, an event that is never seen, reads that are behind.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from tests.sim.outcome import Outcome
from tests.sim.scenarios import Fault, rolled_out
from tests.sim.world import World

STRIDE = 1 if int(os.environ.get("SIM_SEEDS", "0")) > 1 else 4
"""Every day every fourth place is tried, with SIM_SEEDS all of them."""
WRITES_MAX = 100
EVENTS_MAX = 40
CHANGES_MAX = 24


@cache
def faultless(directory: Path, seed: int) -> tuple[Sequence[int], Outcome]:
    """How many writes, events and changes of the engine there are, and what it comes to."""
    counted: list[int] = []

    async def count(world: World) -> None:
        counted.extend(places(world))

    world, outcome = rolled_out(directory, seed=seed, fault=count)
    return [after - before for before, after in zip(counted, places(world), strict=True)], outcome


def places(world: World) -> Sequence[int]:
    agent = world.agents["n1"]
    return world.disk.writes, agent.line.delivered, agent.engine.changes


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faultless")


def compare(fault: Fault, tmp_path: Path, base: Path) -> None:
    _, expected = faultless(base, 1)
    _, found = rolled_out(tmp_path, seed=1, fault=fault)
    assert found == expected


@pytest.mark.parametrize("place", range(1, WRITES_MAX, STRIDE))
def test_a_server_crash_after_any_write_changes_nothing(place: int, tmp_path: Path, base: Path) -> None:
    async def crash(world: World) -> None:
        assert world.server.store is not None
        world.server.store.crash_after = world.disk.writes + place

    compare(crash, tmp_path, base)


@pytest.mark.parametrize("place", range(1, EVENTS_MAX, STRIDE))
def test_an_event_the_agent_never_sees_changes_nothing(place: int, tmp_path: Path, base: Path) -> None:
    async def hide(world: World) -> None:
        line = world.agents["n1"].line
        line.hidden = frozenset({line.delivered + place})

    compare(hide, tmp_path, base)


@pytest.mark.parametrize("place", range(1, CHANGES_MAX, STRIDE))
def test_an_agent_crash_after_any_change_of_its_engine_changes_nothing(place: int, tmp_path: Path, base: Path) -> None:
    async def crash(world: World) -> None:
        engine = world.agents["n1"].engine
        engine.die_after = engine.changes + place

    compare(crash, tmp_path, base)


@pytest.mark.parametrize("lag_s", [0.02, 0.3, 2.0])
def test_a_server_whose_feed_lags_changes_nothing(lag_s: float, tmp_path: Path, base: Path) -> None:
    async def lag(world: World) -> None:
        assert world.server.store is not None
        world.server.store.lag_s = lag_s

    compare(lag, tmp_path, base)


@pytest.mark.parametrize("lag_s", [0.02, 0.3, 2.0, 10.0])
def test_an_agent_that_is_told_late_changes_nothing(lag_s: float, tmp_path: Path, base: Path) -> None:
    async def lag(world: World) -> None:
        world.agents["n1"].line.lag_s = lag_s

    compare(lag, tmp_path, base)


def test_every_place_is_tried(base: Path) -> None:
    (writes, events, changes), _ = faultless(base, 1)
    assert writes <= WRITES_MAX, writes
    assert events <= EVENTS_MAX, events
    assert changes <= CHANGES_MAX, changes
