"""The server away, its disk refusing, its feed broken; and what its controllers clean up."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.client.transport import DeleteOptions
from cluster.machinery.objects import Key
from cluster.resources.builtin import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES
from tests.sim.invariants.ownership import BY_HAND
from tests.sim.manifests import web
from tests.sim.outcome import outcome_of
from tests.sim.scenarios import deploy
from tests.sim.test_nodes import application_containers, restarts
from tests.sim.world import World, run


def config_map(name: str, namespace: str = "default") -> dict[str, object]:
    meta = {"name": name, "namespace": namespace, "labels": {BY_HAND: "yes"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"a": "b"}}


def test_a_server_that_is_away_for_an_hour_changes_nothing(seed: int, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await deploy(world)
        await world.rest()
        before, expected = application_containers(world), outcome_of(world)
        await world.restart_server(away_s=3600)
        await world.run_for(60)
        await world.rest()
        assert application_containers(world) == before
        assert outcome_of(world) == expected
        assert restarts(world) == 0

    run(scenario, seed=seed, directory=tmp_path)


def test_containers_are_restarted_while_the_server_is_away(seed: int, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await deploy(world)
        await world.server.crash()
        engine = world.agents["n1"].engine
        engine.finish(sorted(application_containers(world))[0], 1)
        await world.until(lambda: len(application_containers(world)) == 2, within_s=60, what="two containers run")
        await world.server.start()
        await world.until(lambda: restarts(world) == 1, within_s=60, what="the API has learnt of the restart")
        await world.rest()
        assert len(world.ready_pods("web")) == 2

    run(scenario, seed=seed, directory=tmp_path)


def test_a_disk_that_refuses_for_a_minute_loses_nothing(seed: int, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await deploy(world)
        commit = world.repository.commit(web(version=2))
        begun = world.disk.writes
        while world.disk.writes < begun + 12:
            await world.clock.sleep(0.001)
        assert world.server.store is not None
        world.server.store.refused = True
        await world.run_for(60)
        world.server.store.refused = False
        await world.until(lambda: world.is_healthy(commit), within_s=120, what="healthy at the new commit")
        await world.rest()
        assert set(application_containers(world).values()) == {"web:2"}

    run(scenario, seed=seed, directory=tmp_path)


def test_a_feed_that_keeps_breaking_changes_nothing(seed: int, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await deploy(world)
        commit = world.repository.commit(web(version=2))
        for _ in range(60):
            assert world.server.store is not None
            world.server.store.break_feeds()
            await world.clock.sleep(world.entropy.uniform(0.01, 0.1))
        await world.until(lambda: world.is_healthy(commit), within_s=120, what="healthy at the new commit")
        await world.rest()
        assert set(application_containers(world).values()) == {"web:2"}
        assert world.creates["pods"] == 4

    run(scenario, seed=seed, directory=tmp_path)


def test_a_repository_that_cannot_be_read_deletes_nothing(seed: int, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await deploy(world)
        before = application_containers(world)
        world.repository.reachable = False
        await world.run_for(300)
        await world.restart_server()
        await world.run_for(300)
        assert application_containers(world) == before
        assert world.deletes["deployments"] == 0
        world.repository.reachable = True
        await deploy(world, version=2)

    run(scenario, seed=seed, directory=tmp_path)


def test_what_leaves_the_repository_is_removed_and_nothing_else(seed: int, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.api.create(CONFIG_MAPS, config_map("by-hand"))
        await deploy(world)
        files = {"other.yaml": "{apiVersion: v1, kind: ConfigMap, metadata: {name: other}}"}
        both = world.repository.commit({**web(), **files})
        await world.until(lambda: world.is_healthy(both), within_s=60, what="both are there")
        only = world.repository.commit(web())
        await world.until(lambda: world.is_healthy(only), within_s=60, what="the second is gone")
        await world.rest()
        assert world.find("configmaps", "other") is None
        assert world.find("configmaps", "by-hand") is not None
        assert len(world.ready_pods("web")) == 2

    run(scenario, seed=seed, directory=tmp_path)


def by_hand(world: World, namespace: str) -> dict[str, object]:
    """The repository's Deployment again, in a place that no repository knows."""
    template = world.find("deployments", "web")
    assert template is not None
    spec = template["spec"]
    containers = [{k: v for k, v in each.items() if k != "env"} for each in spec["template"]["spec"]["containers"]]
    pods = {"metadata": {"labels": {"app": "copy"}}, "spec": {**spec["template"]["spec"], "containers": containers}}
    selector = {"matchLabels": {"app": "copy"}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "copy", "namespace": namespace},
        "spec": {"replicas": 3, "selector": selector, "template": pods},
    }


@pytest.mark.parametrize("policy", ["Foreground", "Background"])
def test_deleting_a_deployment_leaves_no_pod_and_no_container(policy: str, seed: int, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await deploy(world)
        await world.api.create(DEPLOYMENTS, by_hand(world, "default"))
        await world.until(lambda: len(world.ready_pods("copy")) == 3, within_s=60, what="the copy runs")
        await world.api.delete(DEPLOYMENTS, Key("default", "copy"), DeleteOptions(propagation_policy=policy))
        await world.until(lambda: len(application_containers(world)) == 2, within_s=60, what="its containers are gone")
        await world.rest()
        assert world.find("deployments", "copy") is None
        assert len(world.view.all("replicasets")) == 1
        assert len(world.view.all("pods")) == 2

    run(scenario, seed=seed, directory=tmp_path)


def test_orphaned_pods_are_adopted_by_the_deployment_that_returns(seed: int, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await deploy(world)
        before = application_containers(world)
        await world.api.delete(DEPLOYMENTS, Key("default", "web"), DeleteOptions(propagation_policy="Orphan"))
        await world.until(lambda: world.deletes["deployments"] == 1, within_s=60, what="the deployment is gone")
        await world.until(lambda: world.find("deployments", "web") is not None, within_s=60, what="Git has it back")
        await world.rest()
        assert application_containers(world) == before
        assert world.creates["pods"] == 2
        assert world.creates["replicasets"] == 1

    run(scenario, seed=seed, directory=tmp_path)


def test_a_deleted_namespace_takes_everything_with_it(seed: int, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await deploy(world)
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}
        await world.api.create(NAMESPACES, namespace)
        await world.api.create(DEPLOYMENTS, by_hand(world, "team"))
        await world.until(lambda: len(world.ready_pods("copy")) == 3, within_s=60, what="both run")
        await world.api.delete(NAMESPACES, Key("", "team"))
        await world.restart_server()
        await world.until(lambda: Key("", "team") not in world.view.all("namespaces"), within_s=120, what="it is gone")
        left = [kind for kind, found in world.view.objects.items() if any(key.namespace == "team" for key in found)]
        assert left == []
        await world.rest()
        assert len(application_containers(world)) == 2

    run(scenario, seed=seed, directory=tmp_path)
