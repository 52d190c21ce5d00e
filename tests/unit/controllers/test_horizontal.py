"""Autoscalers: what metrics ask for, how fast it is followed, and the loop over metrics of nodes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.apiserver.node_channels import ConnectedNodes
from cluster.client.node_stats import ContainerUse, NodeStats, Use
from cluster.client.transport import Patch, PatchType
from cluster.controllers.horizontal_behavior import Decision, History, decide_replicas
from cluster.controllers.horizontal_replicas import (
    Measure,
    NoMetrics,
    replicas_for_average,
    replicas_for_share,
    replicas_for_utilization,
    replicas_for_value,
)
from cluster.machinery.conditions import is_condition_true
from cluster.machinery.objects import Obj, field_of, key_of, name_of, uid_of
from cluster.machinery.timestamps import format_time
from cluster.resources.builtin import DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS, PODS
from tests.unit.controllers.cluster import Cluster, cluster
from tests.unit.controllers.objects import deployment, pod

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def running(name: str, *, request: str = "1", phase: str = "Running", ready: bool = True) -> dict[str, Any]:
    made = pod(name, phase=phase, ready=ready)
    made["spec"]["containers"][0]["resources"] = {"requests": {"cpu": request}}
    made["status"]["startTime"] = "2026-01-01T00:00:00Z"
    return made


def measured(**milli: int) -> dict[str, Measure]:
    return {name: Measure(value, NOW) for name, value in milli.items()}


def utilization(target: int, pods: list[Obj], measures: dict[str, Measure]) -> tuple[int, int | None]:
    proposal = replicas_for_utilization("cpu", target, len(pods), pods, measures, now=NOW)
    return proposal.replicas, proposal.utilization


def test_use_above_the_target_asks_for_more_in_proportion() -> None:
    pods = [running("a"), running("b"), running("c")]
    assert utilization(30, pods, measured(a=300, b=500, c=700)) == (5, 50)
    assert utilization(100, pods, measured(a=300, b=300, c=300)) == (1, 30)


def test_a_ratio_near_one_changes_nothing() -> None:
    pods = [running("a"), running("b")]
    assert utilization(50, pods, measured(a=520, b=540)) == (2, 53)


def test_pods_without_metrics_damp_the_change() -> None:
    pods = [running("a"), running("b"), running("c"), running("d")]
    # Growing: the fourth counts as idle; shrinking: as using all that it requests.
    assert utilization(30, pods, measured(a=600, b=600, c=600))[0] == 6
    assert utilization(50, pods, measured(a=100, b=100, c=100))[0] == 3
    assert utilization(50, pods, measured(a=0, b=0, c=0))[0] == 2


def test_pods_that_are_starting_do_not_make_it_grow_further() -> None:
    pods = [running("a"), running("b", phase="Pending"), running("c", phase="Pending")]
    assert utilization(50, pods, measured(a=1000))[0] == 3
    young = running("b", ready=False)
    young["status"]["startTime"] = "2026-01-02T03:04:00Z"
    assert utilization(50, [running("a"), young], measured(a=1000, b=1000))[0] == 2


def test_pods_that_go_or_failed_are_left_out() -> None:
    pods = [running("a"), running("b", phase="Failed"), pod("c", deleting=True, resources={})]
    pods[2]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1"}}
    assert utilization(50, pods, measured(a=1000, c=1000))[0] == 2


@pytest.mark.parametrize(
    ("pods", "measures", "why"),
    [
        ([running("a")], {}, "no metrics known"),
        ([], measured(a=1), "no pods returned"),
        ([running("a", phase="Pending")], measured(a=1), "did not receive metrics"),
        ([pod("a")], measured(a=1), "missing request for cpu in container c of Pod a"),
    ],
)
def test_what_cannot_be_reckoned_says_why(pods: list[Obj], measures: dict[str, Measure], why: str) -> None:
    with pytest.raises(NoMetrics, match=why):
        utilization(50, pods, measures)


def test_averages_values_and_shares() -> None:
    pods = [running("a"), running("b")]
    assert replicas_for_average(1000, 2, pods, measured(a=3000, b=1000), now=NOW).replicas == 4
    assert replicas_for_value(3000, 1000, 2, pods).replicas == 6
    assert replicas_for_value(1050, 1000, 2, pods).replicas == 2
    assert replicas_for_share(5000, 1000, 2).replicas == 5
    assert replicas_for_share(2100, 1000, 2).replicas == 2


SPEC: dict[str, Any] = {"minReplicas": 1, "maxReplicas": 10}


def decide(
    current: int, proposed: int, history: History | None = None, *, at: float = 1000.0, **behavior: Any
) -> Decision:
    spec = {**SPEC, "behavior": behavior} if behavior else SPEC
    past = (history or History()).recommended(proposed, at)
    return decide_replicas(spec, current, proposed, past, at)


def test_without_rules_it_doubles_or_adds_four_and_shrinks_after_five_minutes() -> None:
    assert decide(1, 9) == Decision(5, limited="ScaleUpLimit")
    assert decide(4, 9) == Decision(8, limited="ScaleUpLimit")
    assert decide(8, 30) == Decision(10, limited="TooManyReplicas")
    assert decide(6, 0, History().recommended(6, 0.0)) == Decision(1, limited="TooFewReplicas")
    recent = History().recommended(5, 900.0)
    assert decide(6, 2, recent) == Decision(5, stabilized="ScaleDownStabilized")
    assert decide(6, 2, recent, at=1300.0) == Decision(2)


def test_a_window_for_growing_waits_for_agreement() -> None:
    up = {"stabilizationWindowSeconds": 60, "policies": [{"type": "Percent", "value": 900, "periodSeconds": 15}]}
    assert decide(2, 6, History().recommended(3, 950.0), scaleUp=up) == Decision(3, stabilized="ScaleUpStabilized")
    assert decide(2, 6, History().recommended(3, 900.0), scaleUp=up) == Decision(6)


def test_policies_count_what_changed_within_their_period() -> None:
    up = {"policies": [{"type": "Pods", "value": 3, "periodSeconds": 60}]}
    assert decide(5, 10, scaleUp=up).replicas == 8
    assert decide(5, 10, History().changed(2, 970.0), scaleUp=up).replicas == 6
    assert decide(5, 10, History().changed(2, 900.0), scaleUp=up).replicas == 8
    down = {"stabilizationWindowSeconds": 0, "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}]}
    assert decide(8, 1, scaleDown=down) == Decision(4, limited="ScaleDownLimit")
    assert decide(6, 1, History().changed(-2, 990.0), scaleDown=down).replicas == 4
    two = [{"type": "Pods", "value": 1, "periodSeconds": 60}, {"type": "Percent", "value": 50, "periodSeconds": 60}]
    assert decide(8, 1, scaleDown={**down, "policies": two, "selectPolicy": "Min"}).replicas == 7
    assert decide(8, 1, scaleDown={**down, "selectPolicy": "Disabled"}).replicas == 8


@given(st.integers(1, 10), st.integers(0, 100), st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 30))))
def test_the_bounds_hold_whatever_was_recommended(current: int, proposed: int, past: list[tuple[int, int]]) -> None:
    history = History()
    for at, replicas in sorted(past):
        history = history.recommended(replicas, at)
    decided = decide(current, proposed, history).replicas
    assert 1 <= decided <= 10
    assert decided >= current or decided >= min(proposed, current)


class Node:
    """A node's channel, of which only statistics are asked."""

    def __init__(self, world: Cluster) -> None:
        self._world = world
        self.cpu_nanocores = 0

    async def stats(self) -> NodeStats:
        pods = self._world.list(PODS)
        uses = [ContainerUse("default", name_of(one), uid_of(one), "c", Use(self.cpu_nanocores, 2**24)) for one in pods]
        return NodeStats(format_time(self._world.clock.now()), 15_000, Use(10**9, 2**30), tuple(uses))


