from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.controllers.daemonset_plan import is_available, limits_of, plan_daemon_set
from cluster.controllers.daemonset_pods import daemon_pod, fit_of, node_of
from cluster.controllers.daemonset_status import status_of
from cluster.controllers.failed_pods import LONGEST_S, FailedPodBackoff
from cluster.machinery.objects import name_of
from tests.unit.controllers.objects import pod, template

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LABEL = "controller-revision-hash"


def daemon_set(*, unavailable: int | str = 1, surge: int | str = 0, **spec: Any) -> dict[str, Any]:
    metadata = {
        "namespace": "d",
        "name": "log",
        "uid": "uid-log",
        "generation": 1,
        "annotations": {"deprecated.daemonset.template.generation": "4"},
    }
    rolling = {"maxUnavailable": unavailable, "maxSurge": surge}
    body = {
        "selector": {"matchLabels": {"app": "web"}},
        "template": template(),
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
        **spec,
    }
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": body}


def node(name: str, *taints: tuple[str, str], **labels: str) -> dict[str, Any]:
    spec = {"taints": [{"key": key, "effect": effect} for key, effect in taints]}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec}


def daemon(node: str, hash_: str = "new", *, name: str = "", **state: Any) -> dict[str, Any]:
    return pod(name or f"{node}-{hash_}", labels={"app": "web", LABEL: hash_}, node=node, **state)


def planned(daemon: dict[str, Any], nodes: list[Any], pods: list[Any], held: tuple[str, ...] = ()) -> list[str]:
    plan = plan_daemon_set(daemon, nodes, pods, hash_="new", held=held, now=NOW)
    return [*(f"+{node_of(create.obj)}" for create in plan.creates), *(f"-{write.key.name}" for write in plan.deletes)]


NODES = [node("a"), node("b"), node("c")]
ALL_OLD = [daemon(each, "old") for each in "abc"]


@pytest.mark.parametrize(
    ("spec", "pods", "expected"),
    [
        ({}, [], ["+a", "+b", "+c"]),
        ({}, [daemon("a"), daemon("b", deleting=True)], ["+c"]),
        ({}, [daemon("a"), daemon("a", name="z"), daemon("b"), daemon("c")], ["-z"]),
        ({}, [daemon("a"), daemon("b", phase="Failed"), daemon("c")], ["-b-new"]),
        ({}, ALL_OLD, ["-a-old"]),
        ({"unavailable": "50%"}, ALL_OLD, ["-a-old", "-b-old"]),
        ({}, [daemon("a", ready=False), *ALL_OLD[1:]], []),
        ({}, [ALL_OLD[0], daemon("b", "old", ready=False), ALL_OLD[2]], ["-b-old"]),
        ({"updateStrategy": {"type": "OnDelete"}}, ALL_OLD, []),
        ({"unavailable": 0, "surge": 1}, ALL_OLD, ["+a"]),
        ({"unavailable": 0, "surge": 1}, [*ALL_OLD, daemon("a", ready=False)], []),
        ({"unavailable": 0, "surge": 1}, [*ALL_OLD, daemon("a")], ["-a-old"]),
        ({"unavailable": 0, "surge": 1}, [daemon("a"), *ALL_OLD[1:]], ["+b"]),
    ],
)
def test_what_happens_next(spec: dict[str, Any], pods: list[dict[str, Any]], expected: list[str]) -> None:
    assert planned(daemon_set(**spec), NODES, pods) == expected


def test_a_failed_pod_is_left_while_its_node_is_held() -> None:
    pods = [daemon("a", phase="Failed"), daemon("b"), daemon("c")]
    assert planned(daemon_set(), NODES, pods, held=("a",)) == []


def test_a_pod_for_a_node_that_never_had_it_and_is_gone_is_removed() -> None:
    lost = daemon_pod(daemon_set(), "gone", hash_="new")
    lost["metadata"] |= {"name": "lost", "uid": "uid-lost"}
    assert planned(daemon_set(), NODES, [*(daemon(each) for each in "abc"), lost]) == ["-lost"]


