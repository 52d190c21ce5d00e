"""Runs in the API: what a run looks like as an object, and which old ones are let go."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from typing import Any

from cluster.base.entropy import Entropy
from cluster.client.transport import Transport, WriteOptions
from cluster.machinery.errors import NotFound
from cluster.machinery.objects import Key, Obj, field_of, key_of, name_of, owner_reference_to, resource_version_of
from reconciler.crds.run import ACTIONS_MAX, ERRORS_MAX, RUNS
from reconciler.model import Done, Outcome, Run, Verb
from reconciler.projection import FIELD_MANAGER

KEPT = 50
"""Runs of one application."""

SUFFIX = 5
NAME_MAX = 200


class History:
    """Writes runs with the daemon's own rights.  Raises ApiError."""

    def __init__(self, transport: Transport, entropy: Entropy) -> None:
        self._transport = transport
        self._entropy = entropy

    async def record(self, run: Run, application: Obj) -> str:
        """Store the run; return its name."""
        name = f"{run.application.name[:NAME_MAX]}-{run_stamp(run)}-{self._entropy.suffix(SUFFIX)}"
        stored = {
            "apiVersion": RUNS.api_version,
            "kind": RUNS.kind,
            "metadata": {
                "name": name,
                "namespace": run.application.namespace,
                "ownerReferences": [owner_reference_to(application, controller=False)],
            },
            "spec": spec_of(run),
        }
        await self._transport.create(RUNS, stored, options=WriteOptions(field_manager=FIELD_MANAGER))
        return name

    async def forget_oldest(self, runs: Iterable[Obj]) -> None:
        """Delete all but the newest of `runs`, which are those of one application."""
        for run in newest_first(runs)[KEPT:]:
            try:
                await self._transport.delete(RUNS, key_of(run))
            except NotFound:
                continue


def run_stamp(run: Run) -> str:
    """`20240101-120000`, so that names sort as time does."""
    return run.finished_at.replace("-", "").replace(":", "").replace("T", "-")[:15]


def newest_first(runs: Iterable[Obj]) -> Sequence[Obj]:
    """By the second they finished in, then by the order they were stored in: they are written once and never changed."""
    return sorted(runs, key=_age, reverse=True)


def _age(run: Obj) -> tuple[str, int, str]:
    version = resource_version_of(run)
    stored = int(version) if version.isdecimal() else 0
    return str(field_of(run, "spec", "finishedAt", default="")), stored, name_of(run)


def runs_of(runs: Iterable[Obj], application: Key) -> Sequence[Obj]:
    return [
        run
        for run in runs
        if key_of(run).namespace == application.namespace
        and field_of(run, "spec", "application", default="") == application.name
    ]


def proven_trees(runs: Iterable[Obj]) -> Collection[str]:
    """The contents that ran healthy once, with nothing held back: returning to one of them is no bad news."""
    return {str(field_of(run, "spec", "tree", default="")) for run in runs if _is_good(run)} - {""}


def newest_good(runs: Iterable[Obj]) -> str:
    """The revision that ran healthy last, with nothing held back; empty when none is on record."""
    good = newest_first(run for run in runs if _is_good(run))
    return str(field_of(good[0], "spec", "revision", default="")) if good else ""


def good_before(runs: Iterable[Obj], revision: str) -> str:
    """The newest revision that ran healthy and is not `revision`, nor had its content; empty when none is on record."""
    runs = newest_first(runs)
    current = {
        field_of(run, "spec", "tree", default="") for run in runs if field_of(run, "spec", "revision") == revision
    }
    others = (
        run
        for run in runs
        if field_of(run, "spec", "revision") != revision and field_of(run, "spec", "tree", default="") not in current
    )
    return newest_good(others)


def _is_good(run: Obj) -> bool:
    held = field_of(run, "spec", "counts", "held", default=0)
    return field_of(run, "spec", "outcome") == Outcome.SUCCEEDED and not held


def spec_of(run: Run) -> dict[str, Any]:
    acted = [done for done in run.done if done.action.verb is not Verb.KEEP or done.error]
    errors = [str(problem) for problem in run.problems] + [error_of(done) for done in run.done if done.error]
    spec: dict[str, Any] = {
        "application": run.application.name,
        "revision": run.revision.id,
        "tree": run.tree,
        "author": run.revision.author,
        "subject": run.revision.subject,
        "trigger": str(run.trigger),
        "startedAt": run.started_at,
        "finishedAt": run.finished_at,
        "durationMs": run.duration_ms,
        "outcome": str(run.outcome),
        "message": run.message,
        "health": str(run.health),
        "counts": asdict(run.counts),
        "actions": [_action(done) for done in acted[:ACTIONS_MAX]],
    }
    if stages := {name: at for name, at in asdict(run.stages).items() if at}:
        spec["stages"] = stages
    if len(acted) > ACTIONS_MAX:
        spec["actionsOmitted"] = len(acted) - ACTIONS_MAX
    if errors:
        spec["errors"] = errors[:ERRORS_MAX]
    if len(errors) > ERRORS_MAX:
        spec["errorsOmitted"] = len(errors) - ERRORS_MAX
    return spec


def error_of(done: Done) -> str:
    """`FILE:LINE: OBJECT: what the server said`."""
    place = f"{done.action.manifest.origin}: " if done.action.manifest else ""
    return f"{place}{done.action.ref}: {done.error}"


def _action(done: Done) -> dict[str, str]:
    action = done.action
    row = {
        "action": str(action.verb),
        "object": str(action.ref),
        "reason": action.reason,
        "origin": str(action.manifest.origin) if action.manifest else "",
        "error": done.error,
    }
    return {name: text for name, text in row.items() if text}
