"""Commits that did not become healthy: which are given up, what is applied in their place.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from cluster.machinery.objects import Obj, field_of
from cluster.machinery.timestamps import parse_time
from reconciler.crds.application import QUARANTINED_MAX
from reconciler.daemon.attempt import Attempt
from reconciler.model import Health, HealthStatus, Outcome, Revision
from reconciler.source.going_back import REVERT_TRAILER

RATE_WINDOW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class AutoRevert:
    """What an application allows: whether to push, also over merges, and how many commits an hour may be given up."""

    push: bool
    merges: bool
    max_per_hour: int


@dataclass(frozen=True, slots=True)
class Quarantined:
    """`revision`, whose path had the content `tree`, is not applied; `good` is.  Written as a row of the status."""

    revision: str
    tree: str
    good: str
    at: str
    reason: str
    reverted_by: str = ""
    not_pushed: str = ""

    @property
    def is_open(self) -> bool:
        """No commit takes it back yet: other commits on top of it bring its content along."""
        return not self.reverted_by


def auto_revert_of(application: Obj) -> AutoRevert | None:
    """None when the application does not ask for it."""
    spec = field_of(application, "spec", "autoRevert", default=None)
    if not isinstance(spec, Mapping):
        return None
    return AutoRevert(
        push=bool(spec.get("push", True)),
        merges=bool(spec.get("merges", False)),
        max_per_hour=int(spec.get("maxPerHour", 3)),
    )


def is_suspect(
    attempt: Attempt, outcome: Outcome | None, health: HealthStatus, *, good: str, good_trees: Collection[str]
) -> bool:
    """Did this commit break the application?  It brought other content than what ran healthy, all of it was applied,
    and now it is degraded or did not become healthy in time."""
    if not good or attempt.revision.id == good or attempt.tree in good_trees or not attempt.is_clean or attempt.held:
        return False
    return outcome is Outcome.APPLIED or health.health is Health.DEGRADED


def kept_because(rule: AutoRevert, head: Revision, before: Sequence[Quarantined], now: datetime) -> str:
    """Why the commit is not given up though it is unhealthy; empty when it may be."""
    if any(name == REVERT_TRAILER for name, _ in head.trailers):
        return "it takes another commit back itself"
    recent = [each for each in before if now - parse_time(each.at) < RATE_WINDOW]
    if len(recent) >= rule.max_per_hour:
        return f"{len(recent)} commits were given up within an hour already"
    return ""


def quarantine_on(revision: Revision, tree: str, before: Sequence[Quarantined]) -> Quarantined | None:
    """Why `revision`, whose path has the content `tree`, is not applied; None when it is.

    The same content in another commit is given up with it until a commit took it back: whoever brings it once more
    after that means it.
    """
    for each in reversed(before):
        if each.revision == revision.id or (each.is_open and each.tree == tree):
            return each
    return None


def with_entry(before: Sequence[Quarantined], entry: Quarantined) -> Sequence[Quarantined]:
    """`entry` added, or in place of the earlier one of its revision; the oldest beyond QUARANTINED_MAX are let go."""
    others = [each for each in before if each.revision != entry.revision]
    return (*others, entry)[-QUARANTINED_MAX:]


def quarantined_of(status: Obj) -> Sequence[Quarantined]:
    rows: Sequence[Obj] = status.get("quarantined") or ()
    return [
        Quarantined(
            revision=str(row.get("revision", "")),
            tree=str(row.get("tree", "")),
            good=str(row.get("good", "")),
            at=str(row.get("at", "")),
            reason=str(row.get("reason", "")),
            reverted_by=str(row.get("revertedBy", "")),
            not_pushed=str(row.get("notPushed", "")),
        )
        for row in rows
    ]


def row_of(entry: Quarantined) -> dict[str, Any]:
    row = {
        "revision": entry.revision,
        "tree": entry.tree,
        "good": entry.good,
        "at": entry.at,
        "reason": entry.reason,
        "revertedBy": entry.reverted_by,
        "notPushed": entry.not_pushed,
    }
    return {name: text for name, text in row.items() if text}


def pushed(entry: Quarantined, commit: str) -> Quarantined:
    return replace(entry, reverted_by=commit, not_pushed="")


def not_pushed(entry: Quarantined, why: str) -> Quarantined:
    return replace(entry, not_pushed=why)


def described(entry: Quarantined) -> str:
    """One line for people."""
    what = f"commit {entry.revision[:8]} did not become healthy ({entry.reason}); {entry.good[:8]} is applied instead"
    if entry.reverted_by:
        return f"{what}; {entry.reverted_by[:8]} takes it back"
    return f"{what}; no commit was pushed: {entry.not_pushed}" if entry.not_pushed else what
