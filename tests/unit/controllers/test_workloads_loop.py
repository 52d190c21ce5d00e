"""The loops against the real API server in process."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.client.lease import Heartbeat
from cluster.client.transport import DeleteOptions
from cluster.controllers.endpointslice import SERVICE_LABEL
from cluster.machinery.objects import Key, Obj, field_of, is_deleting, key_of, name_of, uid_of, with_field
from cluster.resources.builtin import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    EVENTS,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    SERVICE_ACCOUNTS,
    SERVICES,
)
from tests.unit.controllers.cluster import Cluster, cluster


def deployment(image: str = "web:1", replicas: int = 3) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": "default", "name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": image}]},
            },
        },
    }


@pytest.mark.parametrize("informer", [False, True], ids=["own state", "informer"])
async def test_a_deployment_becomes_pods_on_nodes_and_reports_them(informer: bool) -> None:
    async with cluster(informer=informer) as world:
        await world.add_node("n1")
        await world.add_node("n2")
        made: set[str] = set()
        world.server.cache().subscribe(PODS, lambda change: made.add(uid_of(change.new or change.old or {})))
        await world.api.create(DEPLOYMENTS, deployment())
        pods = await world.until(
            lambda: (
                [pod for pod in world.list(PODS) if field_of(pod, "spec", "nodeName")][:3]
                if sum(bool(field_of(pod, "spec", "nodeName")) for pod in world.list(PODS)) == 3
                else None
            )
        )
        assert {pod["spec"]["nodeName"] for pod in pods} == {"n1", "n2"}
        for number, pod in enumerate(pods):
            await world.start_pod(pod, f"10.244.0.{number + 2}")
        status = await world.until(
            lambda: (
                (found := world.get(DEPLOYMENTS, "web"))
                and field_of(found, "status", "availableReplicas") == 3
                and found["status"]
            )
        )
        assert [c["reason"] for c in status["conditions"]] == ["MinimumReplicasAvailable", "NewReplicaSetAvailable"]
        await world.settle()
        assert len(made) == 3
        assert len(world.list(REPLICA_SETS)) == 1


async def test_a_pod_that_is_deleted_is_replaced() -> None:
    async with cluster() as world:
        await world.api.create(DEPLOYMENTS, deployment(replicas=2))
        pods = await world.until(lambda: world.list(PODS) if len(world.list(PODS)) == 2 else None)
        gone = name_of(pods[0])
        await world.api.delete(PODS, key_of(pods[0]))
        await world.until(lambda: len(world.list(PODS)) == 2 and gone not in map(name_of, world.list(PODS)))


async def test_an_unschedulable_pod_says_why_and_is_placed_when_a_node_comes() -> None:
    async with cluster() as world:
        await world.add_node("small", cpu="100m")
        wanted = deployment(replicas=1)
        wanted["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1"}}
        await world.api.create(DEPLOYMENTS, wanted)

        def condition():
            for pod in world.list(PODS):
                for found in field_of(pod, "status", "conditions", default=()):
                    if found["type"] == "PodScheduled":
                        return found
            return None

        found = await world.until(condition)
        assert found["message"] == "0/1 nodes are available: 1 Insufficient cpu."
        assert (found["status"], found["reason"]) == ("False", "Unschedulable")
        await world.add_node("big")
        await world.until(lambda: field_of(world.list(PODS)[0], "spec", "nodeName") == "big")


def service() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "default", "name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }


async def run_pods(world: Cluster, number: int) -> None:
    """Every pod runs, until `number` are ready and no other is left."""
    started: set[str] = set()

    async def start_new() -> bool:
        pods = world.list(PODS)
        for pod in pods:
            if uid_of(pod) not in started and not is_deleting(pod):
                started.add(uid_of(pod))
                await world.start_pod(pod, f"10.244.0.{len(started) + 1}")
            if is_deleting(pod):
                await world.api.delete(PODS, key_of(pod), DeleteOptions(grace_period_s=0))
        found = world.get(DEPLOYMENTS, "web")
        counts = ("replicas", "updatedReplicas", "availableReplicas")
        return found is not None and all(field_of(found, "status", name) == number for name in counts)

    for _ in range(200):
        if await start_new():
            return
        await world.settle(0.5)
    raise AssertionError("the rollout does not end")


@pytest.mark.parametrize("informer", [False, True], ids=["own state", "informer"])
async def test_a_new_template_is_rolled_out_and_a_revert_rolls_back(informer: bool) -> None:
    async with cluster(informer=informer) as world:
        await world.add_node("n1")
        await world.api.create(DEPLOYMENTS, deployment())
        await run_pods(world, 3)
        await world.api.update(DEPLOYMENTS, with_image(world, "web:2"))
        await world.settle(1)
        await run_pods(world, 3)
        sizes = {name_of(rs): rs["spec"]["replicas"] for rs in world.list(REPLICA_SETS)}
        assert sorted(sizes.values()) == [0, 3]
        await world.api.update(DEPLOYMENTS, with_image(world, "web:1"))
        await world.settle(1)
        await run_pods(world, 3)
        again = {name_of(rs): rs["spec"]["replicas"] for rs in world.list(REPLICA_SETS)}
        assert again == {name: 3 - size for name, size in sizes.items()}
        found = world.get(DEPLOYMENTS, "web")
        assert found is not None
        assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"


def with_image(world: Cluster, image: str) -> Obj:
    found = world.get(DEPLOYMENTS, "web")
    assert found is not None
    containers = [{**found["spec"]["template"]["spec"]["containers"][0], "image": image}]
    return with_field(found, ["spec", "template", "spec", "containers"], containers)


async def test_numbering_a_revision_is_no_new_generation() -> None:
    async with cluster() as world:
        await world.add_node("n1")
        await world.api.create(DEPLOYMENTS, deployment())
        await run_pods(world, 3)
        (found,) = world.list(DEPLOYMENTS)
        assert field_of(found, "metadata", "annotations", "deployment.kubernetes.io/revision") == "1"
        assert found["metadata"]["generation"] == 1


@pytest.mark.parametrize("informer", [False, True], ids=["own state", "informer"])
async def test_a_deleted_deployment_takes_its_replica_sets_and_pods_with_it(informer: bool) -> None:
    async with cluster(informer=informer) as world:
        await world.api.create(DEPLOYMENTS, deployment())
        await world.until(lambda: len(world.list(PODS)) == 3)
        await world.api.delete(DEPLOYMENTS, Key("default", "web"), DeleteOptions(propagation_policy="Background"))
        await world.until(lambda: not world.list(REPLICA_SETS) and not world.list(PODS))


async def test_a_foreground_deletion_ends_with_the_owner() -> None:
    async with cluster() as world:
        await world.api.create(DEPLOYMENTS, deployment())
        await world.until(lambda: len(world.list(PODS)) == 3)
        await world.api.delete(DEPLOYMENTS, Key("default", "web"), DeleteOptions(propagation_policy="Foreground"))
        assert world.get(DEPLOYMENTS, "web") is not None
        await world.until(lambda: world.get(DEPLOYMENTS, "web") is None)
        assert not world.list(REPLICA_SETS) and not world.list(PODS)


async def test_orphans_go_on_without_their_owner() -> None:
    async with cluster() as world:
        await world.api.create(DEPLOYMENTS, deployment())
        await world.until(lambda: len(world.list(PODS)) == 3)
        await world.api.delete(DEPLOYMENTS, Key("default", "web"), DeleteOptions(propagation_policy="Orphan"))
        await world.until(lambda: world.get(DEPLOYMENTS, "web") is None)
        await world.settle()
        (rs,) = world.list(REPLICA_SETS)
        assert not rs["metadata"].get("ownerReferences")
        assert len(world.list(PODS)) == 3


async def test_a_service_leads_to_its_ready_pods() -> None:
    async with cluster() as world:
        await world.api.create(SERVICES, service())
        await world.api.create(DEPLOYMENTS, deployment(replicas=1))
        (pod,) = await world.until(lambda: world.list(PODS))
        await world.start_pod(pod, "10.244.0.7")

        def served() -> list[str]:
            return [
                address
                for slice_ in world.list(ENDPOINT_SLICES)
                for endpoint in slice_.get("endpoints") or ()
                if endpoint["conditions"]["ready"] and slice_["metadata"]["labels"].get(SERVICE_LABEL) == "web"
                for address in endpoint["addresses"]
            ]

        await world.until(lambda: served() == ["10.244.0.7"])
        await world.until(lambda: field_of(world.get(ENDPOINTS, "web") or {}, "subsets"))
        await world.settle()
        mine = [s for s in world.list(ENDPOINT_SLICES) if s["metadata"]["labels"].get(SERVICE_LABEL) == "web"]
        assert len(mine) == 1


async def test_a_deleted_namespace_empties_itself_and_goes() -> None:
    async with cluster() as world:
        await world.api.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})
        await world.until(lambda: world.get(SERVICE_ACCOUNTS, "default", "team"))
        await world.until(lambda: world.get(CONFIG_MAPS, "kube-root-ca.crt", "team"))
        wanted = deployment()
        wanted["metadata"]["namespace"] = "team"
        await world.api.create(DEPLOYMENTS, wanted)
        await world.until(lambda: len(world.list(PODS, "team")) == 3)
        await world.api.delete(NAMESPACES, Key("", "team"))
        await world.until(lambda: world.get(NAMESPACES, "team", "") is None)
        assert not world.list(PODS, "team") and not world.list(CONFIG_MAPS, "team")


async def test_pods_leave_a_silent_node_while_another_lives() -> None:
    async with cluster() as world:
        await world.add_node("n1")
        await world.api.create(DEPLOYMENTS, deployment(replicas=1))
        (pod,) = await world.until(
            lambda: [pod for pod in world.list(PODS) if field_of(pod, "spec", "nodeName") == "n1"]
        )
        await world.start_pod(pod)
        await world.add_node("n2")
        for _ in range(400):
            await beat(world, "n2")
            await world.settle(5)
            if is_deleting(world.get(PODS, name_of(pod)) or pod):
                break
        else:
            raise AssertionError("the pod stays on the silent node")
        node = world.get(NODES, "n1", "")
        assert node is not None
        taints = {(taint["key"], taint["effect"]) for taint in node["spec"]["taints"]}
        assert ("node.kubernetes.io/unreachable", "NoExecute") in taints
        await world.until(
            lambda: [pod for pod in world.list(PODS) if field_of(pod, "spec", "nodeName") == "n2"], step_s=0.5
        )


async def beat(world: Cluster, node: str) -> None:
    heartbeat = Heartbeat(world.api, world.clock, key=Key("kube-node-lease", node))
    await heartbeat.beat()


async def test_what_happened_is_told_as_events_of_each_component() -> None:
    async with cluster() as world:
        await world.add_node("n1")
        await world.api.create(DEPLOYMENTS, deployment(replicas=1))

        def told() -> set[tuple[str, str]]:
            return {(event["reason"], event["source"]["component"]) for event in world.list(EVENTS)}

        wanted = {("ScalingReplicaSet", "deployment-controller"), ("SuccessfulCreate", "replicaset-controller")}
        await world.until(lambda: wanted <= told())


async def test_pods_of_a_node_that_was_removed_are_forced_out() -> None:
    async with cluster() as world:
        await world.add_node("n1")
        await world.api.create(DEPLOYMENTS, deployment(replicas=1))
        (pod,) = await world.until(
            lambda: [pod for pod in world.list(PODS) if field_of(pod, "spec", "nodeName") == "n1"]
        )
        await world.api.delete(NODES, Key("", "n1"))
        for _ in range(40):
            await world.settle(5)
            if world.get(PODS, name_of(pod)) is None:
                break
        else:
            raise AssertionError("the pod outlives its node")
        (again,) = world.list(PODS)
        assert not field_of(again, "spec", "nodeName")


def config_map(name: str, *owners: dict[str, Any], namespace: str = "default") -> dict[str, Any]:
    metadata = {"namespace": namespace, "name": name, "ownerReferences": list(owners)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def owner(name: str, uid: str, kind: str = "ConfigMap", api_version: str = "v1") -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "name": name, "uid": uid}


async def test_only_what_certainly_lost_its_owners_is_collected() -> None:
    async with cluster() as world:
        lives = await world.api.create(CONFIG_MAPS, config_map("lives"))
        foreign = await world.api.create(CONFIG_MAPS, config_map("foreign", namespace="kube-system"))
        for name, owners in {
            "lost": [owner("gone", "uid-gone")],
            "replaced": [owner("lives", "uid-of-an-earlier-one")],
            "kept": [owner("lives", uid_of(lives))],
            "shared": [owner("lives", uid_of(lives)), owner("gone", "uid-gone")],
            "unserved": [owner("x", "uid-x", "Widget", "example.com/v1")],
            "elsewhere": [owner("foreign", uid_of(foreign))],
        }.items():
            await world.api.create(CONFIG_MAPS, config_map(name, *owners))
        await world.until(lambda: not {"lost", "replaced"} & set(map(name_of, world.list(CONFIG_MAPS))))
        await world.settle()
        left = {name_of(obj): obj for obj in world.list(CONFIG_MAPS)}
        assert {"kept", "shared", "unserved", "elsewhere"} <= left.keys()
        assert [ref["name"] for ref in left["shared"]["metadata"]["ownerReferences"]] == ["lives"]
        reasons = {event["reason"] for event in world.list(EVENTS)}
        assert "OwnerRefInvalidNamespace" in reasons
