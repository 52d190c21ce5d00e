"""The identity of a StatefulSet's pods: their ordinals, names, labels, host names and claims.

Pure.  Upstream: pkg/controller/statefulset/stateful_set_utils.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cluster.client.writes import Create, Update, Write
from cluster.controllers.history import POD_REVISION, with_template_of
from cluster.controllers.pods import pod_from_template
from cluster.machinery.numbers import whole_number
from cluster.machinery.objects import (
    Key,
    Obj,
    field_of,
    is_deleting,
    labels_of,
    meta_of,
    name_of,
    namespace_of,
    owner_references_of,
    uid_of,
)
from cluster.resources.builtin import PERSISTENT_VOLUME_CLAIMS

POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"


def ordinal_of(stateful: Obj, name: str) -> int | None:
    """The number at the end of a pod's name; None for a name that no pod of `stateful` has."""
    prefix, dash, digits = name.rpartition("-")
    number = whole_number(digits) if dash and prefix == name_of(stateful) else None
    return None if number is None or str(number) != digits else number


def first_ordinal(stateful: Obj) -> int:
    return int(field_of(stateful, "spec", "ordinals", "start", default=0))


def wanted_ordinals(stateful: Obj) -> range:
    start = first_ordinal(stateful)
    return range(start, start + int(field_of(stateful, "spec", "replicas", default=1)))


def revision_of(pod: Obj) -> str:
    return labels_of(pod).get(POD_REVISION, "")


def pod_of(stateful: Obj, revision: Obj, ordinal: int) -> dict[str, Any]:
    """The pod with that ordinal, from the template that `revision` keeps."""
    name = f"{name_of(stateful)}-{ordinal}"
    pod = pod_from_template(with_template_of(stateful, revision))
    labels = {**labels_of(pod), POD_NAME: name, POD_INDEX: str(ordinal), POD_REVISION: name_of(revision)}
    pod["metadata"] = {**pod["metadata"], "name": name, "labels": labels}
    spec = {**pod["spec"], "hostname": name}
    if service := field_of(stateful, "spec", "serviceName", default=""):
        spec["subdomain"] = service
    if templates := _templates(stateful):
        claimed = {
            template["metadata"]["name"]: {"claimName": _claim_name(stateful, template, ordinal)}
            for template in templates
        }
        others = [volume for volume in spec.get("volumes") or () if volume.get("name") not in claimed]
        spec["volumes"] = [
            *({"name": volume, "persistentVolumeClaim": source} for volume, source in sorted(claimed.items())),
            *others,
        ]
    return {**pod, "spec": spec}


def claims_of(stateful: Obj, ordinal: int) -> list[dict[str, Any]]:
    """The claims that the pod with that ordinal mounts."""
    made: list[dict[str, Any]] = []
    for template in _templates(stateful):
        labels = {**labels_of(template), **(field_of(stateful, "spec", "selector", "matchLabels", default={}))}
        metadata: dict[str, Any] = {
            "name": _claim_name(stateful, template, ordinal),
            "namespace": namespace_of(stateful),
            "labels": labels,
        }
        if annotations := meta_of(template).get("annotations"):
            metadata["annotations"] = annotations
        if references := _wanted_owners(stateful, None, leaves=False):
            metadata["ownerReferences"] = references
        made.append({**template, "metadata": metadata, "status": {}})
    return made


def plan_missing_claims(stateful: Obj, ordinal: int, claims: Mapping[Key, Obj]) -> tuple[Write, ...]:
    """Creations of the ordinal's claims that `claims` does not have."""
    namespace = namespace_of(stateful)
    return tuple(
        Create(PERSISTENT_VOLUME_CLAIMS, claim, exists_ok=True)
        for claim in claims_of(stateful, ordinal)
        if Key(namespace, name_of(claim)) not in claims
    )


def plan_retention(
    stateful: Obj, pod: Obj, ordinal: int, claims: Mapping[Key, Obj], *, leaves: bool
) -> tuple[Write, ...]:
    """Updates of the pod's claims so that they go with their owner as the retention policy says.

    `leaves` is a pod that is scaled away.  A claim that something else controls is let be.
    """
    writes: list[Write] = []
    wanted = _wanted_owners(stateful, pod, leaves=leaves)
    for template in _templates(stateful):
        claim = claims.get(Key(namespace_of(stateful), _claim_name(stateful, template, ordinal)))
        if claim is None or is_deleting(claim):
            continue
        present = owner_references_of(claim)
        others = [reference for reference in present if not _is_ours(reference, stateful, pod)]
        if any(reference.get("controller") for reference in others) or list(present) == [*others, *wanted]:
            continue
        metadata = {**meta_of(claim), "ownerReferences": [*others, *wanted]}
        writes.append(Update(PERSISTENT_VOLUME_CLAIMS, {**claim, "metadata": metadata}))
    return tuple(writes)


def is_waiting_for_claims(stateful: Obj, ordinal: int, claims: Mapping[Key, Obj]) -> bool:
    """A claim of that name is still there but on its way out, with the pod that was scaled away before."""
    return any(
        (claim := claims.get(Key(namespace_of(stateful), _claim_name(stateful, template, ordinal)))) is not None
        and (is_deleting(claim) or any(reference.get("kind") == "Pod" for reference in owner_references_of(claim)))
        for template in _templates(stateful)
    )


def _templates(stateful: Obj) -> Sequence[Obj]:
    found: Sequence[Obj] = field_of(stateful, "spec", "volumeClaimTemplates", default=())
    return found


def _claim_name(stateful: Obj, template: Obj, ordinal: int) -> str:
    return f"{name_of(template)}-{name_of(stateful)}-{ordinal}"


def _wanted_owners(stateful: Obj, pod: Obj | None, *, leaves: bool) -> list[dict[str, Any]]:
    policy = field_of(stateful, "spec", "persistentVolumeClaimRetentionPolicy", default={})
    if leaves and pod is not None and policy.get("whenScaled") == "Delete":
        return [_owner(pod, "v1", "Pod")]
    # Scaled away and kept, or in use: the claim goes with the set, if it goes at all.
    if policy.get("whenDeleted") == "Delete" and not (leaves and policy.get("whenScaled") == "Delete"):
        return [_owner(stateful, "apps/v1", "StatefulSet")]
    return []


def _owner(obj: Obj, api_version: str, kind: str) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "name": name_of(obj), "uid": uid_of(obj), "controller": True}


def _is_ours(reference: Obj, stateful: Obj, pod: Obj) -> bool:
    named = (reference.get("kind"), reference.get("name"))
    return named in (("StatefulSet", name_of(stateful)), ("Pod", name_of(pod)))
