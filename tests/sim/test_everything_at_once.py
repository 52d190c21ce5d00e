"""Random faults while the repository changes: in the end the newest commit runs, and nothing was broken on the way.

A seed that found a bug stays in FOUND.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from cluster.client.transport import DeleteOptions
from cluster.kubelet.identity import CONTAINER_NAME
from cluster.machinery.errors import ApiError
from cluster.machinery.objects import uid_of
from cluster.resources.builtin import PODS
from tests.sim.manifests import web
from tests.sim.test_nodes import application_containers
from tests.sim.world import World, run

Step = Callable[[World], Awaitable[None]]
STEPS = 12
RECOVERY_S = 900.0
QUARANTINE_S = 620.0


def chosen(world: World, count: int) -> int:
    return min(int(world.entropy.uniform(0, count)), count - 1)


def agent_of(world: World) -> str:
    return sorted(world.agents)[chosen(world, len(world.agents))]


async def change(world: World) -> None:
    files = dict(web(version=1 + chosen(world, 3), replicas=1 + chosen(world, 4), greeting=f"Hello {chosen(world, 3)}"))
    if chosen(world, 2):
        files["other.yaml"] = OTHER
    world.repository.commit(files)


OTHER = "{apiVersion: v1, kind: ConfigMap, metadata: {name: other}}"
"""Comes and goes: what leaves the repository must leave the cluster."""


async def server_crashes(world: World) -> None:
    await world.restart_server(away_s=world.entropy.uniform(0, 20))


async def server_crashes_soon(world: World) -> None:
    if world.server.store is not None:
        world.server.store.crash_after = world.disk.writes + 1 + chosen(world, 40)


async def agent_restarts(world: World) -> None:
    await world.restart_agent(agent_of(world), away_s=world.entropy.uniform(0, 20))


async def line_is_cut(world: World) -> None:
    line = world.agents[agent_of(world)].line
    line.cut = True
    line.break_connections()
    await world.run_for(world.entropy.uniform(0, 90))
    line.cut = False


async def engine_is_away(world: World) -> None:
    engine = world.agents[agent_of(world)].engine
    engine.available = False
    await world.run_for(world.entropy.uniform(0, 60))
    engine.available = True


async def engine_is_slow(world: World) -> None:
    engine = world.agents[agent_of(world)].engine
    engine.delay_s = world.entropy.uniform(0, 5)
    await world.run_for(world.entropy.uniform(0, 30))
    engine.delay_s = 0.0


async def container_dies(world: World) -> None:
    running = [each for _, each in world.view.containers() if CONTAINER_NAME in each.labels]
    if running:
        victim = running[chosen(world, len(running))]
        node = next(node for node, each in world.view.containers() if each.id == victim.id and each.name == victim.name)
        world.agents[node].engine.finish(victim.id, 1)


async def sandbox_dies(world: World) -> None:
    running = [(node, each) for node, each in world.view.containers() if CONTAINER_NAME not in each.labels]
    if running:
        node, victim = running[chosen(world, len(running))]
        world.agents[node].engine.finish(victim.id, 137)


async def node_is_lost(world: World) -> None:
    """For so long that its pods are given up, or nearly."""
    line = world.agents[agent_of(world)].line
    line.cut = True
    line.break_connections()
    await world.run_for(world.entropy.uniform(300, 700))
    line.cut = False


async def pod_is_forced_away(world: World) -> None:
    """Somebody deletes a pod without waiting for its node, which may be away."""
    pods = sorted(world.view.all("pods"))
    if pods and world.server.is_up:
        victim = pods[chosen(world, len(pods))]
        world.view.forced.add(uid_of(world.view.all("pods")[victim]))
        with suppress(ApiError):
            await world.api.delete(PODS, victim, DeleteOptions(grace_period_s=0))


async def pod_is_forced_away_from_a_stopped_agent(world: World) -> None:
    name = agent_of(world)
    await world.agents[name].crash()
    await pod_is_forced_away(world)
    await world.run_for(world.entropy.uniform(0, 20))
    await world.agents[name].start()


async def disk_refuses(world: World) -> None:
    store = world.server.store
    if store is not None:
        store.refused = True
        await world.run_for(world.entropy.uniform(0, 15))
        store.refused = False


async def feed_breaks(world: World) -> None:
    if world.server.store is not None:
        world.server.store.break_feeds()


async def feed_lags(world: World) -> None:
    store = world.server.store
    if store is not None:
        store.lag_s = world.entropy.uniform(0, 1)
        await world.run_for(world.entropy.uniform(0, 20))
        store.lag_s = 0.0


async def repository_is_away(world: World) -> None:
    world.repository.reachable = False
    await world.run_for(world.entropy.uniform(0, 60))
    world.repository.reachable = True


FAULTS: tuple[Step, ...] = (
    change,
    change,
    server_crashes,
    server_crashes_soon,
    agent_restarts,
    line_is_cut,
    engine_is_away,
    engine_is_slow,
    container_dies,
    sandbox_dies,
    node_is_lost,
    pod_is_forced_away,
    pod_is_forced_away_from_a_stopped_agent,
    disk_refuses,
    feed_breaks,
    feed_lags,
    repository_is_away,
)

FOUND: tuple[int, ...] = ()


async def swizzle(world: World) -> None:
    await change(world)
    for _ in range(STEPS):
        await world.run_for(world.entropy.uniform(0, 8))
        await FAULTS[chosen(world, len(FAULTS))](world)
    wanted = 1 + chosen(world, 3)
    commit = world.repository.commit(web(version=4, replicas=wanted))
    if world.server.store is not None:
        world.server.store.crash_after = None
    await world.until(lambda: world.is_healthy(commit), within_s=RECOVERY_S, what="the newest commit is healthy")
    # Containers of pods that the API forgot while their agent was away are kept for ten minutes before they end.
    await world.run_for(QUARANTINE_S)
    await world.rest(within_s=RECOVERY_S)
    assert world.find("configmaps", "other") is None
    assert sorted(application_containers(world).values()) == ["web:4"] * wanted
    assert len(world.ready_pods("web")) == wanted


def test_the_newest_commit_runs_whatever_happened(seed: int, tmp_path: Path) -> None:
    run(swizzle, seed=seed, directory=tmp_path, nodes=2)


def test_what_once_failed_does_not_again(tmp_path: Path) -> None:
    for seed in FOUND:
        run(swizzle, seed=seed, directory=tmp_path / str(seed), nodes=2)
