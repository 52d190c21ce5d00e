"""Deleting one object: preconditions, grace, finalizers, propagation.  What is left to do is left to the collectors.

Upstream: apiserver/pkg/registry/rest/delete.go, registry/generic/registry/store.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from cluster.apiserver.call import Call, ObjResult, Result, RowResult, WriteParameters, dry_run_of
from cluster.apiserver.decoding import body_as
from cluster.apiserver.registry import CAS_TRIES_MAX, DELETION, MODIFIED, Registry, is_finished, uid_conflict
from cluster.apiserver.routes import is_true
from cluster.apiserver.state import Row
from cluster.base.clock import Clock
from cluster.machinery.errors import BadRequest, Cause, conflict, invalid_object
from cluster.machinery.numbers import whole_number
from cluster.machinery.objects import Key, Obj, is_deleting, meta_of
from cluster.machinery.resource import Resource
from cluster.store import api as store_api

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
DELETE_OPTIONS = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
POLICIES = ("Foreground", "Background", "Orphan")
GRACE_DEFAULT_S = 30

_ANSWERED_WITH_THE_OBJECT = frozenset(("Pod", "Service", "ServiceAccount", "Namespace", "PersistentVolumeClaim"))


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a DELETE asks for: metav1.DeleteOptions.  None or empty leaves the choice to the kind."""

    grace_s: int | None = None
    policy: str = ""
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False


def deletion_of(call: Call) -> Deletion:
    """From the body or, where that is silent, the query.  Raises BadRequest and Invalid."""
    body = body_as(call, DELETE_OPTIONS)
    request = call.request
    grace: Any = body.get("gracePeriodSeconds")
    if grace is None and (text := request.parameter("gracePeriodSeconds")):
        if (seconds := whole_number(text.removeprefix("-"))) is None:
            raise BadRequest(f'gracePeriodSeconds: Invalid value: "{text}"')
        grace = -seconds if text.startswith("-") else seconds
    policy = body.get("propagationPolicy") or request.parameter("propagationPolicy")
    orphans = body.get("orphanDependents")
    if orphans is None and (text := request.parameter("orphanDependents")):
        orphans = is_true(text)
    if orphans is not None and policy:
        why = "orphanDependents and deletionPropagation cannot be both set"
        cause = Cause("FieldValueInvalid", f'Invalid value: "{policy}": {why}', "propagationPolicy")
        raise invalid_object("meta.k8s.io", "DeleteOptions", "", [cause])
    if orphans is not None:
        policy = "Orphan" if orphans else "Background"
    if policy and policy not in POLICIES:
        listed = ", ".join(f'"{choice}"' for choice in POLICIES)
        cause = Cause(
            "FieldValueNotSupported", f'Unsupported value: "{policy}": supported values: {listed}', "propagationPolicy"
        )
        raise invalid_object("meta.k8s.io", "DeleteOptions", "", [cause])
    preconditions: Mapping[str, Any] = body.get("preconditions") or {}
    dry_run = [*(body.get("dryRun") or ()), *request.query.get("dryRun", ())]
    return Deletion(
        grace_s=None if grace is None else max(grace, 0) if grace >= 0 else 1,
        policy=policy,
        uid=preconditions.get("uid") or "",
        resource_version=preconditions.get("resourceVersion") or "",
        dry_run=dry_run_of(dry_run, "DeleteOptions"),
    )


