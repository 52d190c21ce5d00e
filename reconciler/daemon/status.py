"""What users see of an application: its status from what is known.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cluster.machinery.conditions import make_condition, set_conditions
from cluster.machinery.objects import Obj, generation_of
from reconciler.daemon.quarantine import Quarantined, row_of
from reconciler.model import Counts, Health, HealthStatus, Revision, Sync

UNKNOWN = HealthStatus(Health.UNKNOWN)

DRIFTED_MAX = 100
PROBLEMS_MAX = 50
MESSAGE_MAX_CHARS = 2000


@dataclass(frozen=True, slots=True)
class View:
    """The state of an application at one moment.

    `applied`: everything of `revision` is in the cluster.  `reason` and `message` explain why it is not ready; both empty
    mean that it is.  `stalled`: only a change by people helps.
    """

    sync: Sync
    health: HealthStatus
    revision: Revision | None = None
    applied: bool = False
    reason: str = ""
    message: str = ""
    reconciling: bool = False
    stalled: bool = False
    counts: Counts | None = None
    drifted: Sequence[str] = ()
    problems: Sequence[str] = ()
    last_run: str = ""
    synced_at: str = ""
    handled_request: str = ""
    quarantined: Sequence[Quarantined] = ()


def status_of(application: Obj, view: View, now: str) -> dict[str, Any]:
    """The whole status; equal to the present one when there is nothing new to say."""
    old: Obj = application.get("status") or {}
    generation = generation_of(application)
    ready = not view.reason and view.health.health in (Health.HEALTHY, Health.SUSPENDED)
    reason = view.reason or ("Healthy" if ready else str(view.health.health))
    message = (view.message or view.health.message or _ready_message(view))[:MESSAGE_MAX_CHARS]
    changes = [
        make_condition("Ready", ready, reason, message, observed_generation=generation),
        make_condition("Reconciling", view.reconciling, reason, message, observed_generation=generation),
        make_condition("Stalled", view.stalled, reason, message, observed_generation=generation),
    ]
    old_conditions: Sequence[Obj] = old.get("conditions") or ()
    status: dict[str, Any] = {
        **old,
        "observedGeneration": generation,
        "sync": str(view.sync),
        "health": str(view.health.health),
        "healthMessage": view.health.message,
        "drifted": list(view.drifted[:DRIFTED_MAX]),
        "problems": [problem[:MESSAGE_MAX_CHARS] for problem in view.problems[:PROBLEMS_MAX]],
        "problemsOmitted": max(len(view.problems) - PROBLEMS_MAX, 0),
        "conditions": list(set_conditions(old_conditions, changes, now)),
    }
    if view.revision is not None:
        status["lastAttempted"] = view.revision.id
        if view.applied:
            status |= {
                "revision": view.revision.id,
                "author": view.revision.author,
                "subject": view.revision.subject,
            }
    if view.counts is not None:
        status["counts"] = asdict(view.counts)
    if view.quarantined:
        status["quarantined"] = [row_of(entry) for entry in view.quarantined]
    for name, text in (
        ("lastRun", view.last_run),
        ("lastSyncedAt", view.synced_at),
        ("lastHandledRequest", view.handled_request),
    ):
        if text:
            status[name] = text
    return status


def _ready_message(view: View) -> str:
    return f"synced to {view.revision.short}: {view.revision.subject}" if view.revision else ""
