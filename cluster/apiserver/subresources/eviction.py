"""`pods/NAME/eviction`: delete a pod as a disruption, if its disruption budget allows one more.

Upstream: registry/core/pod/storage/eviction.go EvictionREST.  What the budget's status allows is spent here, in one
compare-and-set, before the pod goes: two evictions never share one allowance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call, ObjResult, Result, WriteParameters, write_parameters_of
from cluster.apiserver.decoding import body_as
from cluster.apiserver.deletion import Deletion, delete_object
from cluster.apiserver.registry import verbatim_rules
from cluster.apiserver.view import ObjView
from cluster.machinery.conditions import conditions_of, get_condition, is_condition_true, make_condition, set_condition
from cluster.machinery.errors import ApiError, Cause, Forbidden, InternalError, TooManyRequests
from cluster.machinery.objects import (
    Key,
    Obj,
    field_of,
    generation_of,
    is_deleting,
    key_of,
    labels_of,
    name_of,
    with_field,
)
from cluster.machinery.selectors import SelectorError, selector_of
from cluster.resources.builtin import POD_DISRUPTION_BUDGETS

_EVICTED = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
_REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."
DISRUPTED_MAX = 2000
"""Evicted pods that a budget waits for; more are refused until its controller has seen some go."""
BEHIND_RETRY_S = 10


async def evict(backend: Backend, call: Call) -> Result:
    body = body_as(call, "io.k8s.api.policy.v1.Eviction")
    options: Mapping[str, Any] = body.get("deleteOptions") or {}
    preconditions = options.get("preconditions") or {}
    parameters = write_parameters_of(call)
    deletion = Deletion(
        grace_s=options.get("gracePeriodSeconds"),
        uid=preconditions.get("uid") or "",
        resource_version=preconditions.get("resourceVersion") or "",
        dry_run=parameters.dry_run or "All" in (options.get("dryRun") or ()),
    )
    parameters = replace(parameters, dry_run=deletion.dry_run)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", **body}
    await backend.registry.admit_body(call, eviction, dry_run=deletion.dry_run)
    registry = backend.registry
    pod = registry.obj(call.descriptor, registry.row(call.descriptor, call.key))
    if not _goes_anyway(pod):
        budgets = _budgets_of(backend, pod)
        if len(budgets) > 1:
            why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            raise InternalError(why)
        for budget in budgets:
            if not is_free(budget, pod):
                await _spend(backend, call, key_of(budget), name_of(pod), parameters)
        await _mark(backend, call, parameters)
    await delete_object(registry, backend.clock, call, call.key, deletion)
    return ObjResult(_EVICTED, 201)


def is_free(budget: Obj, pod: Obj) -> bool:
    """Whether the pod may go without spending an allowance: it is not ready, and the budget does not count on it."""
    if is_condition_true(pod, "Ready"):
        return False
    if field_of(budget, "spec", "unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = budget.get("status") or {}
    wanted = int(status.get("desiredHealthy", 0))
    is_current = int(status.get("observedGeneration", 0)) >= generation_of(budget)
    return is_current and wanted > 0 and int(status.get("currentHealthy", 0)) >= wanted


def spent(budget: Obj, pod: str, now: str) -> dict[str, Any]:
    """`budget` with one disruption less to allow, and `pod` among those that go.  Raises TooManyRequests, Forbidden."""
    status = budget.get("status") or {}
    name = name_of(budget)
    if int(status.get("observedGeneration", 0)) < generation_of(budget):
        raise _refusal(f"The disruption budget {name} is still being processed by the server.", BEHIND_RETRY_S)
    allowed = int(status.get("disruptionsAllowed", 0))
    if allowed < 0:
        raise _forbidden(name, "pdb disruptions allowed is negative")
    disrupted: Mapping[str, str] = status.get("disruptedPods") or {}
    if len(disrupted) > DISRUPTED_MAX:
        raise _forbidden(name, "DisruptedPods map too big - too many evictions not confirmed by PDB controller")
    if not allowed:
        failed = get_condition(conditions_of(budget), "DisruptionAllowed") or {}
        if failed.get("reason") == "SyncFailed":
            why = f"does not allow evicting pods currently because it failed sync: {failed.get('message', '')}"
        else:
            wanted, healthy = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
            why = f"needs {wanted} healthy pods and has {healthy} currently"
        raise _refusal(f"The disruption budget {name} {why}", None)
    new: dict[str, Any] = {**status, "disruptionsAllowed": allowed - 1, "disruptedPods": {**disrupted, pod: now}}
    if allowed == 1:
        condition = make_condition(
            "DisruptionAllowed", False, "InsufficientPods", observed_generation=generation_of(budget)
        )
        new["conditions"] = list(set_condition(conditions_of(budget), {**condition, "message": ""}, now))
    return {**budget, "status": new}


def _refusal(why: str, retry_after_s: int | None) -> ApiError:
    # Without Retry-After unless the budget is merely behind, as upstream: clients would repeat it unseen.
    return TooManyRequests(_REFUSED, causes=(Cause("DisruptionBudget", why),), retry_after_s=retry_after_s)


def _forbidden(name: str, why: str) -> ApiError:
    return Forbidden(f'poddisruptionbudgets.policy "{name}" is forbidden: {why}', group="policy", name=name)


def _goes_anyway(pod: Obj) -> bool:
    """It does not run, or is being deleted: no budget protects it."""
    return is_deleting(pod) or field_of(pod, "status", "phase") in ("Succeeded", "Failed", "Pending")


def _budgets_of(backend: Backend, pod: Obj) -> list[Obj]:
    found: list[Obj] = []
    view = ObjView(backend.state, backend.catalog)
    for budget in view.list(POD_DISRUPTION_BUDGETS, namespace=key_of(pod).namespace):
        chosen = field_of(budget, "spec", "selector")
        try:
            if chosen is not None and selector_of(chosen).matches(labels_of(pod)):
                found.append(budget)
        except SelectorError:
            continue
    return found


async def _spend(backend: Backend, call: Call, budget: Key, pod: str, parameters: WriteParameters) -> None:
    """The write is ours, not the caller's: who may evict need not be able to write budgets."""
    descriptor = backend.catalog.of(POD_DISRUPTION_BUDGETS)
    route = replace(
        call.route,
        group=POD_DISRUPTION_BUDGETS.group,
        version=POD_DISRUPTION_BUDGETS.version,
        plural=POD_DISRUPTION_BUDGETS.plural,
        name=budget.name,
        subresource="status",
    )
    theirs = replace(call, route=route, descriptor=descriptor)
    now = backend.registry.now()
    await backend.registry.update(
        theirs, budget, lambda current: spent(current, pod, now), parameters, verbatim_rules("status")
    )


async def _mark(backend: Backend, call: Call, parameters: WriteParameters) -> None:
    """Say in the pod's status why it goes: jobs tell such ends from failures of their own."""
    now = backend.registry.now()
    target = make_condition("DisruptionTarget", True, "EvictionByEvictionAPI", "Eviction API: evicting")

    def change(pod: Obj) -> Obj:
        return with_field(pod, ("status", "conditions"), list(set_condition(conditions_of(pod), target, now)))

    await backend.registry.update(call, call.key, change, parameters, verbatim_rules("status"))
