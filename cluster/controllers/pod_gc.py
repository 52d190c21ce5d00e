"""Pods nobody else will remove: on nodes that are gone, deleted before they had a node, finished above a bound.

Upstream: pkg/controller/podgc/gc_controller.go.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

from cluster.base.tasks import Supervisor
from cluster.client.cache import Change
from cluster.client.controller import DONE, Controller, Result
from cluster.client.writes import Delete, Write
from cluster.controllers.pods import is_finished
from cluster.machinery.errors import NotFound
from cluster.machinery.objects import Key, Obj, field_of, is_deleting, key_of, meta_of, name_of, uid_of
from cluster.resources.builtin import NODES, PODS

PERIOD_S = 20.0
QUARANTINE_S = 40.0
"""How long a node must have been absent before its pods are removed: it may be registering anew."""
FINISHED_MAX = 12_500
"""Finished pods that are kept, as upstream's --terminated-pod-gc-threshold."""


def plan_pod_gc(
    pods: Sequence[Obj], *, absent_nodes: Collection[str], finished_max: int = FINISHED_MAX
) -> tuple[Write, ...]:
    """Forced deletions, by key: pods bound to `absent_nodes`, unbound pods being deleted, the oldest finished ones."""
    doomed: dict[Key, Obj] = {}
    for pod in pods:
        node = field_of(pod, "spec", "nodeName", default="")
        if (node and node in absent_nodes) or (not node and is_deleting(pod)):
            doomed[key_of(pod)] = pod
    finished = sorted(
        (pod for pod in pods if is_finished(pod) and not is_deleting(pod) and key_of(pod) not in doomed),
        key=lambda pod: (str(meta_of(pod).get("creationTimestamp", "")), key_of(pod)),
    )
    for pod in finished[: max(0, len(finished) - finished_max)]:
        doomed[key_of(pod)] = pod
    return tuple(Delete(PODS, key, uid=uid_of(doomed[key]), grace_period_s=0) for key in sorted(doomed))


class PodGcController(Controller):
    """Looks at everything each PERIOD_S in which a pod or the set of nodes changed; its only key is the empty one."""

    name: ClassVar = "pod-gc"
    account: ClassVar = "pod-garbage-collector"
    primary: ClassVar = PODS
    reads: ClassVar = (NODES,)
    workers: ClassVar = 1

    def on_start(self, supervisor: Supervisor) -> None:
        self._absent_since: dict[str, float] = {}
        self._pods_changed = True
        self._nodes: tuple[str, ...] = ()
        supervisor.start("pod-gc-period", self._tick)

    def wants(self, change: Change) -> bool:
        self._pods_changed = True
        return False

    async def reconcile(self, key: Key) -> Result:
        pods = self.cache.list(PODS)
        await self.commit(plan_pod_gc(pods, absent_nodes=await self._absent_nodes(pods)))
        return DONE

    async def _tick(self) -> None:
        while True:
            await self.clock.sleep(PERIOD_S)
            nodes = tuple(map(name_of, self.cache.list(NODES)))
            if self._pods_changed or self._absent_since or nodes != self._nodes:
                self._pods_changed = False
                self._nodes = nodes
                self.queue.add(Key("", ""))

    async def _absent_nodes(self, pods: Sequence[Obj]) -> frozenset[str]:
        """Nodes that pods name, that the cache has not seen for QUARANTINE_S, and that the API does not have either."""
        now = self.clock.monotonic()
        named = {str(field_of(pod, "spec", "nodeName", default="")) for pod in pods} - {""}
        unseen = sorted(node for node in named if self.cache.get(NODES, Key("", node)) is None)
        self._absent_since = {node: self._absent_since.get(node, now) for node in unseen}
        absent: list[str] = []
        for node, since in self._absent_since.items():
            if now - since < QUARANTINE_S:
                continue
            try:
                await self.transport.get(NODES, Key("", node))
            except NotFound:
                absent.append(node)
        return frozenset(absent)
