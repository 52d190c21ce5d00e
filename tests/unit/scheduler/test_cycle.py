from __future__ import annotations

from typing import Any

import pytest

from cluster.scheduler.cycle import Placement, Unschedulable, schedule
from cluster.scheduler.framework import Wake
from cluster.scheduler.requests import pod_info, requests_of
from cluster.scheduler.snapshot import ClusterState


def node(name: str, *, cpu: str = "4", memory: str = "8Gi", pods: str = "110", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "zone": name[-1], "cores": "8"}},
        "spec": spec,
        "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": pods}},
    }


def pod(name: str = "web", *, cpu: str = "", memory: str = "", **spec: Any) -> dict[str, Any]:
    requests = {name: text for name, text in (("cpu", cpu), ("memory", memory)) if text}
    container = {"name": "c", "image": "web:1", "resources": {"requests": requests}}
    return {"metadata": {"namespace": "d", "name": name, "uid": name}, "spec": {"containers": [container], **spec}}


def cluster_of(*objs: dict[str, Any]) -> ClusterState:
    state = ClusterState()
    for obj in objs:
        state.set_node(obj)
    return state


def place(wanted: dict[str, Any], *objs: dict[str, Any]) -> Any:
    return schedule(pod_info(wanted), cluster_of(*objs))


TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}


def test_the_message_counts_each_reason_as_upstream_words_it() -> None:
    outcome = place(pod(cpu="2"), node("a", cpu="1"), node("b", taints=[TAINT]), node("c", taints=[TAINT]))
    assert isinstance(outcome, Unschedulable)
    expected = "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {k: v}."
    assert outcome.message == expected
    assert Wake.POD_DELETED in outcome.wakes_on
    assert Wake.NODE_UNTAINTED in outcome.wakes_on


def test_without_nodes_the_pod_waits_for_one() -> None:
    assert place(pod()) == Unschedulable("no nodes available to schedule pods", frozenset({Wake.NODE_ADDED}))


@pytest.mark.parametrize(
    ("toleration", "fits"),
    [
        ({"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}, True),
        ({"key": "k", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "k", "value": "other"}, False),
        ({"key": "k", "operator": "Exists", "effect": "NoExecute"}, False),
    ],
)
def test_a_toleration_lets_a_pod_onto_a_tainted_node(toleration: dict[str, str], fits: bool) -> None:
    assert isinstance(place(pod(tolerations=[toleration]), node("a", taints=[TAINT])), Placement) is fits


def test_a_cordoned_node_takes_only_pods_that_tolerate_it() -> None:
    refused = place(pod(), node("a", unschedulable=True))
    assert refused.message == "0/1 nodes are available: 1 node(s) were unschedulable."
    tolerant = pod(tolerations=[{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}])
    assert place(tolerant, node("a", unschedulable=True)) == Placement("a", 1)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"nodeSelector": {"zone": "b"}}, "b"),
        ({"nodeSelector": {"zone": "z"}}, None),
        ({"affinity": [{"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]}]}, "b"),
        ({"affinity": [{"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["8"]}]}]}, None),
        ({"affinity": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}]}, "b"),
        ({"affinity": [{}]}, None),
        ({"affinity": [{}, {"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]}, "a"),
    ],
)
def test_selectors_and_affinity_choose_nodes(spec: dict[str, Any], expected: str | None) -> None:
    if terms := spec.get("affinity"):
        required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
        spec = {"affinity": {"nodeAffinity": required}}
    outcome = place(pod(**spec), node("a"), node("b"))
    if expected is None:
        assert outcome.message == "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."
    else:
        assert outcome.node == expected


def test_a_preferred_node_wins_over_an_emptier_one() -> None:
    prefer = {"weight": 100, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}}
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [prefer]}}
    assert place(pod(affinity=affinity), node("a", cpu="8"), node("b")).node == "b"


def test_pods_spread_over_equal_nodes() -> None:
    state = ClusterState()
    for name in "abc":
        state.set_node(node(name))
    chosen = []
    for number in range(6):
        info = pod_info(pod(f"web-{number}", cpu="100m"))
        outcome = schedule(info, state)
        assert isinstance(outcome, Placement)
        state.place(info, outcome.node, assumed=True)
        chosen.append(outcome.node)
    assert chosen == ["a", "b", "c", "a", "b", "c"]


def test_what_runs_on_a_node_is_no_longer_free_and_comes_back() -> None:
    state = ClusterState()
    state.set_node(node("a", cpu="1", pods="2"))
    first = pod_info(pod("first", cpu="800m"))
    state.place(first, "a", assumed=True)
    second = pod_info(pod("second", cpu="300m"))
    assert schedule(second, state).message == "0/1 nodes are available: 1 Insufficient cpu."  # type: ignore[union-attr]
    state.place(first, "a")
    assert not state.is_assumed(first.key)
    state.remove(first.key)
    assert schedule(second, state) == Placement("a", 1)


def test_a_full_node_says_too_many_pods() -> None:
    state = ClusterState()
    state.set_node(node("a", pods="1"))
    state.place(pod_info(pod("first")), "a")
    outcome = schedule(pod_info(pod("second")), state)
    assert isinstance(outcome, Unschedulable)
    assert outcome.message == "0/1 nodes are available: 1 Too many pods."


@pytest.mark.parametrize(
    ("held", "wanted", "fits"),
    [
        ({"hostPort": 80}, {"hostPort": 80}, False),
        ({"hostPort": 80}, {"hostPort": 80, "protocol": "UDP"}, True),
        ({"hostPort": 80, "hostIP": "10.0.0.1"}, {"hostPort": 80, "hostIP": "10.0.0.2"}, True),
        ({"hostPort": 80, "hostIP": "10.0.0.1"}, {"hostPort": 80}, False),
    ],
)
def test_host_ports_are_held_by_address_and_protocol(held: Any, wanted: Any, fits: bool) -> None:
    state = ClusterState()
    state.set_node(node("a"))
    state.place(pod_info(pod("first", containers=[{"name": "c", "ports": [{"containerPort": 80, **held}]}])), "a")
    second = pod("second", containers=[{"name": "c", "ports": [{"containerPort": 80, **wanted}]}])
    assert isinstance(schedule(pod_info(second), state), Placement) is fits


def container(cpu: str, **more: Any) -> dict[str, Any]:
    return {"resources": {"requests": {"cpu": cpu}}, **more}


@pytest.mark.parametrize(
    ("spec", "cpu"),
    [
        ({"containers": [container("1"), container("500m")]}, 1500),
        ({"containers": [container("1")], "initContainers": [container("3"), container("2")]}, 3000),
        ({"containers": [container("1")], "initContainers": [container("1", restartPolicy="Always")]}, 2000),
        (
            {
                "containers": [container("1")],
                "initContainers": [container("1", restartPolicy="Always"), container("2")],
            },
            3000,
        ),
        ({"containers": [container("1")], "overhead": {"cpu": "250m"}}, 1250),
        ({"containers": [container("1")], "resources": {"requests": {"cpu": "4"}}}, 4000),
    ],
    ids=["sum", "largest init", "sidecar", "init beside a sidecar", "overhead", "whole pod"],
)
def test_a_pod_needs_its_peak(spec: dict[str, Any], cpu: int) -> None:
    assert requests_of(spec)["cpu"] == cpu
