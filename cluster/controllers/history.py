"""ControllerRevisions: the templates that a StatefulSet or DaemonSet had, numbered, so that clients can go back to one.

Pure.  A revision's data is the patch that brings its template back; `kubectl rollout undo` sends it as it is.  A template
that returns keeps its revision, under a new number.  Upstream: pkg/controller/history/controller_history.go.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.client.writes import Create, Delete, Update, Write
from cluster.controllers.deployment_revisions import copied_annotations, template_hash
from cluster.machinery.objects import (
    Obj,
    field_of,
    is_deleting,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    owner_reference_to,
    uid_of,
)
from cluster.resources.builtin import CONTROLLER_REVISIONS

POD_REVISION = "controller-revision-hash"
"""The label by which a pod says which revision it was made from."""


@dataclass(frozen=True, slots=True)
class History:
    """`update` is the revision of the present template, None until `write` has made it so or given it its number."""

    update: Obj | None
    write: Write | None


def plan_history(owner: Obj, revisions: Sequence[Obj], *, hash_label: str) -> History:
    """The revision of `owner`'s template among `revisions` (all its own), as the newest of them.

    `hash_label` is where the revision notes the hash in its name.
    """
    data = revision_data(owner)
    kept = sorted(revisions, key=lambda revision: (number_of(revision), name_of(revision)))
    same = [revision for revision in kept if revision.get("data") == data]
    if not same:
        number = 1 + max(map(number_of, kept), default=0)
        return History(None, Create(CONTROLLER_REVISIONS, _revision(owner, data, number, hash_label)))
    newest = same[-1]
    highest = max((number_of(revision) for revision in kept if revision is not newest), default=0)
    if number_of(newest) > highest:
        return History(newest, None)
    return History(None, Update(CONTROLLER_REVISIONS, {**newest, "revision": highest + 1}))


def plan_truncation(owner: Obj, revisions: Sequence[Obj], *, live: Collection[str]) -> tuple[Write, ...]:
    """Deletions of the oldest revisions beyond `revisionHistoryLimit`; those named in `live` neither count nor go."""
    limit = int(field_of(owner, "spec", "revisionHistoryLimit", default=10))
    past = sorted(
        (revision for revision in revisions if name_of(revision) not in live and not is_deleting(revision)),
        key=lambda revision: (number_of(revision), name_of(revision)),
    )
    return tuple(
        Delete(CONTROLLER_REVISIONS, key_of(revision), uid=uid_of(revision))
        for revision in past[: max(0, len(past) - limit)]
    )


def revision_data(owner: Obj) -> dict[str, Any]:
    """The strategic merge patch that gives `owner` its present template back."""
    return {"spec": {"template": {**owner["spec"]["template"], "$patch": "replace"}}}


def with_template_of(owner: Obj, revision: Obj) -> Obj:
    """`owner` as it was when its template was the revision's."""
    template = {name: value for name, value in revision["data"]["spec"]["template"].items() if name != "$patch"}
    return {**owner, "spec": {**owner["spec"], "template": template}}


def number_of(revision: Obj) -> int:
    return int(revision.get("revision", 0))


def is_same_revision(present: Obj, wanted: Obj) -> bool:
    """`present` is the one that was to be created: the cache was behind, or an answer was lost."""
    return bool(present.get("data") == wanted.get("data"))


def _revision(owner: Obj, data: Obj, number: int, hash_label: str) -> dict[str, Any]:
    template = owner["spec"]["template"]
    hash_ = template_hash(template, int(field_of(owner, "status", "collisionCount", default=0)))
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": f"{name_of(owner)}-{hash_}",
            "namespace": namespace_of(owner),
            "labels": {**labels_of(template), hash_label: hash_},
            "annotations": copied_annotations(owner),
            "ownerReferences": [owner_reference_to(owner)],
        },
        "data": data,
        "revision": number,
    }
