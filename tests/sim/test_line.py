"""The straight line in a simulated world: commit, change, revert, and then nothing."""

from __future__ import annotations

from pathlib import Path

from cluster.machinery.objects import field_of
from tests.sim.manifests import web
from tests.sim.world import World, run


def images_of(world: World) -> set[str]:
    return {field_of(pod, "spec", "containers", default=())[0]["image"] for pod in world.ready_pods("web")}


async def deploy(world: World, **wanted: int) -> str:
    commit = world.repository.commit(web(**wanted))
    await world.until(lambda: world.is_healthy(commit), within_s=60, what="healthy at the new commit")
    return commit


def test_a_commit_runs_and_then_nothing_is_written(seed: int, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await deploy(world)
        assert len(world.ready_pods("web")) == 2
        await world.rest()
        before = world.disk.writes
        await world.run_for(120)
        beats = [line for line in world.log[-(world.disk.writes - before) :] if " leases " not in line]
        assert len(beats) <= 1, beats  # the node says every five minutes that it is still the same

    run(scenario, seed=seed, directory=tmp_path)


def test_a_revert_brings_the_old_content_back(seed: int, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await deploy(world)
        await deploy(world, version=2, replicas=3)
        assert images_of(world) == {"web:2"}
        commit = world.repository.revert()
        await world.until(lambda: world.is_healthy(commit), within_s=60, what="healthy at the revert")
        await world.rest()
        assert images_of(world) == {"web:1"}
        assert len(world.ready_pods("web")) == 2
        assert world.deletes["replicasets"] == 0

    run(scenario, seed=seed, directory=tmp_path)
