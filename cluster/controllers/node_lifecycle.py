"""Nodes that fall silent: marked, tainted, and their pods moved, but never all of them at once.

A node lives while its Lease (or its own Ready condition) is renewed.  Silence is measured on our monotonic clock since we
last *saw* a renewal, so that neither a node's wrong clock nor our own restart makes a living node dead.  When no node at
all is heard, the fault is ours or the network's, and nothing is evicted.
Upstream: pkg/controller/nodelifecycle/node_lifecycle_controller.go, pkg/controller/tainteviction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from cluster.base.tasks import Supervisor
from cluster.client.cache import Cache
from cluster.client.controller import DONE, Controller, Result, Wakeup
from cluster.client.transport import Patch, PatchType
from cluster.client.writes import Delete, PatchObject, SetStatus, Update, Write
from cluster.controllers.instants import instant_of
from cluster.controllers.pods import condition_of, is_active
from cluster.machinery.conditions import conditions_of, set_conditions
from cluster.machinery.objects import Key, Obj, field_of, key_of, name_of, uid_of, with_field
from cluster.machinery.resource import Resource
from cluster.machinery.timestamps import format_time
from cluster.resources.builtin import LEASES, NODES, PODS
from cluster.resources.taints import covers

GRACE_S = 40.0
"""Silence after which a node is Unknown."""
STARTUP_GRACE_S = 60.0
"""As above for a node that has not reported once."""
PERIOD_S = 5.0
LEASE_NAMESPACE = "kube-node-lease"

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
_CONDITION_TAINTS = (
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
)
_OWN_TAINTS = frozenset(
    {NOT_READY, UNREACHABLE, "node.kubernetes.io/unschedulable", *(taint for _, _, taint in _CONDITION_TAINTS)}
)
_REPORTED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


def plan_unknown(node: Obj, *, now: datetime) -> tuple[Write, ...]:
    """The status of a silent node: every condition that the kubelet reports becomes Unknown."""
    present = conditions_of(node)
    stamp = format_time(now)
    unknown: list[Obj] = []
    for kind in _REPORTED:
        old = condition_of(node, kind)
        if old is not None and old.get("status") == "Unknown":
            continue
        reason = "NodeStatusUnknown" if old is not None else "NodeStatusNeverUpdated"
        message = "Kubelet stopped posting node status." if old is not None else "Kubelet never posted node status."
        unknown.append({"type": kind, "status": "Unknown", "reason": reason, "message": message})
    if not unknown:
        return ()
    conditions = list(set_conditions(present, unknown, stamp))
    return (SetStatus(NODES, node, {**(node.get("status") or {}), "conditions": conditions}),)


def plan_taints(node: Obj, *, now: datetime, evict: bool) -> tuple[Write, ...]:
    """The taints that the node's conditions and `spec.unschedulable` ask for; others' taints stay.

    With `evict` False no NoExecute taint is added; one that is there stays while its cause does.
    """
    present: Sequence[Obj] = field_of(node, "spec", "taints", default=())
    ready = condition_of(node, "Ready")
    status = ready.get("status") if ready is not None else None
    wanted: list[tuple[str, str]] = []
    if status is None:
        # It has just registered: nothing is sent there yet, and nothing that is there is driven away.
        wanted.append((NOT_READY, "NoSchedule"))
    elif status != "True":
        key = NOT_READY if status == "False" else UNREACHABLE
        wanted.append((key, "NoSchedule"))
        if evict or any(_id(taint) == (key, "NoExecute") for taint in present):
            wanted.append((key, "NoExecute"))
    for kind, bad, key in _CONDITION_TAINTS:
        condition = condition_of(node, kind)
        if condition is not None and condition.get("status") == bad:
            wanted.append((key, "NoSchedule"))
    if field_of(node, "spec", "unschedulable", default=False):
        wanted.append(("node.kubernetes.io/unschedulable", "NoSchedule"))
    kept = [taint for taint in present if taint.get("key") not in _OWN_TAINTS or _id(taint) in wanted]
    added = [pair for pair in wanted if pair not in {_id(taint) for taint in kept}]
    if not added and len(kept) == len(present):
        return ()
    stamp = format_time(now)
    taints = [*kept, *({"key": key, "effect": effect, "timeAdded": stamp} for key, effect in added)]
    return (Update(NODES, with_field(node, ["spec", "taints"], taints)),)


@dataclass(frozen=True, slots=True)
class Evictions:
    """Pods to delete now, and the seconds until the next one's toleration ends."""

    writes: tuple[Write, ...]
    next_s: float | None


def plan_evictions(node: Obj, pods: Iterable[Obj], *, now: datetime) -> Evictions:
    """Pods of a node with NoExecute taints, as each one's tolerations allow."""
    taints = [taint for taint in field_of(node, "spec", "taints", default=()) if taint.get("effect") == "NoExecute"]
    writes: list[Write] = []
    waits: list[float] = []
    for pod in pods:
        if not taints or not is_active(pod):
            continue
        left_s = min((_tolerated_s(pod, taint, now) for taint in taints), default=float("inf"))
        if left_s <= 0:
            writes.append(Delete(PODS, key_of(pod), uid=uid_of(pod)))
        elif left_s != float("inf"):
            waits.append(left_s)
    return Evictions(tuple(writes), min(waits, default=None))


def plan_unready_pods(pods: Iterable[Obj], *, now: datetime) -> tuple[Write, ...]:
    """Pods of a node that is not Ready are not ready either: Services must stop sending to them."""
    writes: list[Write] = []
    for pod in pods:
        ready = condition_of(pod, "Ready")
        if ready is None or ready.get("status") != "True":
            continue
        condition = {
            "type": "Ready",
            "status": "False",
            "reason": "NodeNotReady",
            "message": "",
            "lastTransitionTime": format_time(now),
        }
        body: dict[str, Any] = {"metadata": {"uid": uid_of(pod)}, "status": {"conditions": [condition]}}
        patch = Patch(PatchType.STRATEGIC, body)
        writes.append(PatchObject(PODS, key_of(pod), patch, subresource="status", absent_ok=True))
    return tuple(writes)


