"""Which application owns an object, and which run last changed it: read from inventories and runs.  Pure.

An inventory says who owns; a run says what was done and where that is written.  Runs are bounded, so an old change may
have none any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cluster.machinery.objects import Key, Obj, field_of, namespace_of
from reconciler.history.runs import newest_first
from reconciler.model import Outcome, Ref, Verb

_CHANGES = frozenset({str(Verb.CREATE), str(Verb.UPDATE)})
_COMPLETE = frozenset({str(Outcome.SUCCEEDED), str(Outcome.APPLIED)})


def owner_in(inventories: Iterable[Obj], ref: Ref) -> Key | None:
    """The application whose inventory lists `ref`; None when no application owns it."""
    wanted = {"kind": ref.kind, "namespace": ref.namespace, "name": ref.name, "group": ref.group}
    for chunk in inventories:
        for entry in chunk.get("entries") or ():
            if all(entry.get(field, "") == text for field, text in wanted.items()):
                return Key(namespace_of(chunk), str(chunk.get("application", "")))
    return None


def changes_of(runs: Iterable[Obj], ref: Ref) -> Sequence[Obj]:
    """The runs that created or changed the object, newest first."""
    return [run for run in newest_first(runs) if change_in(run, ref)]


def change_in(run: Obj, ref: Ref) -> Obj:
    """What the run did to the object, with its reason and FILE:LINE; empty when it did not change it."""
    actions: Sequence[Obj] = field_of(run, "spec", "actions", default=())
    for action in actions:
        if action.get("object") == str(ref) and action.get("action") in _CHANGES and not action.get("error"):
            return action
    return {}


def revision_held(runs: Iterable[Obj], ref: Ref, applied: str) -> str:
    """The newest revision that the object is known to be at; `applied` is the application's own, for want of a run."""
    for run in newest_first(runs):
        spec: Obj = run["spec"]
        if change_in(run, ref) or (spec.get("revision") == applied and spec.get("outcome") in _COMPLETE):
            return str(spec.get("revision", ""))
    return applied