async def test_a_deployment_grows_under_load_and_shrinks_after_it() -> None:
    channels = ConnectedNodes()
    async with cluster(channels=channels) as world:
        await world.add_node("n1", cpu="64")
        node: Any = Node(world)
        channels.connect("n1", node)
        wanted = deployment(replicas=1)
        wanted["metadata"] = {"namespace": "default", "name": "web"}
        wanted["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "100m"}}
        await world.api.create(DEPLOYMENTS, wanted)
        started: set[str] = set()

        async def replicas(count: int) -> None:
            for _ in range(400):
                for one in world.list(PODS):
                    if field_of(one, "spec", "nodeName") and uid_of(one) not in started:
                        started.add(uid_of(one))
                        await world.start_pod(one, f"10.244.0.{len(started) + 1}")
                    since = Patch(PatchType.MERGE, {"status": {"startTime": "2026-01-01T00:00:00Z"}})
                    await world.api.patch(PODS, key_of(one), since, subresource="status")
                await world.settle(2)
                if field_of(world.get(DEPLOYMENTS, "web") or {}, "spec", "replicas") == count:
                    return
            pytest.fail(f"never {count} replicas")

        node.cpu_nanocores = 200_000_000
        await world.api.create(HORIZONTAL_POD_AUTOSCALERS, {
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"namespace": "default", "name": "web"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxReplicas": 3,
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
            },
        })  # fmt: skip
        await replicas(3)
        status = (world.get(HORIZONTAL_POD_AUTOSCALERS, "web") or {})["status"]
        assert field_of(status["currentMetrics"][0], "resource", "current", "averageUtilization") == 200
        assert is_condition_true({"status": status}, "ScalingActive")
        node.cpu_nanocores = 1_000_000
        await replicas(1)