def _tolerated_s(pod: Obj, taint: Obj, now: datetime) -> float:
    """Seconds the pod may still stay under `taint`: infinite when tolerated without bound, 0 or less when not."""
    bounds: list[float] = []
    for toleration in field_of(pod, "spec", "tolerations", default=()):
        if not covers(toleration, taint):
            continue
        seconds = toleration.get("tolerationSeconds")
        bounds.append(float("inf") if seconds is None else float(max(0, seconds)))
    if not bounds:
        return 0.0
    bound = min(bounds)
    since = instant_of(taint.get("timeAdded")) or now
    return bound if bound == float("inf") else bound - (now - since) / timedelta(seconds=1)


def _id(taint: Obj) -> tuple[str, str]:
    return (str(taint.get("key", "")), str(taint.get("effect", "")))


def _node_with_pods_at_risk(pod: Obj, primary: Resource, cache: Cache) -> Iterable[Key]:
    """The pod's node, if that is not ready or evicts: on a healthy one a pod's change is nothing to us."""
    key = Key("", str(field_of(pod, "spec", "nodeName", default="")))
    node = cache.get(primary, key) if key.name else None
    if node is None:
        return ()
    ready = condition_of(node, "Ready")
    evicts = any(taint.get("effect") == "NoExecute" for taint in field_of(node, "spec", "taints", default=()))
    return (key,) if evicts or ready is None or ready.get("status") != "True" else ()


@dataclass(frozen=True, slots=True)
class _Heard:
    """The last sign of life we saw, and when (monotonic)."""

    sign: tuple[str, str]
    at: float


class NodeLifecycleController(Controller):
    name: ClassVar = "node-lifecycle"
    account: ClassVar = "node-controller"
    primary: ClassVar = NODES
    wakes: ClassVar = (Wakeup(PODS, _node_with_pods_at_risk),)
    reads: ClassVar = (LEASES,)
    workers: ClassVar = 2

    def on_start(self, supervisor: Supervisor) -> None:
        self._heard: dict[str, _Heard] = {}
        self._told: dict[str, set[str]] = {}
        supervisor.start("node-lifecycle-period", self._tick)

    async def reconcile(self, key: Key) -> Result:
        node = self.cache.get(NODES, key)
        if node is None:
            self._heard.pop(key.name, None)
            self._told.pop(key.name, None)
            return DONE
        now = self.clock.now()
        if self._silent(node):
            writes = plan_unknown(node, now=now)
            if writes:
                await self.commit(writes)
                self.recorder.event(node, "Normal", "NodeNotReady", f"Node {key.name} status is now: NodeNotReady")
                return DONE  # The changed node comes again.
        writes = plan_taints(node, now=now, evict=self._some_node_lives())
        if writes:
            await self.commit(writes)
            return DONE
        pods = self.cache.on_node(key.name, PODS)
        ready = condition_of(node, "Ready")
        if ready is not None and ready.get("status") != "True":
            # Once each: a kubelet that is back says that they are ready before it says that its node is, and is right.
            told = self._told.setdefault(key.name, set())
            fresh = [pod for pod in pods if uid_of(pod) not in told]
            await self.commit(plan_unready_pods(fresh, now=now))
            told.update(uid_of(pod) for pod in fresh)
            told.intersection_update(uid_of(pod) for pod in pods)
        else:
            self._told.pop(key.name, None)
        evictions = plan_evictions(node, pods, now=now)
        for write in evictions.writes:
            if isinstance(write, Delete) and (pod := self.cache.get(PODS, write.key)) is not None:
                message = f"Marking for deletion Pod {write.key}"
                self.recorder.event(pod, "Normal", "TaintManagerEviction", message)
        await self.commit(evictions.writes)
        return Result(evictions.next_s)

    async def _tick(self) -> None:
        """Silence makes no event: look at every node now and then."""
        while True:
            await self.clock.sleep(PERIOD_S)
            for node in self.cache.list(NODES):
                self._listen(node)
                ready = condition_of(node, "Ready")
                known = ready is not None and ready.get("status") == "Unknown"
                # A node that was tainted while none lived still waits for its NoExecute taint.
                if self._silent(node) and (not known or self._some_node_lives()):
                    self.queue.add(key_of(node))

    def _listen(self, node: Obj) -> _Heard:
        """Note the node's newest sign of life, if it is new to us."""
        name = name_of(node)
        lease = self.cache.get(LEASES, Key(LEASE_NAMESPACE, name))
        ready = condition_of(node, "Ready")
        sign = (
            str(field_of(lease, "spec", "renewTime", default="")) if lease is not None else "",
            str(ready.get("lastHeartbeatTime") or "") if ready is not None else "",
        )
        heard = self._heard.get(name)
        if heard is None or heard.sign != sign:
            heard = _Heard(sign, self.clock.monotonic())
            self._heard[name] = heard
        return heard

    def _silent(self, node: Obj) -> bool:
        heard = self._listen(node)
        grace_s = GRACE_S if any(heard.sign) else STARTUP_GRACE_S
        return self.clock.monotonic() - heard.at > grace_s

    def _some_node_lives(self) -> bool:
        """At least one node is Ready and heard of: then a silent one is at fault itself."""
        for node in self.cache.list(NODES):
            ready = condition_of(node, "Ready")
            if ready is not None and ready.get("status") == "True" and not self._silent(node):
                return True
        return False
