"""Attempts: when they are over, what they say, and when what failed is tried again."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.daemon.attempt import RETRY_MAX_S, Attempt, due, failures_after
from reconciler.model import (
    Action,
    Counts,
    Done,
    Health,
    HealthStatus,
    Origin,
    Outcome,
    Problem,
    Revision,
    Trigger,
    Verb,
    manifest_of,
)

MANIFEST = manifest_of({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}, Origin("a.yaml", 3))
CREATE = Action(Verb.CREATE, MANIFEST.ref, 2, "declared", MANIFEST)
HEALTHY, SLOW = HealthStatus(Health.HEALTHY), HealthStatus(Health.PROGRESSING, "1 of 2 replicas available")


def attempt(**fields: Any) -> Attempt:
    known: dict[str, Any] = {
        "revision": Revision("r", "t"),
        "trigger": Trigger.REVISION,
        "tree": "t",
        "started": 0.0,
        "started_at": "",
        "deadline": 60.0,
        "done": (),
        "problems": (),
        "counts": Counts(created=1),
        "held": "",
    }
    return Attempt(**{**known, **fields})


@pytest.mark.parametrize(
    ("made", "health", "now", "outcome"),
    [
        (attempt(), HEALTHY, 1, Outcome.SUCCEEDED),
        (attempt(), SLOW, 1, None),
        (attempt(), SLOW, 60, Outcome.APPLIED),
        (attempt(counts=Counts(created=1, failed=1)), HEALTHY, 1, Outcome.PARTIAL),
        (attempt(counts=Counts(failed=1)), HEALTHY, 1, Outcome.FAILED),
        (attempt(problems=(Problem("bad"),), counts=Counts(kept=1)), HEALTHY, 1, Outcome.PARTIAL),
        (attempt(counts=Counts(refused=1)), HEALTHY, 1, Outcome.FAILED),
    ],
)
def test_an_attempt_is_over_once_it_is_healthy_or_failed_or_late(
    made: Attempt, health: HealthStatus, now: float, outcome: Outcome | None
) -> None:
    assert made.outcome(health, now) is outcome


def test_the_first_thing_that_is_wrong_is_named_with_its_place() -> None:
    failed = attempt(done=(Done(CREATE, error="no such field"),), counts=Counts(failed=1))
    assert failed.message(HEALTHY) == "a.yaml:3: ConfigMap a: no such field"
    several = attempt(problems=(Problem("bad", Origin("b.yaml", 1)), Problem("worse")))
    assert several.message(HEALTHY) == "b.yaml:1: bad (and 1 more)"
    assert attempt().message(SLOW) == SLOW.message


def test_all_that_is_wrong_is_told_in_the_order_of_files_and_lines() -> None:
    both = attempt(
        done=(Done(CREATE, error="no such field"), Done(CREATE)),
        problems=(Problem("nowhere"), Problem("bad", Origin("b.yaml", 1)), Problem("worse", Origin("a.yaml", 12))),
    )
    assert both.faults == ["a.yaml:3: ConfigMap a: no such field", "a.yaml:12: worse", "b.yaml:1: bad", "nowhere"]
    assert both.message(HEALTHY) == "a.yaml:3: ConfigMap a: no such field (and 3 more)"


def test_a_refused_object_is_not_tried_again_before_its_time_and_then_is() -> None:
    failures = failures_after([Done(CREATE, error="no")], {}, now=10.0)
    assert list(due([CREATE], failures, 11.0)) == []
    assert list(due([CREATE], failures, 12.0)) == [CREATE]


def test_a_changed_manifest_is_tried_at_once() -> None:
    failures = failures_after([Done(CREATE, error="no")], {}, now=10.0)
    changed = manifest_of({**MANIFEST.obj, "data": {}}, MANIFEST.origin)
    assert due([Action(Verb.CREATE, changed.ref, 2, "declared", changed)], failures, 10.0)


def test_delays_double_up_to_a_limit_and_success_forgets_them() -> None:
    failures = failures_after([Done(CREATE, error="no")], {}, now=0.0)
    delays = [failures[CREATE.ref].retry_at]
    for _ in range(20):
        failures = failures_after([Done(CREATE, error="no")], failures, now=0.0)
        delays.append(failures[CREATE.ref].retry_at)
    assert delays[:4] == [2.0, 4.0, 8.0, 16.0]
    assert max(delays) == RETRY_MAX_S
    assert failures_after([Done(CREATE)], failures, now=0.0) == {}
