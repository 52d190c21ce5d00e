"""The ReplicaSets of a Deployment as its revisions: which is the new one, how they are named, numbered and annotated.

Pure.  A rollback needs no machinery of its own: an older template is found again, and its ReplicaSet becomes the new one
under a new number.  Upstream: pkg/controller/deployment/util/deployment_util.go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import orjson

from cluster.base.entropy import SUFFIX_ALPHABET
from cluster.machinery.numbers import whole_number
from cluster.machinery.objects import (
    Obj,
    annotations_of,
    field_of,
    labels_of,
    meta_of,
    name_of,
    namespace_of,
    owner_reference_to,
    with_field,
    without_field,
)

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAX = "deployment.kubernetes.io/max-replicas"
NOT_COPIED = frozenset(
    {"kubectl.kubernetes.io/last-applied-configuration", REVISION, REVISION_HISTORY, DESIRED, MAX,
     "deprecated.deployment.rollback.to"}
)  # fmt: skip
HISTORY_MAX_CHARS = 2000


def template_hash(template: Obj, collision_count: int) -> str:
    """Ten safe characters that differ for different templates; `collision_count` gives another try at a free name."""
    digest = hashlib.blake2b(
        orjson.dumps([template, collision_count], option=orjson.OPT_SORT_KEYS), digest_size=10
    ).digest()
    return "".join(SUFFIX_ALPHABET[byte % len(SUFFIX_ALPHABET)] for byte in digest)


def by_creation(replica_sets: Sequence[Obj]) -> list[Obj]:
    """Oldest first; names decide between equals."""
    return sorted(replica_sets, key=lambda rs: (str(meta_of(rs).get("creationTimestamp", "")), name_of(rs)))


def new_replica_set(deployment: Obj, replica_sets: Sequence[Obj]) -> Obj | None:
    """The oldest one whose template is the Deployment's, the hash label aside."""
    wanted = _comparable(deployment["spec"]["template"])
    return next((rs for rs in by_creation(replica_sets) if _comparable(rs["spec"]["template"]) == wanted), None)


def old_replica_sets(replica_sets: Sequence[Obj], new: Obj | None) -> list[Obj]:
    return [rs for rs in by_creation(replica_sets) if rs is not new]


def revision_number(obj: Obj) -> int:
    """The number in its revision annotation; 0 without a usable one."""
    return whole_number(annotations_of(obj).get(REVISION, "")) or 0


def next_revision(old: Sequence[Obj]) -> int:
    return max((revision_number(rs) for rs in old), default=0) + 1


def make_replica_set(deployment: Obj, *, replicas: int, max_replicas: int, revision: int) -> dict[str, Any]:
    """The ReplicaSet for the Deployment's present template."""
    spec = deployment["spec"]
    hash_ = template_hash(spec["template"], int(field_of(deployment, "status", "collisionCount", default=0)))
    template = with_field(spec["template"], ["metadata", "labels"], {**labels_of(spec["template"]), HASH_LABEL: hash_})
    selector = with_field(
        spec["selector"], ["matchLabels"], {**(spec["selector"].get("matchLabels") or {}), HASH_LABEL: hash_}
    )
    annotations = copied_annotations(deployment) | {
        REVISION: str(revision),
        DESIRED: str(desired_replicas(deployment)),
        MAX: str(max_replicas),
    }
    rs_spec: dict[str, Any] = {"replicas": replicas, "selector": selector, "template": template}
    if spec.get("minReadySeconds"):
        rs_spec["minReadySeconds"] = spec["minReadySeconds"]
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{name_of(deployment)}-{hash_}",
            "namespace": namespace_of(deployment),
            "labels": labels_of(template),
            "annotations": annotations,
            "ownerReferences": [owner_reference_to(deployment)],
        },
        "spec": rs_spec,
    }


def as_new_revision(deployment: Obj, rs: Obj, revision: int) -> Obj:
    """`rs` as the new ReplicaSet: annotations copied, number raised and the former one kept in its history.

    `rs` itself when it is so already.
    """
    annotations = {**annotations_of(rs), **copied_annotations(deployment)}
    former = revision_number(rs)
    if former < revision:
        annotations[REVISION] = str(revision)
        if former:
            history = annotations.get(REVISION_HISTORY, "")
            history = f"{history},{former}" if history else str(former)
            annotations[REVISION_HISTORY] = history[-HISTORY_MAX_CHARS:]
    updated: Obj = rs
    if annotations != annotations_of(rs):
        updated = with_field(updated, ["metadata", "annotations"], annotations)
    min_ready_s = field_of(deployment, "spec", "minReadySeconds", default=0)
    if field_of(rs, "spec", "minReadySeconds", default=0) != min_ready_s:
        updated = with_field(updated, ["spec", "minReadySeconds"], min_ready_s)
    return updated


def copied_annotations(deployment: Obj) -> dict[str, str]:
    return {name: text for name, text in annotations_of(deployment).items() if name not in NOT_COPIED}


def desired_replicas(deployment: Obj) -> int:
    return int(field_of(deployment, "spec", "replicas", default=1))


def surplus_history(deployment: Obj, old: Sequence[Obj]) -> list[Obj]:
    """Old ReplicaSets beyond `revisionHistoryLimit`, lowest numbers first: empty, settled ones that may be deleted."""
    limit = int(field_of(deployment, "spec", "revisionHistoryLimit", default=10))
    kept = [rs for rs in old if not meta_of(rs).get("deletionTimestamp")]
    surplus = max(0, len(kept) - limit)
    numbered = sorted(kept, key=lambda rs: (revision_number(rs), name_of(rs)))
    return [rs for rs in numbered[:surplus] if _is_empty(rs)]


def _is_empty(rs: Obj) -> bool:
    observed = int(field_of(rs, "status", "observedGeneration", default=0))
    return (
        not field_of(rs, "status", "replicas", default=0)
        and not field_of(rs, "spec", "replicas", default=1)
        and observed >= int(meta_of(rs).get("generation", 0))
    )


def _comparable(template: Obj) -> Obj:
    """The template as it says what to run: without the hash label, empty and absent metadata alike."""
    bare = without_field(template, ["metadata", "labels", HASH_LABEL])
    meta = {name: value for name, value in meta_of(bare).items() if value}
    return {**bare, "metadata": meta}
