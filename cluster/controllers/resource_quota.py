"""Quotas know what is used: counted anew when the quota changes and when what it counts goes away.

Admission charges what is created in the same transaction, so only a quota's first count can miss something: it is checked
once more.  Nothing is watched before a quota asks for it.  Upstream: pkg/controller/resourcequota.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.base.tasks import Supervisor
from cluster.client.cache import Cache, Change
from cluster.client.controller import DONE, Controller, Recorder, Result
from cluster.client.transport import Transport
from cluster.client.writes import SetStatus, Write
from cluster.machinery.objects import Key, Obj, field_of, is_deleting, key_of
from cluster.machinery.quantity import QuantityError, canonical
from cluster.machinery.resource import Resource
from cluster.resources.builtin import RESOURCE_QUOTAS
from cluster.resources.resource_scopes import is_in_scope
from cluster.resources.resource_usage import NOTHING, total_of, tracks, usage_of

COALESCE_S = 0.25
"""Many deletions at once are one count."""
CHECK_S = 1.0
"""When a first count is checked: what was created while it was written was not charged."""
RESYNC_S = 300.0


def plan_quota_status(quota: Obj, counted: Sequence[tuple[Resource, Sequence[Obj]]]) -> tuple[Write, ...]:
    """The status says the limits that hold and what is used of each; `counted` are the objects of the namespace."""
    hard = hard_of(quota)
    usages = [
        {name: amount for name, amount in usage_of(resource, obj).items() if name in hard}
        for resource, objects in counted
        for obj in objects
        if is_in_scope(quota, resource, obj)
    ]
    total = total_of(usages)
    tracked = [name for name in hard if any(tracks(resource, name) for resource, _ in counted)]
    used = {name: str(total.get(name, NOTHING)) for name in tracked}
    return (SetStatus(RESOURCE_QUOTAS, quota, {"hard": hard, "used": used}),)


def hard_of(quota: Obj) -> dict[str, str]:
    """The limits that the quota asks for, in canonical form."""
    return {name: _canonical(text) for name, text in field_of(quota, "spec", "hard", default={}).items()}


def _canonical(text: str) -> str:
    try:
        return canonical(text)
    except QuantityError:
        return text


class ResourceQuotaController(Controller):
    name: ClassVar = "resource-quota"
    account: ClassVar = "resourcequota-controller"
    primary: ClassVar = RESOURCE_QUOTAS
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
        """`served` gives every resource there is now, custom ones included."""
        super().__init__(transport=transport, cache=cache, clock=clock, entropy=entropy, recorder=recorder)
        self._served = served
        self._watched: dict[Resource, Callable[[], None]] = {}

    def on_start(self, supervisor: Supervisor) -> None:
        # A run before this one stopped watching with its view; quotas found by this one ask again.
        for stop in self._watched.values():
            stop()
        self._watched.clear()

    def wants(self, change: Change) -> bool:
        """What admission charged needs no second look."""
        return change.old is None or change.new is None or change.old.get("spec") != change.new.get("spec")

    async def reconcile(self, key: Key) -> Result:
        quota = self.cache.get(RESOURCE_QUOTAS, key)
        if quota is None or is_deleting(quota):
            return DONE
        names = hard_of(quota)
        resources = [one for one in self._served() if one.namespaced and any(tracks(one, name) for name in names)]
        await self.cache.sync(resources)
        for resource in resources:
            if resource not in self._watched:
                self._watched[resource] = self.cache.subscribe(resource, self._watcher(resource))
        counted = [(resource, self.cache.list(resource, namespace=key.namespace)) for resource in resources]
        is_first = field_of(quota, "status", "hard") != hard_of(quota)
        await self.commit(plan_quota_status(quota, counted))
        return Result(CHECK_S if is_first else RESYNC_S)

    def _watcher(self, resource: Resource) -> Callable[[Change], None]:
        def look(change: Change) -> None:
            old, new = change.old, change.new
            if old is None or (new is not None and (old.get("spec") is new.get("spec") and _phase(old) == _phase(new))):
                return
            for quota in self.cache.list(RESOURCE_QUOTAS, namespace=change.key.namespace):
                if new is None or usage_of(resource, old) != usage_of(resource, new):
                    self.queue.add_after(key_of(quota), COALESCE_S)

        return look


def _phase(obj: Obj) -> object:
    return field_of(obj, "status", "phase")
