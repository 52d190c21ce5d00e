from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from cluster.client.writes import Delete, PatchObject, SetStatus, Update
from cluster.controllers.node_lifecycle import plan_evictions, plan_taints, plan_unknown, plan_unready_pods
from tests.unit.controllers.objects import pod

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OLD = "2026-01-01T00:00:00Z"


def node(ready: str | None = "True", *, taints: list[dict[str, Any]] | None = None, **spec: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": ready, "lastTransitionTime": OLD}] if ready else []
    return {
        "metadata": {"name": "n1", "uid": "uid-n1"},
        "spec": {"taints": taints or [], **spec},
        "status": {"conditions": conditions},
    }


def test_a_silent_node_becomes_unknown_once() -> None:
    (write,) = plan_unknown(node(), now=NOW)
    assert isinstance(write, SetStatus)
    ready = write.status["conditions"][0]
    assert (ready["status"], ready["reason"]) == ("Unknown", "NodeStatusUnknown")
    assert ready["lastTransitionTime"] == "2026-01-02T03:04:05Z"
    assert {c["reason"] for c in write.status["conditions"][1:]} == {"NodeStatusNeverUpdated"}
    assert plan_unknown({**node(), "status": write.status}, now=NOW) == ()


@pytest.mark.parametrize(
    ("ready", "evict", "expected"),
    [
        ("True", True, set()),
        ("False", True, {("not-ready", "NoSchedule"), ("not-ready", "NoExecute")}),
        ("Unknown", True, {("unreachable", "NoSchedule"), ("unreachable", "NoExecute")}),
        ("Unknown", False, {("unreachable", "NoSchedule")}),
        (None, True, {("not-ready", "NoSchedule")}),
    ],
)
def test_conditions_become_taints(ready: str | None, evict: bool, expected: set[tuple[str, str]]) -> None:
    writes = plan_taints(node(ready), now=NOW, evict=evict)
    taints = writes[0].obj["spec"]["taints"] if writes else []  # type: ignore[union-attr]
    assert {(t["key"].removeprefix("node.kubernetes.io/"), t["effect"]) for t in taints} == expected


def test_a_node_that_recovers_keeps_only_the_taints_of_others() -> None:
    taints = [
        {"key": "dedicated", "value": "db", "effect": "NoSchedule"},
        {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": OLD},
    ]
    (write,) = plan_taints(node(taints=taints), now=NOW, evict=True)
    assert isinstance(write, Update)
    assert write.obj["spec"]["taints"] == taints[:1]
    assert plan_taints(write.obj, now=NOW, evict=True) == ()


def test_a_cordoned_node_is_tainted() -> None:
    (write,) = plan_taints(node(unschedulable=True), now=NOW, evict=True)
    assert isinstance(write, Update)
    assert write.obj["spec"]["taints"][0]["key"] == "node.kubernetes.io/unschedulable"


TAINT = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": "2026-01-02T03:00:05Z"}
TOLERATION = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}


@pytest.mark.parametrize(
    ("tolerations", "evicted", "next_s"),
    [
        ([], True, None),
        ([TOLERATION], False, None),
        ([{**TOLERATION, "tolerationSeconds": 300}], False, 60),
        ([{**TOLERATION, "tolerationSeconds": 200}], True, None),
        ([{"operator": "Exists"}], False, None),
    ],
    ids=["none", "for ever", "300 s", "200 s", "everything"],
)
def test_a_pod_stays_as_long_as_it_tolerates(tolerations: Any, evicted: bool, next_s: float | None) -> None:
    plan = plan_evictions(node("Unknown", taints=[TAINT]), [pod("a", tolerations=tolerations)], now=NOW)
    assert bool(plan.writes) is evicted
    assert plan.next_s == next_s


def test_pods_of_a_node_that_is_not_ready_are_not_ready() -> None:
    writes = plan_unready_pods([pod("a"), pod("b", ready=False)], now=NOW)
    assert [write.key.name for write in writes if isinstance(write, PatchObject)] == ["a"]


def test_a_pod_already_leaving_is_not_evicted_again() -> None:
    plan = plan_evictions(node("Unknown", taints=[TAINT]), [pod("a", deleting=True), pod("b")], now=NOW)
    assert [write.key.name for write in plan.writes if isinstance(write, Delete)] == ["b"]
