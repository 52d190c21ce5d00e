"""StatefulSets, DaemonSets and ReplicationControllers: the loops against the real API server in process."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.client.transport import DeleteOptions, Patch, PatchType
from cluster.machinery.objects import Key, Obj, field_of, is_deleting, key_of, labels_of, name_of, uid_of, with_field
from cluster.machinery.resource import Resource
from cluster.resources.builtin import (
    CONTROLLER_REVISIONS,
    DAEMON_SETS,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
)
from tests.unit.controllers.cluster import Cluster, cluster


def workload(kind: str, image: str = "db:1", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1" if kind == "ReplicationController" else "apps/v1",
        "kind": kind,
        "metadata": {"namespace": "default", "name": "db"},
        "spec": {
            "selector": {"app": "db"} if kind == "ReplicationController" else {"matchLabels": {"app": "db"}},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [{"name": "c", "image": image}]},
            },
            **spec,
        },
    }


class Kubelet:
    """Starts every bound pod and ends every deleted one; keeps the order in which pods began and ended."""

    def __init__(self, world: Cluster) -> None:
        self.world = world
        self.story: list[str] = []
        self._started: set[str] = set()

    async def until(self, condition: Any, *, turns: int = 200) -> None:
        for _ in range(turns):
            for pod in self.world.list(PODS):
                if is_deleting(pod):
                    self.story.append(f"-{name_of(pod)}")
                    await self.world.api.delete(PODS, key_of(pod), DeleteOptions(grace_period_s=0))
                elif uid_of(pod) not in self._started and field_of(pod, "spec", "nodeName"):
                    self._started.add(uid_of(pod))
                    self.story.append(f"+{name_of(pod)}")
                    await self.world.start_pod(pod, f"10.244.0.{len(self._started) + 1}")
            if condition():
                return
            await self.world.settle(0.5)
        raise AssertionError(f"it never holds; {self.story}")


def status(world: Cluster, resource: Resource) -> Obj:
    found: Obj = field_of(world.get(resource, "db") or {}, "status", default={})
    return found


async def set_image(world: Cluster, resource: Resource, image: str) -> None:
    body = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}}
    await world.api.patch(resource, Key("default", "db"), Patch(PatchType.STRATEGIC, body))


def images(world: Cluster) -> dict[str, str]:
    return {name_of(pod): pod["spec"]["containers"][0]["image"] for pod in world.list(PODS)}


@pytest.mark.parametrize("informer", [False, True], ids=["own state", "informer"])
async def test_stateful_pods_come_in_order_roll_down_and_go_back(informer: bool) -> None:
    async with cluster(informer=informer) as world:
        kubelet = Kubelet(world)
        await world.add_node("n1")
        await world.api.create(STATEFUL_SETS, workload("StatefulSet", replicas=3, serviceName="db"))
        await kubelet.until(lambda: status(world, STATEFUL_SETS).get("availableReplicas") == 3)
        assert kubelet.story == ["+db-0", "+db-1", "+db-2"]
        (pod, *_) = world.list(PODS)
        assert labels_of(pod)["statefulset.kubernetes.io/pod-name"] == "db-0"
        assert labels_of(pod)["apps.kubernetes.io/pod-index"] == "0"
        assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("db-0", "db")
        first = status(world, STATEFUL_SETS)
        assert labels_of(pod)["controller-revision-hash"] == first["currentRevision"] == first["updateRevision"]

        kubelet.story.clear()
        await set_image(world, STATEFUL_SETS, "db:2")
        await kubelet.until(
            lambda: (
                status(world, STATEFUL_SETS).get("currentRevision") not in ("", first["currentRevision"])
                and status(world, STATEFUL_SETS).get("observedGeneration") == 2
            )
        )
        assert kubelet.story == ["-db-2", "+db-2", "-db-1", "+db-1", "-db-0", "+db-0"]
        assert set(images(world).values()) == {"db:2"}

        revisions = {revision["revision"]: revision for revision in world.list(CONTROLLER_REVISIONS)}
        assert sorted(revisions) == [1, 2]
        # What kubectl rollout undo sends.
        await world.api.patch(STATEFUL_SETS, Key("default", "db"), Patch(PatchType.STRATEGIC, revisions[1]["data"]))
        await kubelet.until(lambda: set(images(world).values()) == {"db:1"} and len(images(world)) == 3)
        await kubelet.until(lambda: status(world, STATEFUL_SETS).get("currentRevision") == first["currentRevision"])
        assert sorted(revision["revision"] for revision in world.list(CONTROLLER_REVISIONS)) == [2, 3]

        kubelet.story.clear()
        await world.api.patch(STATEFUL_SETS, Key("default", "db"), Patch(PatchType.MERGE, {"spec": {"replicas": 1}}))
        await kubelet.until(lambda: status(world, STATEFUL_SETS).get("replicas") == 1)
        assert kubelet.story == ["-db-2", "-db-1"]


async def test_pods_below_the_partition_stay() -> None:
    async with cluster() as world:
        kubelet = Kubelet(world)
        await world.add_node("n1")
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
        wanted = workload("StatefulSet", replicas=3, serviceName="db", updateStrategy=strategy)
        await world.api.create(STATEFUL_SETS, wanted)
        await kubelet.until(lambda: status(world, STATEFUL_SETS).get("availableReplicas") == 3)
        await set_image(world, STATEFUL_SETS, "db:2")
        await kubelet.until(lambda: status(world, STATEFUL_SETS).get("updatedReplicas") == 1)
        await world.api.delete(PODS, Key("default", "db-0"))
        await kubelet.until(lambda: status(world, STATEFUL_SETS).get("availableReplicas") == 3)
        await world.settle()
        assert images(world) == {"db-0": "db:1", "db-1": "db:1", "db-2": "db:2"}
        assert status(world, STATEFUL_SETS)["currentReplicas"] == 2


async def test_claims_come_with_their_pods_and_go_as_the_policy_says() -> None:
    async with cluster() as world:
        kubelet = Kubelet(world)
        await world.add_node("n1")
        claim = {
            "metadata": {"name": "data", "labels": {"tier": "data"}},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }
        wanted = workload(
            "StatefulSet",
            replicas=2,
            serviceName="db",
            podManagementPolicy="Parallel",
            ordinals={"start": 5},
            volumeClaimTemplates=[claim],
            persistentVolumeClaimRetentionPolicy={"whenScaled": "Delete", "whenDeleted": "Retain"},
        )
        await world.api.create(STATEFUL_SETS, wanted)
        await kubelet.until(lambda: len(world.list(PODS)) == 2)
        claims = world.list(PERSISTENT_VOLUME_CLAIMS)
        assert list(map(name_of, claims)) == ["data-db-5", "data-db-6"]
        assert labels_of(claims[0]) == {"tier": "data", "app": "db"}
        (volume, *_) = world.list(PODS)[0]["spec"]["volumes"]
        assert volume == {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-5"}}
        await world.api.patch(STATEFUL_SETS, Key("default", "db"), Patch(PatchType.MERGE, {"spec": {"replicas": 1}}))
        await kubelet.until(lambda: list(map(name_of, world.list(PERSISTENT_VOLUME_CLAIMS))) == ["data-db-5"])
        assert list(map(name_of, world.list(PODS))) == ["db-5"]


@pytest.mark.parametrize("informer", [False, True], ids=["own state", "informer"])
async def test_a_daemon_runs_on_every_node_that_fits_and_rolls_node_by_node(informer: bool) -> None:
    async with cluster(informer=informer) as world:
        kubelet = Kubelet(world)
        for node in ("n1", "n2", "n3"):
            await world.add_node(node)
        taints = {"spec": {"taints": [{"key": "only", "value": "x", "effect": "NoSchedule"}]}}
        await world.api.patch(NODES, Key("", "n3"), Patch(PatchType.MERGE, taints))
        await world.api.create(DAEMON_SETS, workload("DaemonSet"))
        await kubelet.until(lambda: status(world, DAEMON_SETS).get("numberAvailable") == 2)
        assert sorted(pod["spec"]["nodeName"] for pod in world.list(PODS)) == ["n1", "n2"]
        assert status(world, DAEMON_SETS)["desiredNumberScheduled"] == 2
        await world.api.patch(NODES, Key("", "n3"), Patch(PatchType.MERGE, {"spec": {"taints": None}}))
        await kubelet.until(lambda: status(world, DAEMON_SETS).get("numberAvailable") == 3)

        kubelet.story.clear()
        await set_image(world, DAEMON_SETS, "db:2")
        await kubelet.until(
            lambda: (
                status(world, DAEMON_SETS).get("updatedNumberScheduled") == 3
                and status(world, DAEMON_SETS).get("numberAvailable") == 3
                and status(world, DAEMON_SETS).get("observedGeneration") == 2
            )
        )
        assert [each[0] for each in kubelet.story] == ["-", "+", "-", "+", "-", "+"]
        assert sorted(revision["revision"] for revision in world.list(CONTROLLER_REVISIONS)) == [1, 2]
        await world.api.delete(DAEMON_SETS, Key("default", "db"), DeleteOptions(propagation_policy="Background"))
        await kubelet.until(lambda: not world.list(PODS) and not world.list(CONTROLLER_REVISIONS))


async def test_a_surging_daemon_has_its_new_pod_before_the_old_one_goes() -> None:
    async with cluster() as world:
        kubelet = Kubelet(world)
        await world.add_node("n1")
        await world.add_node("n2")
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
        await world.api.create(DAEMON_SETS, workload("DaemonSet", updateStrategy=strategy))
        await kubelet.until(lambda: status(world, DAEMON_SETS).get("numberAvailable") == 2)
        kubelet.story.clear()
        await set_image(world, DAEMON_SETS, "db:2")
        await kubelet.until(lambda: set(images(world).values()) == {"db:2"} and len(world.list(PODS)) == 2)
        begun = [each[0] for each in kubelet.story]
        assert (begun[0], begun[-1], len(begun)) == ("+", "-", 4)


async def test_a_failed_daemon_is_replaced_later_each_time() -> None:
    async with cluster() as world:
        await world.add_node("n1")
        await world.api.create(DAEMON_SETS, workload("DaemonSet"))
        waited: list[float] = []
        for _ in range(4):
            (pod,) = await world.until(lambda: world.list(PODS))
            body = {"status": {"phase": "Failed"}}
            await world.api.patch(PODS, key_of(pod), Patch(PatchType.STRATEGIC, body), subresource="status")
            failed_at = world.clock.time
            failed = name_of(pod)
            await world.until(
                lambda failed=failed: any(is_deleting(each) or name_of(each) != failed for each in world.list(PODS))
            )
            waited.append(world.clock.time - failed_at)
            if world.get(PODS, name_of(pod)) is not None:
                await world.api.delete(PODS, key_of(pod), DeleteOptions(grace_period_s=0))
            await world.until(lambda pod=pod: name_of(pod) not in map(name_of, world.list(PODS)) and world.list(PODS))
        assert waited[0] < 0.5
        assert 0.5 < waited[1] < waited[2] < waited[3]


async def test_a_replication_controller_keeps_and_adopts_its_pods() -> None:
    async with cluster() as world:
        await world.add_node("n1")
        loose = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": "default", "name": "loose", "labels": {"app": "db"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        }
        await world.api.create(PODS, loose)
        await world.api.create(REPLICATION_CONTROLLERS, workload("ReplicationController", replicas=3))
        await world.until(lambda: status(world, REPLICATION_CONTROLLERS).get("replicas") == 3)
        owners = [pod["metadata"]["ownerReferences"][0]["kind"] for pod in world.list(PODS)]
        assert owners == ["ReplicationController"] * 3
        found = world.get(REPLICATION_CONTROLLERS, "db")
        assert found is not None
        await world.api.update(REPLICATION_CONTROLLERS, with_field(found, ["spec", "replicas"], 1))
        await Kubelet(world).until(lambda: len(world.list(PODS)) == 1)
