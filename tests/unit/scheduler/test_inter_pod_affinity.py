from __future__ import annotations

from typing import Any

import pytest

from cluster.scheduler.cycle import Placement, Unschedulable, schedule
from cluster.scheduler.requests import pod_info
from cluster.scheduler.snapshot import ClusterState
from tests.unit.scheduler.objects import cluster_of, near, node, pod, term

WEB, DB = {"app": "web"}, {"app": "db"}


def three_nodes() -> ClusterState:
    """`db` runs on b, in zone 1 with a; c is in zone 2."""
    state = cluster_of(node("a", zone="1"), node("b", zone="1"), node("c", zone="2"))
    state.place(pod_info(pod("db", labels=DB)), "b")
    return state


@pytest.mark.parametrize(
    ("affinity", "expected"),
    [
        (near(term("db")), "b"),
        (near(term("db", "zone")), "a"),
        (near(term("db"), anti=True), "a"),
        (near(term("db", "zone"), anti=True), "c"),
        (near(term("db"), weight=50), "b"),
        (near(term("db", "zone"), weight=50, anti=True), "c"),
        (near(term("db", namespaces=["other"])), None),
        (near(term("db", namespaceSelector={"matchLabels": {"team": "a"}})), "b"),
        (near(term("db", namespaceSelector={"matchLabels": {"team": "b"}})), None),
        (near(term("absent")), None),
        (near(term("web")), "a"),
        (near(term("db", "rack")), None),
    ],
)
def test_a_pod_goes_near_or_far_from_others(affinity: dict[str, Any], expected: str | None) -> None:
    outcome = schedule(pod_info(pod("web", labels=WEB, affinity=affinity)), three_nodes())
    if expected is None:
        assert isinstance(outcome, Unschedulable)
        assert outcome.message == "0/3 nodes are available: 3 node(s) didn't match pod affinity rules."
    else:
        assert isinstance(outcome, Placement)
        assert outcome.node == expected


def test_pods_that_repel_each_other_fill_the_hosts_and_then_wait() -> None:
    state = cluster_of(node("a"), node("b"))
    chosen = []
    for number in range(3):
        info = pod_info(pod(f"web-{number}", labels=WEB, affinity=near(term("web"), anti=True)))
        outcome = schedule(info, state)
        if isinstance(outcome, Placement):
            state.place(info, outcome.node)
            chosen.append(outcome.node)
        else:
            assert outcome.message == "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules."
    assert chosen == ["a", "b"]


def test_a_placed_pod_keeps_others_away_that_say_nothing_themselves() -> None:
    state = cluster_of(node("a"))
    guard = pod_info(pod("guard", affinity=near(term("web"), anti=True)))
    state.place(guard, "a")
    wanted = pod_info(pod("web", labels=WEB))
    outcome = schedule(wanted, state)
    assert isinstance(outcome, Unschedulable)
    expected = "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules."
    assert outcome.message == expected
    state.remove(guard.key)
    assert isinstance(schedule(wanted, state), Placement)


def test_match_label_keys_confine_a_term_to_pods_of_the_same_revision() -> None:
    state = cluster_of(node("a"))
    state.place(pod_info(pod("old", labels={"app": "web", "rev": "1"})), "a")
    affinity = near(term("web", matchLabelKeys=["rev"]), anti=True)
    for rev, kind in (("1", Unschedulable), ("2", Placement)):
        assert isinstance(
            schedule(pod_info(pod("new", labels={"app": "web", "rev": rev}, affinity=affinity)), state), kind
        )
