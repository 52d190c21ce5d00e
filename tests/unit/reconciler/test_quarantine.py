"""Which commits are given up, which are spared, and what of a quarantine still holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cluster.machinery.timestamps import format_time
from reconciler.crds.application import QUARANTINED_MAX
from reconciler.daemon.attempt import Attempt
from reconciler.daemon.quarantine import (
    AutoRevert,
    Quarantined,
    is_suspect,
    kept_because,
    pushed,
    quarantine_on,
    quarantined_of,
    row_of,
    with_entry,
)
from reconciler.model import Counts, Health, HealthStatus, Outcome, Problem, Revision, Trigger

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
RULE = AutoRevert(push=True, merges=False, max_per_hour=2)
BAD = Quarantined("bad", "tree-of-bad", "good", format_time(NOW), "degraded")
DEGRADED = HealthStatus(Health.DEGRADED)
ATTEMPT = Attempt(
    revision=Revision("bad", "t"),
    trigger=Trigger.REVISION,
    tree="tree-of-bad",
    started=0.0,
    started_at="",
    deadline=60.0,
    done=(),
    problems=(),
    counts=Counts(updated=1),
    held="",
)


def suspect(
    attempt: Attempt = ATTEMPT, *, outcome: Outcome | None = None, health: HealthStatus = DEGRADED, good: str = "good"
) -> bool:
    return is_suspect(attempt, outcome, health, good=good, good_trees={"tree-of-good"})


def test_a_commit_is_suspect_once_it_is_degraded_or_late() -> None:
    progressing = HealthStatus(Health.PROGRESSING)
    assert suspect()
    assert suspect(outcome=Outcome.APPLIED, health=progressing)
    assert not suspect(health=progressing)


@pytest.mark.parametrize(
    "attempt",
    [
        replace(ATTEMPT, revision=Revision("good", "t")),
        replace(ATTEMPT, tree="tree-of-good"),
        replace(ATTEMPT, problems=(Problem("no such file"),)),
        replace(ATTEMPT, counts=Counts(failed=1)),
        replace(ATTEMPT, held="many"),
    ],
    ids=["good itself", "content that ran healthy", "not all read", "not all applied", "deletions held"],
)
def test_what_cannot_have_broken_it_is_not_suspect(attempt: Attempt) -> None:
    assert not suspect(attempt)


def test_without_a_good_commit_there_is_nothing_to_go_back_to() -> None:
    assert not suspect(good="")


def test_a_commit_that_takes_another_back_is_kept() -> None:
    head = Revision("r", "t", trailers=(("Reconciler-Revert", "x"),))
    assert kept_because(RULE, head, (), NOW) == "it takes another commit back itself"


def test_no_more_than_so_many_commits_an_hour_are_given_up() -> None:
    before = (BAD, replace(BAD, revision="worse"))
    assert "2 commits" in kept_because(RULE, Revision("r", "t"), before, NOW + timedelta(minutes=59))
    assert not kept_because(RULE, Revision("r", "t"), before, NOW + timedelta(minutes=60))


def test_a_quarantine_holds_its_commit_for_good_and_its_content_until_it_was_taken_back() -> None:
    assert quarantine_on(Revision("bad", "t"), "tree-of-bad", (BAD,)) == BAD
    assert quarantine_on(Revision("later", "t"), "tree-of-bad", (BAD,)) == BAD
    assert quarantine_on(Revision("later", "t"), "another", (BAD,)) is None
    closed = pushed(BAD, "revert")
    assert quarantine_on(Revision("later", "t"), "tree-of-bad", (closed,)) is None
    assert quarantine_on(Revision("bad", "t"), "tree-of-bad", (closed,)) == closed


def test_entries_are_bounded_and_survive_the_status() -> None:
    entries = tuple(replace(BAD, revision=str(n)) for n in range(QUARANTINED_MAX))
    kept = with_entry(entries, BAD)
    assert (len(kept), kept[0].revision, kept[-1]) == (QUARANTINED_MAX, "1", BAD)
    assert quarantined_of({"quarantined": [row_of(pushed(BAD, "x"))]}) == [pushed(BAD, "x")]
