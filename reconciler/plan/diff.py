"""Has somebody changed what we declared?  Compare the declared fields only, as the server holds them.

A field we never set is never drift.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cluster.machinery.objects import Obj, annotations_of, is_deleting, meta_of, uid_of
from reconciler.projection import FIELD_MANAGER, projection_of

PRUNE_ANNOTATION = "gitops.reconciler.io/prune"


@dataclass(frozen=True, slots=True)
class Live:
    """What a plan needs to know of an existing object.  `projection` is empty when nothing is declared for it."""

    uid: str
    projection: str = ""
    deleting: bool = False
    managed: bool = False  # our field manager wrote to it once
    keep: bool = False  # annotated never to be pruned
    writer: str = ""  # the client that wrote to it last, other than us and other than to its status


WRITER_MAX_CHARS = 100


def live_of(obj: Obj, declared: Obj | None) -> Live:
    entries: Sequence[Obj] = meta_of(obj).get("managedFields") or ()
    return Live(
        uid=uid_of(obj),
        projection=projection_of(declared, obj) if declared is not None else "",
        deleting=is_deleting(obj),
        managed=any(entry.get("manager") == FIELD_MANAGER for entry in entries),
        keep=annotations_of(obj).get(PRUNE_ANNOTATION) == "disabled",
        writer=_writer(entries),
    )


def _writer(entries: Sequence[Obj]) -> str:
    """The manager of the newest entry that is somebody else's; what its controllers report in the status is no change."""
    others = [
        (str(entry.get("time", "")), str(entry.get("manager", "")))
        for entry in entries
        if entry.get("manager") != FIELD_MANAGER and not entry.get("subresource")
    ]
    return max(others)[1][:WRITER_MAX_CHARS] if others else ""
