"""Jobs against the real API server in process."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.client.transport import DeleteOptions, Patch, PatchType
from cluster.machinery.conditions import is_condition_true
from cluster.machinery.objects import Key, Obj, field_of, key_of, name_of
from cluster.resources.builtin import JOBS, PODS
from tests.unit.controllers.cluster import Cluster, cluster


def job(**spec: Any) -> dict[str, Any]:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"namespace": "default", "name": "work"},
        "spec": {"template": template, **spec},
    }


async def end_pod(world: Cluster, pod: Obj, phase: str = "Succeeded") -> None:
    code = 0 if phase == "Succeeded" else 1
    ended = {"exitCode": code, "finishedAt": "2026-01-01T00:00:00Z", "startedAt": "2026-01-01T00:00:00Z"}
    statuses = [
        {"name": "c", "state": {"terminated": ended}, "restartCount": 0, "image": "i", "imageID": "i", "ready": False}
    ]
    body = {"status": {"phase": phase, "containerStatuses": statuses}}
    await world.api.patch(PODS, key_of(pod), Patch(PatchType.STRATEGIC, body), subresource="status")


def bound(world: Cluster) -> list[Obj]:
    return [
        pod
        for pod in world.list(PODS)
        if field_of(pod, "spec", "nodeName") and field_of(pod, "status", "phase") == "Pending"
    ]


def is_true(world: Cluster, condition: str) -> bool:
    found = world.get(JOBS, "work")
    return found is not None and is_condition_true(found, condition)


@pytest.mark.parametrize("informer", [False, True], ids=["own state", "informer"])
async def test_a_job_runs_its_pods_and_is_complete(informer: bool) -> None:
    async with cluster(informer=informer) as world:
        await world.add_node("n1")
        await world.api.create(JOBS, job(completions=3, parallelism=2))
        for _ in range(3):
            pods = await world.until(lambda: bound(world))
            await end_pod(world, pods[0])
        await world.until(lambda: is_true(world, "Complete"))
        status = (world.get(JOBS, "work") or {})["status"]
        assert (status["succeeded"], status["ready"], status["uncountedTerminatedPods"]) == (3, 0, {})
        pods = world.list(PODS)
        assert len(pods) == 3
        assert not any("finalizers" in pod["metadata"] for pod in pods)


async def test_a_job_that_fails_too_often_says_so() -> None:
    async with cluster() as world:
        await world.add_node("n1")
        await world.api.create(JOBS, job(backoffLimit=0))
        await end_pod(world, (await world.until(lambda: bound(world)))[0], "Failed")
        await world.until(lambda: is_true(world, "Failed"))
        assert (world.get(JOBS, "work") or {})["status"]["failed"] == 1


async def test_pods_of_a_deleted_job_go_with_it_and_orphans_are_let_go() -> None:
    async with cluster() as world:
        for policy in ("Background", "Foreground", "Orphan"):
            await world.api.create(JOBS, job(parallelism=2, completions=2))
            await world.until(lambda: len(world.list(PODS)) == 2)
            await world.api.delete(JOBS, Key("default", "work"), DeleteOptions(propagation_policy=policy))
            await world.until(lambda: world.get(JOBS, "work") is None)
            if policy != "Orphan":
                await world.until(lambda: not world.list(PODS))
        await world.until(lambda: not any("finalizers" in pod["metadata"] for pod in world.list(PODS)))
        assert len(world.list(PODS)) == 2


async def test_a_pod_that_is_deleted_counts_as_failed_and_is_replaced() -> None:
    async with cluster() as world:
        await world.api.create(JOBS, job())
        pod = (await world.until(lambda: world.list(PODS)))[0]
        await world.api.delete(PODS, key_of(pod))
        await world.until(lambda: field_of(world.get(JOBS, "work") or {}, "status", "failed") == 1)
        assert [name_of(other) == name_of(pod) for other in world.list(PODS)] == [False]
