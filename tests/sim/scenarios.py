"""The workload that faults are tried on: one application, rolled out from one version to the next."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.sim.manifests import web
from tests.sim.outcome import Outcome, outcome_of
from tests.sim.world import World, run

Fault = Callable[[World], Awaitable[None]]


async def deploy(world: World, *, within_s: float = 120, **wanted: int) -> str:
    commit = world.repository.commit(web(**wanted))
    await world.until(lambda: world.is_healthy(commit), within_s=within_s, what="healthy at the new commit")
    return commit


async def rollout(world: World, fault: Fault | None = None) -> None:
    """From version 1 to 2 with `fault` begun just before, until nothing is written any more."""
    await deploy(world)
    await world.rest()
    commit = world.repository.commit(web(version=2))
    if fault is not None:
        await fault(world)
    await world.until(lambda: world.is_healthy(commit), within_s=600, what="healthy at the new commit")
    await world.rest()


def rolled_out(directory: Path, *, seed: int, fault: Fault | None = None) -> tuple[World, Outcome]:
    async def scenario(world: World) -> None:
        await rollout(world, fault)

    world = run(scenario, seed=seed, directory=directory)
    return world, outcome_of(world)
