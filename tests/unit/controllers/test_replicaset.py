from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.client.writes import Create, Delete
from cluster.controllers.ownership import plan_claim
from cluster.controllers.pods import least_useful_first
from cluster.controllers.replicaset import BURST_MAX, Failure, next_look_s, plan_replicas, status_of
from cluster.machinery.objects import name_of
from cluster.machinery.selectors import selector_of_map
from cluster.resources.builtin import PODS
from tests.unit.controllers.objects import pod, replica_set

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_missing_pods_are_created_from_the_template_and_owned() -> None:
    rs = replica_set(replicas=2)
    first, second = plan_replicas(rs, [])
    assert first == second
    assert isinstance(first, Create)
    assert first.obj["metadata"]["generateName"] == "web-1-"
    assert first.obj["metadata"]["labels"] == {"app": "web"}
    assert first.obj["metadata"]["ownerReferences"][0]["uid"] == "uid-web-1"
    assert first.obj["metadata"]["ownerReferences"][0]["blockOwnerDeletion"]


def test_finished_and_deleted_pods_do_not_count() -> None:
    pods = [pod("a"), pod("b", phase="Failed"), pod("c", deleting=True)]
    assert len(plan_replicas(replica_set(replicas=3), pods)) == 2


def test_nothing_is_planned_for_a_replica_set_that_is_deleted() -> None:
    rs = replica_set(replicas=3)
    rs["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert plan_replicas(rs, []) == ()


@given(st.integers(0, 700), st.integers(0, 700))
def test_a_plan_moves_the_count_to_the_wanted_one_within_the_burst(wanted: int, present: int) -> None:
    pods = [pod(f"p{n}") for n in range(present)]
    writes = plan_replicas(replica_set(replicas=wanted), pods)
    creates = sum(isinstance(write, Create) for write in writes)
    deletes = sum(isinstance(write, Delete) for write in writes)
    assert creates - deletes == max(-BURST_MAX, min(BURST_MAX, wanted - present))
    assert not (creates and deletes)


@pytest.mark.parametrize(
    ("less", "more"),
    [
        (pod("z", node=""), pod("a")),
        (pod("z", phase="Pending"), pod("a")),
        (pod("z", ready=False), pod("a")),
        (pod("z", ready="2026-01-01T05:00:00Z"), pod("a")),
    ],
    ids=["unassigned", "pending", "unready", "ready for less long"],
)
def test_the_less_useful_pod_goes_first(less: dict[str, Any], more: dict[str, Any]) -> None:
    assert [name_of(p) for p in least_useful_first([more, less])] == ["z", "a"]


def test_a_cheap_pod_goes_before_a_dear_one_and_a_crowded_node_is_relieved() -> None:
    dear, cheap = pod("a"), pod("z")
    cheap["metadata"]["annotations"] = {"controller.kubernetes.io/pod-deletion-cost": "-5"}
    assert name_of(least_useful_first([dear, cheap])[0]) == "z"
    pods = [pod("a", node="n2"), pod("b", node="n1"), pod("c", node="n1")]
    assert name_of(least_useful_first(pods, pods)[0]) == "b"


def test_status_counts_ready_available_and_labelled_pods() -> None:
    rs = replica_set(replicas=3, minReadySeconds=60)
    fresh = pod("b", ready="2026-01-02T03:03:35Z")
    status = status_of(rs, [pod("a"), fresh, pod("c", ready=False)], now=NOW, failure=None)
    assert status == {
        "replicas": 3, "fullyLabeledReplicas": 3, "readyReplicas": 2, "availableReplicas": 1, "observedGeneration": 1,
    }  # fmt: skip
    assert next_look_s(rs, [fresh], now=NOW) == pytest.approx(30.1)


def test_a_failure_becomes_a_condition_whose_time_stays() -> None:
    failure = Failure("FailedCreate", "exceeded quota: q")
    rs = replica_set()
    first = status_of(rs, [], now=NOW, failure=failure)
    assert first["conditions"][0]["reason"] == "FailedCreate"
    rs["status"] = first
    later = status_of(rs, [], now=NOW.replace(hour=9), failure=failure)
    assert later["conditions"] == first["conditions"]
    assert "conditions" not in status_of(rs, [], now=NOW, failure=None)


def test_refusals_that_name_another_pod_each_time_leave_the_status_as_it_is() -> None:
    later = datetime(2026, 1, 1, 0, 5, tzinfo=UTC)
    first = status_of(replica_set(2), [], now=later, failure=Failure("FailedCreate", 'pods "web-aaaaa" is forbidden'))
    rs = replica_set(2) | {"status": first}
    assert status_of(rs, [], now=later, failure=Failure("FailedCreate", 'pods "web-bbbbb" is forbidden')) == first


def test_matching_orphans_are_adopted_and_strangers_released() -> None:
    rs = replica_set()
    other = replica_set("other")
    candidates = [
        pod("mine", owner=rs),
        pod("orphan"),
        pod("changed", owner=rs, labels={"app": "x"}),
        pod("theirs", owner=other),
        pod("leaving", deleting=True),
    ]
    claim = plan_claim(rs, selector_of_map({"app": "web"}), candidates, PODS)
    assert [name_of(obj) for obj in claim.owned] == ["mine"]
    assert [write.key.name for write in claim.adopt] == ["orphan"]
    assert [write.key.name for write in claim.release] == ["changed"]
