"""Deployments, ReplicaSets, StatefulSets and DaemonSets under one fault at every place; see `exhaustive`."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.controllers.daemonset import DaemonSetController
from cluster.controllers.deployment import DeploymentController
from cluster.controllers.replicaset import ReplicaSetController
from cluster.controllers.statefulset import StatefulSetController
from cluster.machinery.objects import Key, Obj, field_of
from cluster.machinery.resource import Resource
from cluster.resources.builtin import (
    CONTROLLER_REVISIONS,
    DAEMON_SETS,
    DEPLOYMENTS,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    REPLICA_SETS,
    STATEFUL_SETS,
)
from tests.sim.exhaustive import Bench, Fault, Workload, check, everyday_stride, play

STRIDE = everyday_stride(16)


def workload(kind: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"namespace": "default", "name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "web:1"}]},
            },
            **spec,
        },
    }


def image(tag: int) -> Obj:
    return {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": f"web:{tag}"}]}}}}


def has(bench: Bench, resource: Resource, **counts: int) -> bool:
    """The status is of the newest generation and has these counts."""
    found = bench.get(resource, "web")
    observed = field_of(found, "status", "observedGeneration", default=0)
    return observed == field_of(found, "metadata", "generation") and all(
        field_of(found, "status", name, default=0) == count for name, count in counts.items()
    )


async def deployment(bench: Bench) -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    await bench.create(DEPLOYMENTS, workload("Deployment", replicas=2, strategy=rolling))
    await bench.until(lambda: has(bench, DEPLOYMENTS, availableReplicas=2))
    await bench.merge(DEPLOYMENTS, "web", image(2))
    await bench.until(lambda: has(bench, DEPLOYMENTS, replicas=2, updatedReplicas=2, availableReplicas=2))
    await bench.merge(DEPLOYMENTS, "web", {"spec": {"replicas": 1}})
    await bench.until(lambda: has(bench, DEPLOYMENTS, replicas=1, availableReplicas=1))


async def replica_set(bench: Bench) -> None:
    await bench.create(REPLICA_SETS, workload("ReplicaSet", replicas=3))
    await bench.until(lambda: has(bench, REPLICA_SETS, availableReplicas=3))
    await bench.merge(REPLICA_SETS, "web", {"spec": {"replicas": 1}})
    await bench.until(lambda: has(bench, REPLICA_SETS, replicas=1, availableReplicas=1))


async def stateful_set(bench: Bench) -> None:
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    wanted = workload("StatefulSet", replicas=2, serviceName="web", volumeClaimTemplates=[claim])
    await bench.create(STATEFUL_SETS, wanted)
    await bench.until(lambda: has(bench, STATEFUL_SETS, availableReplicas=2))
    await bench.merge(STATEFUL_SETS, "web", image(2))
    await bench.until(lambda: has(bench, STATEFUL_SETS, updatedReplicas=2, currentReplicas=2, availableReplicas=2))
    await bench.merge(STATEFUL_SETS, "web", {"spec": {"replicas": 1}})
    await bench.until(lambda: has(bench, STATEFUL_SETS, replicas=1, availableReplicas=1))


async def daemon_set(bench: Bench) -> None:
    await bench.create(DAEMON_SETS, workload("DaemonSet"))
    await bench.until(lambda: has(bench, DAEMON_SETS, numberAvailable=2))
    await bench.merge(DAEMON_SETS, "web", image(2))
    await bench.until(lambda: has(bench, DAEMON_SETS, updatedNumberScheduled=2, numberAvailable=2))


WORKLOADS = (
    Workload("deployment", (DeploymentController, ReplicaSetController), (DEPLOYMENTS, REPLICA_SETS, PODS), deployment),
    Workload("replicaset", (ReplicaSetController,), (REPLICA_SETS, PODS), replica_set),
    Workload(
        "statefulset",
        (StatefulSetController,),
        (STATEFUL_SETS, PODS, CONTROLLER_REVISIONS, PERSISTENT_VOLUME_CLAIMS),
        stateful_set,
    ),
    Workload("daemonset", (DaemonSetController,), (DAEMON_SETS, PODS, CONTROLLER_REVISIONS, NODES), daemon_set),
)


class Forgetful(ReplicaSetController):
    """Reconciles on whatever it reads, without waiting to see what it wrote."""

    def _cache_shows_writes(self, key: Key) -> bool:
        return True


@pytest.mark.parametrize("workload", WORKLOADS, ids=[workload.name for workload in WORKLOADS])
def test_one_fault_anywhere_changes_nothing(workload: Workload) -> None:
    assert check(workload, stride=STRIDE) > len(workload.kinds)


def test_a_controller_that_trusts_stale_reads_is_found_out() -> None:
    forgetful = Workload("forgetful", (Forgetful,), (REPLICA_SETS, PODS), replica_set)
    expected, _ = play(WORKLOADS[1])
    found, _ = play(forgetful, Fault(stale="pods"))
    assert found.made != expected.made
