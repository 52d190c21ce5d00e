"""Claims, volumes and the scheduler together, against the real API server in process."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.client.transport import DeleteOptions, Patch, PatchType
from cluster.machinery.objects import Key, Obj, field_of, key_of
from cluster.resources.builtin import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS
from tests.unit.controllers.cluster import Cluster, cluster


def claim(name: str = "data") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"namespace": "default", "name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }


def pod(name: str, claim_name: str = "data") -> dict[str, Any]:
    container = {"name": "c", "image": "db:1", "volumeMounts": [{"name": "v", "mountPath": "/data"}]}
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": claim_name}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": "default", "name": name},
        "spec": {"containers": [container], "volumes": [volume]},
    }


def placed(world: Cluster, name: str) -> str:
    return str(field_of(world.get(PODS, name) or {}, "spec", "nodeName", default=""))


def bound(world: Cluster) -> Obj | None:
    found = world.get(PERSISTENT_VOLUME_CLAIMS, "data")
    return found if found is not None and field_of(found, "status", "phase") == "Bound" else None


@pytest.mark.parametrize("informer", [False, True], ids=["own state", "informer"])
async def test_a_claim_is_bound_where_its_first_pod_goes_and_later_pods_follow(informer: bool) -> None:
    async with cluster(informer=informer) as world:
        await world.add_node("n1")
        await world.add_node("n2")
        await world.api.create(PERSISTENT_VOLUME_CLAIMS, claim())
        await world.settle(1)
        assert not world.list(PERSISTENT_VOLUMES, "")
        await world.api.create(PODS, pod("first"))
        where = await world.until(lambda: placed(world, "first"))
        assert bound(world)
        for number in range(3):
            await world.api.create(PODS, pod(f"later-{number}"))
        assert {await world.until(lambda n=n: placed(world, f"later-{n}")) for n in range(3)} == {where}  # type: ignore[misc]


async def test_a_claim_grows_and_its_volume_goes_with_it() -> None:
    async with cluster() as world:
        await world.add_node("n1")
        await world.api.create(PERSISTENT_VOLUME_CLAIMS, claim())
        await world.api.create(PODS, pod("first"))
        found = await world.until(lambda: bound(world))
        body = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
        await world.api.patch(PERSISTENT_VOLUME_CLAIMS, key_of(found), Patch(PatchType.MERGE, body))
        await world.until(lambda: field_of(bound(world) or {}, "status", "capacity", "storage") == "2Gi")
        (volume,) = world.list(PERSISTENT_VOLUMES, "")
        assert volume["status"]["phase"] == "Bound"
        await world.api.delete(PODS, Key("default", "first"), DeleteOptions(grace_period_s=0))
        await world.api.delete(PERSISTENT_VOLUME_CLAIMS, key_of(found))
        await world.settle(2)
        assert not world.list(PERSISTENT_VOLUME_CLAIMS)
        assert not world.list(PERSISTENT_VOLUMES, "")


async def test_a_pod_waits_for_a_claim_that_does_not_exist_and_is_told_so() -> None:
    async with cluster() as world:
        await world.add_node("n1")
        await world.settle(1)
        await world.api.create(PODS, pod("first"))
        conditions = await world.until(lambda: field_of(world.get(PODS, "first") or {}, "status", "conditions"))
        expected = '0/1 nodes are available: persistentvolumeclaim "data" not found.'
        assert [condition["message"] for condition in conditions if condition["type"] == "PodScheduled"] == [expected]
        await world.api.create(PERSISTENT_VOLUME_CLAIMS, claim())
        assert await world.until(lambda: placed(world, "first")) == "n1"