async def delete_object(registry: Registry, clock: Clock, call: Call, key: Key, deletion: Deletion) -> Result:
    """Remove the object now, or mark it and let its finalizers or its grace period end it."""
    descriptor = call.descriptor
    resource = descriptor.resource
    parameters = WriteParameters("", deletion.dry_run, "Ignore", False)
    for _ in range(CAS_TRIES_MAX):
        row = await registry.read(descriptor, key)
        old = registry.obj(descriptor, row)
        _check_preconditions(call, row, deletion)
        await registry.admit_deletion(call, key, old, dry_run=deletion.dry_run)
        marked = _marked(call, old, deletion, clock)
        if marked is old:
            return RowResult(row)
        if is_finished(marked, descriptor):
            if not deletion.dry_run:
                try:
                    await registry.remove(call, row, old)
                except store_api.Conflict as error:
                    await registry.state.reached(error.actual)
                    continue
            return (
                ObjResult(marked) if resource.kind in _ANSWERED_WITH_THE_OBJECT else ObjResult(success(row, resource))
            )
        return await registry.update(
            call,
            key,
            lambda current: _marked(call, current, deletion, clock),
            parameters,
            DELETION,
            uid=deletion.uid,
            version=deletion.resource_version,
        )
    raise conflict(resource.group, resource.plural, key.name, MODIFIED)


def _check_preconditions(call: Call, row: Row, deletion: Deletion) -> None:
    resource = call.descriptor.resource
    if deletion.uid and deletion.uid != row.uid:
        raise uid_conflict(call.descriptor, row.key, deletion.uid, row.uid)
    if deletion.resource_version and deletion.resource_version != str(row.revision):
        why = (
            f"Precondition failed: ResourceVersion in precondition: {deletion.resource_version}, "
            f"ResourceVersion in object meta: {row.revision}"
        )
        raise conflict(resource.group, resource.plural, row.key.name, why)


def _marked(call: Call, old: Obj, deletion: Deletion, clock: Clock) -> Obj:
    """`old` as this deletion leaves it: deletionTimestamp, grace and finalizers; `old` itself when nothing changes."""
    meta = dict(meta_of(old))
    finalizers = _finalizers(meta.get("finalizers") or [], deletion.policy)
    if finalizers != (meta.get("finalizers") or []):
        meta["finalizers"] = finalizers
        if not finalizers:
            del meta["finalizers"]
    grace_s = _grace_of(old, deletion) if call.descriptor.strategy.graceful else 0
    already = is_deleting(old)
    shorter = grace_s < int(meta.get("deletionGracePeriodSeconds") or 0)
    if already and not shorter:
        # A second deletion never prolongs the first; with grace 0 it ends it.
        if meta.get("finalizers") == meta_of(old).get("finalizers"):
            ready = {**old, "metadata": meta}
            return ready if is_finished(ready, call.descriptor) else old
        return {**old, "metadata": meta}
    meta["deletionTimestamp"] = (clock.now() + timedelta(seconds=grace_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
    meta["deletionGracePeriodSeconds"] = grace_s
    if not already and "generation" in meta:
        meta["generation"] = int(meta["generation"]) + 1
    new: dict[str, Any] = {**old, "metadata": meta}
    if call.descriptor.resource.kind == "Namespace":
        new["status"] = {**(old.get("status") or {}), "phase": "Terminating"}
    return new


def _finalizers(present: list[str], policy: str) -> list[str]:
    match policy:
        case "Foreground":
            kept = [name for name in present if name != ORPHAN]
            return kept if FOREGROUND in kept else [*kept, FOREGROUND]
        case "Orphan":
            kept = [name for name in present if name != FOREGROUND]
            return kept if ORPHAN in kept else [*kept, ORPHAN]
        case "Background":
            return [name for name in present if name not in (ORPHAN, FOREGROUND)]
        case _:
            return present


def _grace_of(pod: Obj, deletion: Deletion) -> int:
    """Seconds until the pod must be gone.  One that nobody runs, or that has finished, goes at once."""
    spec = pod.get("spec") or {}
    phase = (pod.get("status") or {}).get("phase")
    if not spec.get("nodeName") or phase in ("Succeeded", "Failed"):
        return 0
    if deletion.grace_s is not None:
        return deletion.grace_s
    grace = spec.get("terminationGracePeriodSeconds")
    return GRACE_DEFAULT_S if grace is None else int(grace)


def success(row: Row, resource: Resource) -> Obj:
    """The Status that answers a deletion which left nothing."""
    details = {"name": row.key.name, "group": resource.group, "kind": resource.plural, "uid": row.uid}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {name: text for name, text in details.items() if text},
    }
