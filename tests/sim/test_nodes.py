"""What happens to pods when agents, engines, containers and nodes go away and come back."""

from __future__ import annotations

from pathlib import Path

from cluster.kubelet.identity import CONTAINER_NAME
from cluster.machinery.objects import Key, Obj, field_of
from cluster.resources.builtin import NODES
from tests.sim.scenarios import deploy
from tests.sim.world import World, run

NODE_LOST_S = 450.0
"""40 s until the node counts as lost, 300 s that pods tolerate it, and time to start elsewhere."""


def application_containers(world: World) -> dict[str, str]:
    """Id and image of each application container that runs."""
    return {
        container.id: container.image for _, container in world.view.containers() if CONTAINER_NAME in container.labels
    }


def restarts(world: World) -> int:
    return sum(
        int(status.get("restartCount", 0))
        for pod in world.view.all("pods").values()
        for status in field_of(pod, "status", "containerStatuses", default=())
    )


def is_node_ready(world: World, name: str) -> bool:
    node: Obj = world.view.all("nodes").get(Key("", name)) or {}
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in field_of(node, "status", "conditions", default=())
    )


def test_an_agent_that_restarts_adopts_what_runs(seed: int, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await deploy(world, replicas=3)
        before = application_containers(world)
        for away_s in (0.0, 1.0, 30.0):
            await world.restart_agent("n1", away_s=away_s)
            await world.run_for(5)
        await world.rest()
        assert application_containers(world) == before
        assert restarts(world) == 0
        assert world.deletes["pods"] == 0

    run(scenario, seed=seed, directory=tmp_path)


def test_an_engine_that_is_away_for_a_minute_restarts_nothing(seed: int, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await deploy(world)
        before = application_containers(world)
        world.agents["n1"].engine.available = False
        await world.until(lambda: not is_node_ready(world, "n1"), within_s=60, what="the node is not ready")
        await world.run_for(30)
        world.agents["n1"].engine.available = True
        await world.until(lambda: is_node_ready(world, "n1"), within_s=60, what="the node is ready again")
        await world.rest()
        assert application_containers(world) == before
        assert restarts(world) == 0
        assert len(world.ready_pods("web")) == 2

    run(scenario, seed=seed, directory=tmp_path)


def test_a_slow_engine_delays_and_changes_nothing_else(seed: int, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.agents["n1"].engine.delay_s = 3.0
        await deploy(world)
        await deploy(world, version=2)
        await world.rest()
        assert set(application_containers(world).values()) == {"web:2"}
        assert restarts(world) == 0

    run(scenario, seed=seed, directory=tmp_path)


def test_a_container_that_dies_is_started_again_in_its_pod(seed: int, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await deploy(world)
        victim = sorted(application_containers(world))[0]
        world.agents["n1"].engine.finish(victim, 1)
        await world.until(lambda: restarts(world) == 1, within_s=30, what="restarted once")
        await world.rest()
        assert len(world.ready_pods("web")) == 2
        assert world.deletes["pods"] == 0

    run(scenario, seed=seed, directory=tmp_path)


def test_a_sandbox_that_dies_is_made_anew(seed: int, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await deploy(world)
        sandbox = next(c for _, c in world.view.containers() if CONTAINER_NAME not in c.labels)
        world.agents["n1"].engine.finish(sandbox.id, 137)
        await world.run_for(15)
        await world.rest()
        assert len(world.ready_pods("web")) == 2
        assert len(application_containers(world)) == 2

    run(scenario, seed=seed, directory=tmp_path)


def test_pods_of_a_lost_node_start_elsewhere_and_leave_nothing_behind(seed: int, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await deploy(world, replicas=4)
        nodes = {field_of(pod, "spec", "nodeName", default="") for pod in world.ready_pods("web")}
        assert nodes == {"n1", "n2"}
        world.agents["n2"].line.cut = True
        world.agents["n2"].line.break_connections()
        await world.until(lambda: not is_node_ready(world, "n2"), within_s=60, what="the node counts as lost")

        def moved() -> bool:
            on = [field_of(pod, "spec", "nodeName", default="") for pod in world.ready_pods("web")]
            return on.count("n1") == 4

        await world.until(moved, within_s=NODE_LOST_S, what="four pods on the node that is left")
        world.agents["n2"].line.cut = False
        await world.until(lambda: is_node_ready(world, "n2"), within_s=60, what="the node is back")
        await world.rest()
        assert len(application_containers(world)) == 4

    run(scenario, seed=seed, directory=tmp_path, nodes=2)


def test_a_node_that_is_cut_off_briefly_moves_nothing(seed: int, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await deploy(world, replicas=4)
        before = application_containers(world)
        world.agents["n2"].line.cut = True
        world.agents["n2"].line.break_connections()
        await world.run_for(120)
        world.agents["n2"].line.cut = False
        await world.until(lambda: is_node_ready(world, "n2"), within_s=60, what="the node is back")
        await world.rest()
        assert application_containers(world) == before
        assert world.deletes["pods"] == 0

    run(scenario, seed=seed, directory=tmp_path, nodes=2)


def test_a_node_object_deleted_by_mistake_is_registered_again(seed: int, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await deploy(world)
        await world.api.delete(NODES, Key("", "n1"))
        await world.until(lambda: is_node_ready(world, "n1"), within_s=60, what="the node is back")
        await world.until(lambda: len(world.ready_pods("web")) == 2, within_s=120, what="two pods are ready")
        await world.rest()
        assert len(application_containers(world)) == 2

    run(scenario, seed=seed, directory=tmp_path)
