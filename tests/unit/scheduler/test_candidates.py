"""Remembering what nodes said about a shape changes no decision."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cluster.machinery.objects import Key
from cluster.scheduler.candidates import Decider
from cluster.scheduler.cycle import DEFAULT_PROFILE, Placement, schedule
from cluster.scheduler.requests import pod_info
from tests.unit.scheduler.objects import cluster_of, near, node, pod, term
from tests.unit.scheduler.test_pod_topology_spread import spread

SPECS: list[dict[str, Any]] = [
    {},
    {"cpu": "1500m"},
    {"nodeSelector": {"zone": "1"}},
    {"affinity": near(term("web"), anti=True), "labels": {"app": "web"}},
    {"affinity": near(term("web", "zone"), weight=10), "labels": {"app": "web"}},
    {"topologySpreadConstraints": spread(), "labels": {"app": "web"}},
    {"priority": 10},
]
STEP = st.one_of(
    st.tuples(st.just("schedule"), st.integers(0, len(SPECS) - 1)),
    st.tuples(st.just("remove"), st.integers(0, 20)),
    st.tuples(st.just("drain"), st.integers(0, 3)),
    st.tuples(st.just("grow"), st.integers(0, 3)),
    st.tuples(st.just("lose"), st.integers(0, 3)),
    st.tuples(st.just("nominate"), st.integers(0, 3)),
)


@given(st.lists(STEP, max_size=30))
def test_a_remembered_shape_decides_as_a_fresh_look_does(steps: list[tuple[str, int]]) -> None:
    state = cluster_of(*(node(f"n{number}", zone=str(number % 2), cpu="2") for number in range(4)))
    decider = Decider(state)
    for number, (what, which) in enumerate(steps):
        name = f"n{which % 4}"
        match what:
            case "schedule":
                info = pod_info(pod(f"p{number}", **SPECS[which]))
                outcome = decider.decide(info, DEFAULT_PROFILE)
                assert outcome == schedule(info, state)
                if isinstance(outcome, Placement):
                    state.place(info, outcome.node, assumed=number % 2 == 0)
            case "remove":
                state.remove(Key("d", f"p{which}"))
            case "drain":
                state.set_node(node(name, zone=str(which % 2), cpu="2", unschedulable=True))
            case "grow":
                state.set_node(node(name, zone=str(which % 2), cpu="4"))
            case "lose":
                state.remove_node(name)
            case _:
                state.nominate(pod_info(pod("vip", cpu="1500m", priority=5)), name)
