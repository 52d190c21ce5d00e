"""An attempt to synchronise an application, from its start until its run can be recorded, and what failed in it.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.model import (
    Action,
    Counts,
    Done,
    Health,
    HealthStatus,
    Origin,
    Outcome,
    Problem,
    Ref,
    Revision,
    Stages,
    Trigger,
    Verb,
)

RETRY_BASE_S = 2.0
RETRY_MAX_S = 120.0

_NOWHERE = Origin("", 0)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What was done for `revision`; instants are monotonic seconds except the texts."""

    revision: Revision
    trigger: Trigger
    tree: str
    started: float
    started_at: str
    deadline: float
    done: Sequence[Done]
    problems: Sequence[Problem]
    counts: Counts
    held: str
    stages: Stages = field(default_factory=Stages)

    @property
    def is_clean(self) -> bool:
        """Everything declared could be applied."""
        return not self.problems and not self.counts.failed and not self.counts.refused

    @property
    def proves_tree(self) -> bool:
        """Nothing beyond what the tree declares was left in place: with deletions held back it was not run alone."""
        return not self.counts.held

    @property
    def faults(self) -> Sequence[str]:
        """All that is wrong, in the order of files and lines, what has no place last."""
        placed = [(problem.origin, str(problem)) for problem in self.problems]
        for done in self.done:
            if done.error or done.action.verb is Verb.REFUSE:
                origin = done.action.manifest.origin if done.action.manifest else None
                place = f"{origin}: " if origin else ""
                placed.append((origin, f"{place}{done.action.ref}: {done.error or done.action.reason}"))
        return [text for _, text in sorted(placed, key=lambda each: (each[0] is None, each[0] or _NOWHERE, each[1]))]

    def outcome(self, health: HealthStatus, now: float) -> Outcome | None:
        """How it ended; None while health may still come."""
        if not self.is_clean:
            some = self.counts.created + self.counts.updated + self.counts.kept + self.counts.pruned
            return Outcome.PARTIAL if some else Outcome.FAILED
        if health.health in (Health.HEALTHY, Health.SUSPENDED):
            return Outcome.SUCCEEDED
        return Outcome.APPLIED if now >= self.deadline else None

    def message(self, health: HealthStatus) -> str:
        """One line for people: the first thing that is wrong, else what was done."""
        if faults := self.faults:
            more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            return f"{faults[0]}{more}"
        if self.held:
            return f"deletions are held back: {self.held}"
        held = next((done for done in self.done if done.action.verb is Verb.HOLD), None)
        if held is not None:
            return f"{held.action.ref}: {held.action.reason}"
        return health.message


@dataclass(frozen=True, slots=True)
class Failure:
    """An object the server refused, and why: the same manifest is not tried again before `retry_at`."""

    digest: str
    tries: int
    retry_at: float
    error: str = ""


def due(changes: Sequence[Action], failures: Mapping[Ref, Failure], now: float) -> Sequence[Action]:
    """The changes that may be tried now."""
    return [action for action in changes if not _is_waiting(action, failures.get(action.ref), now)]


def _is_waiting(action: Action, failure: Failure | None, now: float) -> bool:
    return failure is not None and failure.digest == _digest_of(action) and now < failure.retry_at


def failures_after(done: Sequence[Done], before: Mapping[Ref, Failure], now: float) -> dict[Ref, Failure]:
    """What failed and when it is due again: 2 s doubling to 2 minutes, per object."""
    after = dict(before)
    for each in done:
        ref = each.action.ref
        if not each.error:
            after.pop(ref, None)
            continue
        digest = _digest_of(each.action)
        known = after.get(ref)
        tries = known.tries + 1 if known is not None and known.digest == digest else 1
        delay_s = min(RETRY_BASE_S * 2 ** min(tries - 1, 16), RETRY_MAX_S)
        after[ref] = Failure(digest, tries, now + delay_s, each.error)
    return after


def _digest_of(action: Action) -> str:
    return action.manifest.digest if action.manifest else ""
