from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.kubelet.probes import Outcome, ProbeKind, ProbeSpec, ProbeState, advance, first_state, probe_of

S, F, U = Outcome.SUCCESS, Outcome.FAILURE, Outcome.UNKNOWN


def belief(spec: ProbeSpec, outcomes: list[Outcome]) -> bool | None:
    state: ProbeState = first_state(spec.kind)
    for outcome in outcomes:
        state = advance(spec, state, outcome)
    return state.passing


@pytest.mark.parametrize(
    ("kind", "outcomes", "passing"),
    [
        (ProbeKind.LIVENESS, [], True),
        (ProbeKind.READINESS, [], False),
        (ProbeKind.STARTUP, [], None),
        (ProbeKind.READINESS, [S], True),
        (ProbeKind.LIVENESS, [F, F], True),
        (ProbeKind.LIVENESS, [F, F, F], False),
        (ProbeKind.LIVENESS, [F, F, S, F, F], True),
        (ProbeKind.STARTUP, [F, F], None),
        (ProbeKind.STARTUP, [F, F, S], True),
        (ProbeKind.READINESS, [S, F, F], True),
        (ProbeKind.READINESS, [S, F, U, F, U, F], False),
    ],
)
def test_belief_turns_after_a_whole_threshold(kind: ProbeKind, outcomes: list[Outcome], passing: bool | None) -> None:
    assert belief(ProbeSpec(kind, {}, failure_threshold=3), outcomes) is passing


@given(st.lists(st.sampled_from(list(Outcome))), st.integers(1, 5), st.integers(1, 5))
def test_outcomes_that_say_nothing_change_nothing(outcomes: list[Outcome], success: int, failure: int) -> None:
    spec = ProbeSpec(ProbeKind.READINESS, {}, success_threshold=success, failure_threshold=failure)
    assert belief(spec, outcomes) == belief(spec, [outcome for outcome in outcomes if outcome is not U])


def test_a_probe_is_read_with_upstreams_defaults() -> None:
    spec = probe_of({"livenessProbe": {"httpGet": {"port": 80}}}, ProbeKind.LIVENESS)
    assert spec == ProbeSpec(ProbeKind.LIVENESS, {"httpGet": {"port": 80}}, 0, 10, 1, 1, 3, None)
    assert probe_of({}, ProbeKind.STARTUP) is None
