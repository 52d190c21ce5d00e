"""Namespaces that are being deleted: their content goes first, then the finalizer `kubernetes`.

What is in a namespace is asked of the API, resource by resource, not of a cache: nothing may be left behind.  Pods go
before everything else, as upstream's ordered deletion has it, so that policies outlive what they restrain.
Upstream: pkg/controller/namespace/deletion/namespaced_resources_deleter.go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from loguru import logger

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.client.cache import Cache
from cluster.client.controller import DONE, Controller, Recorder, Result
from cluster.client.transport import DeleteOptions, Query, Transport, list_all
from cluster.client.writes import SetStatus
from cluster.machinery.conditions import conditions_of, set_conditions
from cluster.machinery.errors import ApiError, Conflict, MethodNotAllowed, NotFound
from cluster.machinery.objects import Key, Obj, field_of, is_deleting, key_of, meta_of, name_of, uid_of
from cluster.machinery.resource import Resource
from cluster.machinery.timestamps import format_time
from cluster.resources.builtin import NAMESPACES

FINALIZER = "kubernetes"
RETRY_S = 1.0
RETRY_PODS_S = 2.0


@dataclass(frozen=True, slots=True)
class Left:
    """Objects of one resource that are still there, and the finalizers they wait for."""

    resource: Resource
    count: int
    finalizers: tuple[str, ...]


def deletable(resources: Sequence[Resource]) -> tuple[Resource, ...]:
    """Namespaced resources that can be listed and deleted: pods first, then by name; each group-resource once."""
    chosen: dict[str, Resource] = {}
    for resource in resources:
        if resource.namespaced and {"list", "delete"} <= set(resource.verbs):
            chosen.setdefault(resource.qualified_name, resource)
    # One store behind both names: what is deleted as `events` is gone as `events.events.k8s.io`.
    chosen.pop("events.events.k8s.io", None)
    return tuple(
        sorted(chosen.values(), key=lambda resource: (resource.qualified_name != "pods", resource.qualified_name))
    )


def conditions_for(left: Sequence[Left], failures: Sequence[str], *, now: str, present: Sequence[Obj]) -> Sequence[Obj]:
    """The namespace's conditions, in upstream's words: what remains, what it waits for, what failed."""
    remaining = [f"{part.resource.qualified_name} has {part.count} resource instances" for part in left if part.count]
    waiting: dict[str, int] = {}
    for part in left:
        for finalizer in part.finalizers:
            waiting[finalizer] = waiting.get(finalizer, 0) + 1
    finalizers = [f"{name} in {count} resource instances" for name, count in sorted(waiting.items())]
    wanted = (
        _condition(
            "NamespaceDeletionContentFailure", failures,
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
            ("ContentDeletionFailed", "Failed to delete all resource types, {} remaining: ", ", "),
        ),
        _condition(
            "NamespaceContentRemaining", remaining,
            ("ContentRemoved", "All content successfully removed"),
            ("SomeResourcesRemain", "Some resources are remaining: ", ", "),
        ),
        _condition(
            "NamespaceFinalizersRemaining", finalizers,
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
            ("SomeFinalizersRemain", "Some content in the namespace has finalizers remaining: ", ", "),
        ),
    )  # fmt: skip
    return set_conditions(present, wanted, now)


def _condition(kind: str, parts: Sequence[str], none: tuple[str, str], some: tuple[str, str, str]) -> Obj:
    if not parts:
        return {"type": kind, "status": "False", "reason": none[0], "message": none[1]}
    text = some[1].format(len(parts)) + some[2].join(parts)
    return {"type": kind, "status": "True", "reason": some[0], "message": text}


class NamespaceController(Controller):
    name: ClassVar = "namespace"
    account: ClassVar = "namespace-controller"
    primary: ClassVar = NAMESPACES
    workers: ClassVar = 2

    def __init__(
        self,
        *,
        transport: Transport,
        cache: Cache,
        clock: Clock,
        entropy: Entropy,
        recorder: Recorder,
        served: Callable[[], Sequence[Resource]],
    ) -> None:
        """`served` gives every resource there is now, custom ones included."""
        super().__init__(transport=transport, cache=cache, clock=clock, entropy=entropy, recorder=recorder)
        self._served = served

    async def reconcile(self, key: Key) -> Result:
        namespace = self.cache.get(NAMESPACES, key)
        if namespace is None or not is_deleting(namespace):
            return DONE
        if FINALIZER not in field_of(namespace, "spec", "finalizers", default=()):
            return DONE
        left: list[Left] = []
        failures: list[str] = []
        for resource in deletable(self._served()):
            try:
                found = await self._delete_all(resource, key.name)
            except ApiError as error:
                failures.append(f"{resource.qualified_name}: {error.message}")
                continue
            if found.count:
                left.append(found)
                if resource.qualified_name == "pods":
                    break
        if left or failures:
            await self._report(namespace, left, failures)
            pods_only = any(part.resource.qualified_name == "pods" for part in left)
            return Result(RETRY_PODS_S if pods_only else RETRY_S)
        await self._finalize(key)
        return DONE

    async def _delete_all(self, resource: Resource, namespace: str) -> Left:
        """Ask for the deletion of every object; what the server then still lists is left."""
        query = Query(namespace=namespace)
        try:
            for obj in (await list_all(self.transport, resource, query)).items:
                if is_deleting(obj):
                    continue
                try:
                    options = DeleteOptions(propagation_policy="Background", uid=uid_of(obj))
                    await self.transport.delete(resource, key_of(obj), options)
                except (NotFound, Conflict):
                    continue
            still = (await list_all(self.transport, resource, query)).items
        except (NotFound, MethodNotAllowed):
            still = []  # A resource that has gone meanwhile has no objects.
        finalizers = [name for obj in still for name in meta_of(obj).get("finalizers") or ()]
        return Left(resource, len(still), tuple(finalizers))

    async def _report(self, namespace: Obj, left: Sequence[Left], failures: Sequence[str]) -> None:
        now = format_time(self.clock.now())
        conditions = conditions_for(left, failures, now=now, present=conditions_of(namespace))
        status = {**(namespace.get("status") or {}), "phase": "Terminating", "conditions": list(conditions)}
        try:
            await self.commit([SetStatus(NAMESPACES, namespace, status)])
        except NotFound:
            return

    async def _finalize(self, key: Key) -> None:
        """Take our finalizer off; the server removes the namespace with the last one."""
        try:
            live = await self.transport.get(NAMESPACES, key)
            kept = [name for name in field_of(live, "spec", "finalizers", default=()) if name != FINALIZER]
            body: dict[str, Any] = {**live, "spec": {**(live.get("spec") or {}), "finalizers": kept}}
            await self.transport.update(NAMESPACES, body, subresource="finalize")
        except NotFound:
            return
        logger.info("namespace emptied", key=name_of(live))
