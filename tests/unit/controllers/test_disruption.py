"""Disruption budgets: what they allow, and evictions that spend it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.client.transport import Patch, PatchType
from cluster.controllers.disruption_plan import failed_status, plan_budget
from cluster.machinery.errors import ApiError, InternalError, TooManyRequests
from cluster.machinery.objects import Obj, field_of, key_of, name_of
from cluster.resources.builtin import DEPLOYMENTS, POD_DISRUPTION_BUDGETS, PODS
from tests.unit.controllers.cluster import Cluster, cluster
from tests.unit.controllers.objects import deployment, pod, replica_set

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OWNER = replica_set()


def budget(*, status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"namespace": "d", "name": "web", "generation": 2},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, **spec},
        "status": status or {},
    }


def owned(name: str, **more: Any) -> dict[str, Any]:
    return pod(name, owner=OWNER, **more)


@pytest.mark.parametrize(
    ("spec", "desired", "expected", "allowed"),
    [
        ({"minAvailable": 2}, 2, 3, 1),
        ({"minAvailable": "50%"}, 3, 5, 0),
        ({"maxUnavailable": 1}, 4, 5, 0),
        ({"maxUnavailable": "50%"}, 2, 5, 1),
        ({}, 0, 0, 0),
    ],
)
def test_what_is_allowed_is_what_is_healthy_beyond_what_is_wanted(
    spec: dict[str, Any], desired: int, expected: int, allowed: int
) -> None:
    plan = plan_budget(budget(**spec), [owned("a"), owned("b"), owned("c")], {"uid": 5}, now=NOW)
    status = plan.status
    assert (status["desiredHealthy"], status["expectedPods"], status["disruptionsAllowed"]) == (
        desired, expected, allowed,
    )  # fmt: skip
    assert status["currentHealthy"] == 3
    assert status["observedGeneration"] == 2
    assert status["conditions"][0]["reason"] == ("SufficientPods" if allowed else "InsufficientPods")


def test_pods_that_are_unready_leaving_or_let_go_are_not_healthy() -> None:
    pods = [owned("a", ready=False), owned("b", deleting=True), owned("c"), owned("e")]
    recent = {"disruptedPods": {"c": "2026-01-02T03:03:35Z", "x": "2026-01-02T03:03:35Z"}}
    plan = plan_budget(budget(minAvailable=0, status=recent), pods, {}, now=NOW)
    assert plan.status["currentHealthy"] == 1
    assert plan.status["disruptedPods"] == {"c": "2026-01-02T03:03:35Z"}
    assert plan.again_after_s == 90


def test_a_pod_that_was_let_go_and_stays_counts_again() -> None:
    old = {"disruptedPods": {"c": "2026-01-02T03:00:00Z"}}
    plan = plan_budget(budget(minAvailable=0, status=old), [owned("c")], {}, now=NOW)
    assert plan.status["currentHealthy"] == 1
    assert [note.reason for note in plan.notes] == ["NotDeleted"]


def test_pods_without_a_controller_are_warned_of_where_a_share_is_asked() -> None:
    assert [n.reason for n in plan_budget(budget(maxUnavailable=1), [pod("a")], {}, now=NOW).notes] == ["UnmanagedPods"]
    assert not plan_budget(budget(minAvailable=1), [pod("a")], {}, now=NOW).notes


def test_a_budget_that_cannot_be_reckoned_allows_nothing() -> None:
    status = failed_status(budget(status={"disruptionsAllowed": 3, "desiredHealthy": 1}), "no scale", now=NOW)
    assert status["disruptionsAllowed"] == 0
    assert (status["conditions"][0]["reason"], status["conditions"][0]["message"]) == ("SyncFailed", "no scale")


@given(st.integers(0, 20), st.integers(0, 20), st.one_of(st.integers(0, 20), st.integers(0, 100).map("{}%".format)))
def test_no_more_is_allowed_than_is_healthy_and_never_below_nothing(count: int, scale: int, most: int | str) -> None:
    pods = [owned(f"p{n}") for n in range(count)]
    status = plan_budget(budget(maxUnavailable=most), pods, {"u": scale}, now=NOW).status
    assert 0 <= status["disruptionsAllowed"] <= count
    assert 0 <= status["desiredHealthy"] <= scale


async def ready_pods(world: Cluster, count: int) -> list[Obj]:
    await world.add_node("n1")
    wanted = deployment(replicas=count)
    wanted["metadata"] = {"namespace": "default", "name": "web"}
    await world.api.create(DEPLOYMENTS, wanted)
    pods = await world.until(
        lambda: (
            (found := [p for p in world.list(PODS) if field_of(p, "spec", "nodeName")])
            and len(found) == count
            and found
        )
    )
    for number, one in enumerate(pods):
        await world.start_pod(one, f"10.244.0.{number + 2}")
    return world.list(PODS)


async def protect(world: Cluster, name: str = "web", **spec: Any) -> None:
    wanted = budget(**spec)
    wanted["metadata"] = {"namespace": "default", "name": name}
    await world.api.create(POD_DISRUPTION_BUDGETS, wanted)
    await world.until(lambda: field_of(world.get(POD_DISRUPTION_BUDGETS, name) or {}, "status", "observedGeneration"))


async def evict(world: Cluster, one: Obj) -> None:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"namespace": "default", "name": name_of(one)}}
    await world.api.create(PODS, body, name=name_of(one), subresource="eviction")


async def test_evictions_are_let_through_until_the_budget_is_spent_and_again_when_pods_are_back() -> None:
    async with cluster() as world:
        pods = await ready_pods(world, 3)
        await protect(world, maxUnavailable=1)
        await world.until(
            lambda: field_of(world.get(POD_DISRUPTION_BUDGETS, "web") or {}, "status", "disruptionsAllowed") == 1
        )
        await evict(world, pods[0])
        with pytest.raises(TooManyRequests) as refused:
            await evict(world, pods[1])
        (cause,) = refused.value.causes
        assert cause.reason == "DisruptionBudget"
        assert refused.value.message == "Cannot evict pod as it would violate the pod's disruption budget."
        gone = world.get(PODS, name_of(pods[0])) or {}
        assert any(c["type"] == "DisruptionTarget" for c in gone["status"]["conditions"])
        fresh = await world.until(
            lambda: [
                p
                for p in world.list(PODS)
                if name_of(p) not in set(map(name_of, pods)) and field_of(p, "spec", "nodeName")
            ]
        )
        await world.start_pod(fresh[0], "10.244.0.9")
        await world.until(
            lambda: field_of(world.get(POD_DISRUPTION_BUDGETS, "web") or {}, "status", "disruptionsAllowed") == 1
        )
        await evict(world, pods[1])


async def test_two_budgets_for_one_pod_are_refused() -> None:
    async with cluster() as world:
        pods = await ready_pods(world, 1)
        await protect(world, "one", minAvailable=0)
        await protect(world, "two", minAvailable=0)
        with pytest.raises(InternalError, match="more than one PodDisruptionBudget"):
            await evict(world, pods[0])


@pytest.mark.parametrize(("policy", "goes"), [("AlwaysAllow", True), ("IfHealthyBudget", False)])
async def test_a_pod_that_is_not_ready_goes_as_the_policy_says(policy: str, goes: bool) -> None:
    async with cluster() as world:
        await ready_pods(world, 1)
        sick = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
        one = world.list(PODS)[0]
        await world.api.patch(PODS, key_of(one), Patch(PatchType.STRATEGIC, sick), subresource="status")
        await protect(world, minAvailable=1, unhealthyPodEvictionPolicy=policy)
        try:
            await evict(world, one)
            went = True
        except ApiError as error:
            assert isinstance(error, TooManyRequests)
            went = False
        assert went == goes
