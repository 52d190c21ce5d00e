"""Pods: what a new one looks like, what may change afterwards, what clients can select by.

Upstream: pkg/registry/core/pod/strategy.go, pkg/apis/core/validation/validation.go ValidatePodUpdate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import forbidden, invalid
from cluster.machinery.objects import GroupKind, Obj, field_of, meta_of
from cluster.resources.kind import Kind, text_at
from cluster.resources.pod_columns import POD_COLUMNS
from cluster.resources.pod_defaults import default_pod
from cluster.resources.pod_validation import validate_pod_spec
from cluster.resources.qos import qos_class_of
from cluster.resources.strategy import GenericStrategy

SPEC_IMMUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


class PodStrategy(GenericStrategy):
    graceful = True
    has_status = True
    has_generation = True

    def default(self, obj: Obj) -> Obj:
        return default_pod(obj)

    def _first_status(self, obj: Obj) -> Any:
        return {"phase": "Pending", "qosClass": qos_class_of(obj["spec"])}

    def prepare_status(self, new: Obj, old: Obj) -> Obj:
        prepared = dict(super().prepare_status(new, old))
        status = prepared.get("status")
        if isinstance(status, Mapping):
            # The class follows from the spec and never changes; clients that build a status from nothing forget it.
            prepared["status"] = {**status, "qosClass": status.get("qosClass") or qos_class_of(old.get("spec") or {})}
        return prepared

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        spec = obj.get("spec") or {}
        found = list(validate_pod_spec(spec))
        if spec.get("ephemeralContainers"):
            found.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
        return tuple(found)

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        before, after = old.get("spec") or {}, new.get("spec") or {}
        if before == after:
            return ()
        return (*validate_pod_spec(after), *_changes_refused(after, before))


def _changes_refused(after: Obj, before: Obj) -> Iterator[Cause]:
    for field in ("containers", "initContainers"):
        if len(after.get(field) or ()) != len(before.get(field) or ()):
            yield forbidden(f"spec.{field}", "pod updates may not add or remove containers")
            return
    if (after.get("ephemeralContainers") or []) != (before.get("ephemeralContainers") or []):
        yield forbidden("spec.ephemeralContainers", "may only be changed through the ephemeralcontainers subresource")
        return
    deadline, deadline_before = after.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    if deadline_before is not None and deadline is None:
        yield invalid("spec.activeDeadlineSeconds", None, "must not update from a positive integer to nil value")
    elif deadline_before is not None and deadline is not None and deadline > deadline_before:
        why = f"must be less than or equal to previous value {deadline_before}"
        yield invalid("spec.activeDeadlineSeconds", deadline, why)
    gates = [gate.get("name") for gate in after.get("schedulingGates") or ()]
    gates_before = [gate.get("name") for gate in before.get("schedulingGates") or ()]
    for index, gate in enumerate(gates):
        if gate not in gates_before:
            yield forbidden(f"spec.schedulingGates[{index}]", "only deletion is allowed, but found new scheduling gate")
    kept = [_without_additions(toleration) for toleration in after.get("tolerations") or ()]
    for toleration in before.get("tolerations") or ():
        if _without_additions(toleration) not in kept:
            why = "existing toleration can not be modified except its tolerationSeconds"
            yield forbidden("spec.tolerations", why)
            break
    if _fixed(after, gated=bool(gates_before)) != _fixed(before, gated=bool(gates_before)):
        yield forbidden("spec", SPEC_IMMUTABLE)


def _without_additions(toleration: Obj) -> dict[str, Any]:
    return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}


_CHANGEABLE = frozenset({"activeDeadlineSeconds", "tolerations", "schedulingGates"})
_CHANGEABLE_WHILE_GATED = frozenset({"nodeSelector", "affinity"})


def _fixed(spec: Obj, *, gated: bool) -> dict[str, Any]:
    """The part of a spec that never changes; while a pod is gated its placement may still be narrowed."""
    skipped = _CHANGEABLE | _CHANGEABLE_WHILE_GATED if gated else _CHANGEABLE
    fixed = {key: value for key, value in spec.items() if key not in skipped and value not in (None, [], {})}
    for field in ("containers", "initContainers"):
        if field in fixed:
            fixed[field] = [{k: v for k, v in c.items() if k != "image"} for c in fixed[field]]
    grace_s = fixed.get("terminationGracePeriodSeconds")
    if grace_s is not None and grace_s < 0:
        fixed["terminationGracePeriodSeconds"] = 1
    return fixed


def prepare_ephemeral_containers(new: Obj, old: Obj) -> Obj:
    """What a write to the ephemeralcontainers endpoint stores: `old` with `new`'s metadata and ephemeral containers.

    Raises nothing: containers that would be changed or removed are reported by `validate_ephemeral_containers`.
    """
    added = field_of(new, "spec", "ephemeralContainers", default=[])
    spec = default_pod({"spec": {**old["spec"], "ephemeralContainers": added}})["spec"]
    meta = {**meta_of(new), "generation": int(meta_of(old).get("generation", 0)) + (spec != old["spec"])}
    return {**old, "metadata": meta, "spec": spec}


def validate_ephemeral_containers(new: Obj, old: Obj) -> tuple[Cause, ...]:
    """Ephemeral containers are only ever added."""
    found = list(validate_pod_spec(new["spec"]))
    path = "spec.ephemeralContainers"
    after = {c.get("name"): c for c in field_of(new, *path.split("."), default=())}
    for container in field_of(old, *path.split("."), default=()):
        name = container.get("name", "")
        if name not in after:
            found.append(forbidden(path, f'existing ephemeral containers "{name}" may not be removed\n'))
        elif after[name] != container:
            found.append(forbidden(path, f'existing ephemeral containers "{name}" may not be changed\n'))
    return tuple(found)


KINDS: Mapping[GroupKind, Kind] = {
    GroupKind("", "Pod"): Kind(
        PodStrategy(),
        POD_COLUMNS,
        {
            "spec.nodeName": text_at("spec", "nodeName"),
            "spec.restartPolicy": text_at("spec", "restartPolicy"),
            "spec.schedulerName": text_at("spec", "schedulerName"),
            "spec.serviceAccountName": text_at("spec", "serviceAccountName"),
            "spec.hostNetwork": text_at("spec", "hostNetwork", default="false"),
            "status.phase": text_at("status", "phase"),
            "status.podIP": text_at("status", "podIP"),
            "status.nominatedNodeName": text_at("status", "nominatedNodeName"),
        },
    ),
}
