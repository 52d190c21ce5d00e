"""What is known of an application between two looks at it; all of it can be rebuilt from the API."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cluster.machinery.objects import Obj, key_of, uid_of
from reconciler.apply.inventory import Inventory
from reconciler.daemon.attempt import Attempt, Failure
from reconciler.daemon.quarantine import Quarantined, quarantined_of
from reconciler.history.runs import newest_good, proven_trees, runs_of
from reconciler.model import Ref


@dataclass(slots=True)
class ApplicationState:
    """Changed by the one worker that looks at the application."""

    uid: str
    inventory: Inventory
    applied: str
    """The last revision applied completely."""
    handled: str
    """The value of the request annotation last acted on."""
    proven: set[str]
    """Contents that ran healthy once."""
    good: str = ""
    """The newest revision that ran healthy with nothing held."""
    head: str = ""
    """The newest revision when the present look began: what is applied is another one while that is under quarantine."""
    quarantined: Sequence[Quarantined] = ()
    evidence: Sequence[str] = ()
    """What was wrong with the commit given up last."""
    spared: str = ""
    """The unhealthy commit about which it was said that it stays."""
    push_at: float = 0.0
    """When a revert may be pushed again, in monotonic seconds."""
    attempt: Attempt | None = None
    recorded: bool = True
    """Whether `attempt` has its run."""
    last_run: str = ""
    synced_at: str = ""
    attempted: tuple[str, int] = ("", 0)
    """Revision and generation of the last attempt that was not cut short."""
    failures: dict[Ref, Failure] = field(default_factory=dict)
    refused: set[Ref] = field(default_factory=set)
    preempted: int = 0
    """Attempts cut short in a row."""
    described: str = ""
    """The last thing said about it, so that it is said once."""


def state_from(application: Obj, inventory: Inventory, runs: Iterable[Obj]) -> ApplicationState:
    """What the API remembers.  `runs` are those of the namespace."""
    status: Obj = application.get("status") or {}
    runs = list(runs)
    return ApplicationState(
        uid=uid_of(application),
        inventory=inventory,
        applied=str(status.get("revision", "")),
        handled=str(status.get("lastHandledRequest", "")),
        good=newest_good(runs_of(runs, key_of(application))),
        quarantined=quarantined_of(status),
        proven=set(proven_trees(runs_of(runs, key_of(application)))),
        last_run=str(status.get("lastRun", "")),
        synced_at=str(status.get("lastSyncedAt", "")),
    )
