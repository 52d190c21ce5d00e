"""PodDisruptionBudgets: how many of the chosen pods may be evicted now.  Upstream: pkg/controller/disruption/disruption.go.

The eviction subresource spends what this status allows; a pod it let go counts as gone until it is or evidently stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.client.cache import Cache
from cluster.client.controller import DONE, Controller, Recorder, Result, Wakeup
from cluster.client.transport import Transport
from cluster.client.writes import SetStatus
from cluster.controllers.disruption_plan import failed_status, is_counted, plan_budget
from cluster.machinery.errors import NotFound
from cluster.machinery.objects import Key, Obj, controller_of, field_of, key_of, labels_of, namespace_of, uid_of
from cluster.machinery.resource import Resource
from cluster.machinery.selectors import NOTHING, Selector, SelectorError, selector_of
from cluster.resources.builtin import (
    DEPLOYMENTS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
)

_SCALED = (REPLICATION_CONTROLLERS, REPLICA_SETS, STATEFUL_SETS, DEPLOYMENTS)


class UnknownScale(Exception):
    """How many pods there should be cannot be told; the message says of which pod."""


def selector_of_budget(budget: Obj) -> Selector:
    """No selector chooses nothing, an empty one everything.  Raises SelectorError."""
    chosen = field_of(budget, "spec", "selector")
    return NOTHING if chosen is None else selector_of(chosen)


def _budgets_of(pod: Obj, primary: Resource, cache: Cache) -> Iterable[Key]:
    found: list[Key] = []
    for budget in cache.list(primary, namespace=namespace_of(pod)):
        try:
            if selector_of_budget(budget).matches(labels_of(pod)):
                found.append(key_of(budget))
        except SelectorError:
            continue
    return found


class DisruptionController(Controller):
    name: ClassVar = "disruption"
    account: ClassVar = "disruption-controller"
    primary: ClassVar = POD_DISRUPTION_BUDGETS
    wakes: ClassVar = (Wakeup(PODS, _budgets_of),)
    reads: ClassVar = _SCALED
    workers: ClassVar = 1

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
        """`served` gives every resource there is now, custom ones included: they can have a scale too."""
        super().__init__(transport=transport, cache=cache, clock=clock, entropy=entropy, recorder=recorder)
        self._served = served

    async def reconcile(self, key: Key) -> Result:
        budget = self.cache.get(POD_DISRUPTION_BUDGETS, key)
        if budget is None:
            return DONE
        now = self.clock.now()
        try:
            selector = selector_of_budget(budget)
            pods = self.cache.list(PODS, namespace=key.namespace, selector=selector)
            if not pods:
                self.recorder.event(budget, "Normal", "NoPods", "No matching pods found")
            scales = await self._scales(pods) if is_counted(budget) else {}
        except (SelectorError, UnknownScale) as error:
            message = f"Failed to calculate the number of expected pods: {error}"
            self.recorder.event(budget, "Warning", "CalculateExpectedPodCountFailed", message)
            await self.commit([SetStatus(POD_DISRUPTION_BUDGETS, budget, failed_status(budget, str(error), now=now))])
            return DONE
        plan = plan_budget(budget, pods, scales, now=now)
        for note in plan.notes:
            self.recorder.event(budget, note.type, note.reason, note.message)
        await self.commit([SetStatus(POD_DISRUPTION_BUDGETS, budget, plan.status)])
        return Result(plan.again_after_s)

    async def _scales(self, pods: Sequence[Obj]) -> Mapping[str, int]:
        """How many pods the controllers of `pods` want, by the controllers' uids.  Raises UnknownScale."""
        found: dict[str, int] = {}
        asked: set[str] = set()
        for pod in pods:
            owner = controller_of(pod)
            if owner is None or owner["uid"] in asked:
                continue
            asked.add(owner["uid"])
            top, wanted = await self._scale(pod, owner)
            found[top] = wanted
        return found

    async def _scale(self, pod: Obj, owner: Obj) -> tuple[str, int]:
        """The uid of who decides about the pod's number, and that number."""
        resource = self._resource_of(owner)
        namespace = namespace_of(pod) if resource is None or resource.namespaced else ""
        key = Key(namespace, owner.get("name", ""))
        if resource is not None and resource in _SCALED:
            obj = self.cache.get(resource, key)
            if obj is None or uid_of(obj) != owner["uid"]:
                raise UnknownScale(f'found no controllers for pod "{key_of(pod).name}"')
            above = controller_of(obj)
            if above is not None and above.get("kind") == DEPLOYMENTS.kind:
                deployment = self.cache.get(DEPLOYMENTS, Key(key.namespace, above.get("name", "")))
                if deployment is not None and uid_of(deployment) == above.get("uid"):
                    obj = deployment
            return uid_of(obj), int(field_of(obj, "spec", "replicas", default=1))
        if resource is None or "scale" not in resource.subresources:
            group, _, _ = str(owner.get("apiVersion", "")).rpartition("/")
            name = resource.qualified_name if resource is not None else f"{owner.get('kind', '')}.{group}"
            raise UnknownScale(f"{name} does not implement the scale subresource")
        try:
            scale: Mapping[str, Any] = await self.transport.get(resource, key, subresource="scale")
        except NotFound as error:
            raise UnknownScale(f'found no controllers for pod "{key_of(pod).name}"') from error
        return str(owner["uid"]), int(field_of(scale, "spec", "replicas", default=0))

    def _resource_of(self, owner: Obj) -> Resource | None:
        group, _, _ = str(owner.get("apiVersion", "")).rpartition("/")
        return next((one for one in self._served() if (one.group, one.kind) == (group, owner.get("kind"))), None)