@pytest.mark.parametrize(
    ("where", "template_spec", "run", "stay"),
    [
        (node("a"), {}, True, True),
        (node("a", ("x", "NoSchedule")), {}, False, True),
        (node("a", ("x", "NoExecute")), {}, False, False),
        (node("a", ("x", "PreferNoSchedule")), {}, True, True),
        (node("a", ("x", "NoExecute")), {"tolerations": [{"operator": "Exists"}]}, True, True),
        (node("a", ("node.kubernetes.io/unschedulable", "NoSchedule")), {}, True, True),
        (node("a", ("node.kubernetes.io/unreachable", "NoExecute")), {}, True, True),
        (node("a", ("node.kubernetes.io/network-unavailable", "NoSchedule")), {}, False, True),
        (node("a", ("node.kubernetes.io/network-unavailable", "NoSchedule")), {"hostNetwork": True}, True, True),
        (node("a"), {"nodeSelector": {"disk": "ssd"}}, False, False),
        (node("a", disk="ssd"), {"nodeSelector": {"disk": "ssd"}}, True, True),
        (node("a"), {"nodeName": "b"}, False, False),
    ],
)
def test_where_a_daemon_runs(where: dict[str, Any], template_spec: dict[str, Any], run: bool, stay: bool) -> None:
    made = daemon_set()
    made["spec"]["template"]["spec"] |= template_spec
    fit = fit_of(made, where)
    assert (fit.should_run, fit.should_stay) == (run, stay)


def test_a_daemon_pod_is_bound_to_its_node_by_affinity_and_says_its_revision() -> None:
    made = daemon_pod(daemon_set(), "a", hash_="h")
    assert node_of(made) == "a" and "nodeName" not in made["spec"]
    assert made["metadata"]["labels"] == {"app": "web", LABEL: "h", "pod-template-generation": "4"}
    assert {each["key"] for each in made["spec"]["tolerations"]} == {
        f"node.kubernetes.io/{what}"
        for what in ("not-ready", "unreachable", "disk-pressure", "memory-pressure", "pid-pressure", "unschedulable")
    }


ages = st.lists(st.tuples(st.sampled_from(["old", "new"]), st.booleans(), st.booleans()), max_size=2)


@given(st.lists(ages, max_size=6), st.integers(1, 4))
def test_a_rollout_takes_no_more_nodes_than_it_may(drawn: list[list[tuple[str, bool, bool]]], unavailable: int) -> None:
    made = daemon_set(unavailable=unavailable)
    nodes = [node(f"n{number}") for number in range(len(drawn))]
    pods = [
        daemon(f"n{number}", hash_, name=f"p{number}-{index}", ready=ready, deleting=deleting)
        for number, here in enumerate(drawn)
        for index, (hash_, ready, deleting) in enumerate(here)
    ]
    plan = plan_daemon_set(made, nodes, pods, hash_="new", held=(), now=NOW)
    assert len({node_of(create.obj) for create in plan.creates}) == len(plan.creates)
    gone = {write.key.name for write in plan.deletes}

    def serving(left: list[Any]) -> set[str]:
        return {
            node_of(each)
            for each in left
            if "deletionTimestamp" not in each["metadata"] and is_available(made, each, now=NOW)
        }

    before, after = serving(pods), serving([each for each in pods if name_of(each) not in gone])
    lost = len(before) - len(after)
    if not any(len(here) > 1 for here in drawn):
        assert lost == 0 or len(nodes) - len(after) <= limits_of(made, nodes).unavailable


def test_the_status_is_of_the_nodes_that_should_run_it() -> None:
    nodes = [*NODES, node("d", ("x", "NoSchedule"))]
    pods = [daemon("a"), daemon("b", "old", ready=False), daemon("d")]
    assert status_of(daemon_set(), nodes, pods, hash_="new", now=NOW) == {
        "observedGeneration": 1,
        "desiredNumberScheduled": 3,
        "currentNumberScheduled": 2,
        "numberMisscheduled": 1,
        "numberReady": 1,
        "updatedNumberScheduled": 1,
        "numberAvailable": 1,
        "numberUnavailable": 2,
    }


def test_back_off_doubles_to_its_bound_and_is_forgotten() -> None:
    backoff, now_s = FailedPodBackoff(), 0.0
    waits: list[float] = []
    for _ in range(12):
        backoff.failed("uid", "n1", now_s)
        waits.append(backoff.held("uid", now_s)["n1"])
        now_s += waits[-1]
        assert backoff.held("uid", now_s) == {}
    assert waits[:4] == [1, 2, 4, 8] and waits[-1] == LONGEST_S
    assert backoff.held("other", 0.0) == {}
    backoff.failed("uid", "n1", now_s + 3 * LONGEST_S)
    assert backoff.held("uid", now_s + 3 * LONGEST_S) == {"n1": 1.0}
