from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.scheduler.cycle import Placement, Unschedulable, schedule
from cluster.scheduler.requests import pod_info
from tests.unit.scheduler.objects import cluster_of, node, pod

WEB = {"app": "web"}


def spread(**more: Any) -> list[dict[str, Any]]:
    selector = {"matchLabels": WEB}
    base = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector}
    return [base | more]


@given(
    zones=st.lists(st.sampled_from("123"), min_size=1, max_size=6),
    max_skew=st.integers(1, 3),
    count=st.integers(1, 12),
)
def test_no_zone_gets_ahead_by_more_than_the_skew(zones: list[str], max_skew: int, count: int) -> None:
    state = cluster_of(*(node(f"n{number}", zone=zone) for number, zone in enumerate(zones)))
    held = Counter(dict.fromkeys(zones, 0))
    for number in range(count):
        info = pod_info(pod(f"web-{number}", labels=WEB, topologySpreadConstraints=spread(maxSkew=max_skew)))
        outcome = schedule(info, state)
        assert isinstance(outcome, Placement)
        state.place(info, outcome.node)
        held[zones[int(outcome.node[1:])]] += 1
        assert max(held.values()) - min(held.values()) <= max_skew


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        ({}, "1 node(s) didn't match pod topology spread constraints, 1 node(s) were unschedulable."),
        ({"nodeTaintsPolicy": "Honor"}, None),
        ({"nodeTaintsPolicy": "Honor", "minDomains": 2}, "1 node(s) didn't match pod topology spread constraints, "),
        ({"whenUnsatisfiable": "ScheduleAnyway"}, None),
        ({"topologyKey": "rack"}, "1 node(s) didn't match pod topology spread constraints (missing required label), "),
    ],
)
def test_what_counts_as_a_domain_decides(constraint: dict[str, Any], message: str | None) -> None:
    taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    state = cluster_of(node("a", zone="1"), node("b", zone="2", unschedulable=True, taints=[taint]))
    state.place(pod_info(pod("first", labels=WEB)), "a")
    outcome = schedule(pod_info(pod("web", labels=WEB, topologySpreadConstraints=spread(**constraint))), state)
    if message is None:
        assert isinstance(outcome, Placement)
    else:
        assert isinstance(outcome, Unschedulable)
        assert outcome.message.startswith(f"0/2 nodes are available: {message}")


def test_a_soft_constraint_prefers_the_emptier_zone_although_it_is_fuller_otherwise() -> None:
    state = cluster_of(node("a", zone="1"), node("b", zone="2"))
    state.place(pod_info(pod("first", labels=WEB)), "a")
    for number in range(2):
        state.place(pod_info(pod(f"other-{number}", cpu="200m")), "b")
    soft = spread(whenUnsatisfiable="ScheduleAnyway")
    outcome = schedule(pod_info(pod("web", labels=WEB, topologySpreadConstraints=soft)), state)
    assert isinstance(outcome, Placement)
    assert outcome.node == "b"


def test_terminating_pods_do_not_count() -> None:
    state = cluster_of(node("a", zone="1"), node("b", zone="2", cpu="0"))
    going = pod("going", labels=WEB)
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    state.place(pod_info(going), "a")
    assert isinstance(schedule(pod_info(pod("web", labels=WEB, topologySpreadConstraints=spread())), state), Placement)
