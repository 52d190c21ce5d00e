"""What is known of an application between two looks at it; all of it can be rebuilt from the API."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cluster.machinery.objects import Obj, key_of, uid_of
from reconciler.apply.inventory import Inventory
from reconciler.daemon.attempt import Attempt, Failure
from reconciler.history.runs import proven_trees, runs_of
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
    return ApplicationState(
        uid=uid_of(application),
        inventory=inventory,
        applied=str(status.get("revision", "")),
        handled=str(status.get("lastHandledRequest", "")),
        proven=set(proven_trees(runs_of(runs, key_of(application)))),
        last_run=str(status.get("lastRun", "")),
        synced_at=str(status.get("lastSyncedAt", "")),
    )
