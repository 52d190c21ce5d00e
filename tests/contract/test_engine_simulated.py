"""The simulated engine passes the suite the real one passes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cluster.simulation.engine import SimulatedEngine
from tests.clocks import SteppedClock
from tests.contract.engine_suite import EngineSuite, name, spec

__all__ = ["name", "spec"]

IMAGE = "reconciler.local/forever:1"


@pytest.fixture
async def engine() -> AsyncIterator[SimulatedEngine]:
    engine = SimulatedEngine(clock=SteppedClock())
    engine.add_image(IMAGE)
    yield engine
    await engine.close()


@pytest.fixture
def streams(engine: SimulatedEngine) -> SimulatedEngine:
    return engine


@pytest.fixture
def images(engine: SimulatedEngine) -> SimulatedEngine:
    return engine


@pytest.fixture
def image() -> str:
    return IMAGE


class TestSimulated(EngineSuite):
    pass
