"""Dependents whose owners are gone are deleted; owners that wait for their dependents are let go.

One uid at a time: classify its owners as present, waiting (being deleted in the foreground) or absent, and decide.  An
absent owner is believed only after the API itself says so: the cache may be behind, and a deletion cannot be undone.  An
owner reference that cannot be resolved (a kind that is not served, an object in another namespace) deletes nothing.
Upstream: pkg/controller/garbagecollector/garbagecollector.go; unlike it, a cross-namespace reference counts as
unresolvable instead of absent.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from loguru import logger

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.base.tasks import Supervisor
from cluster.base.workqueue import ShutDown, WorkQueue
from cluster.client.cache import Cache, Change
from cluster.client.controller import Recorder
from cluster.client.transport import DeleteOptions, Patch, PatchType, Transport
from cluster.controllers.owner_graph import FOREGROUND, ORPHAN, OwnerGraph, OwnerRef, Vertex, vertex_of
from cluster.machinery.errors import ApiError, Conflict, NotFound
from cluster.machinery.objects import Key, Obj, meta_of, owner_references_of, resource_version_of, uid_of
from cluster.machinery.resource import Resource

REFRESH_S = 5.0
"""How often the set of served resources is looked at."""
UNRESOLVED_RETRY_S = 60.0
ABSENT_MAX = 500
WORKERS = 4
IGNORED = frozenset({"events", "events.events.k8s.io"})
"""Resources whose objects never own and never are owned."""


@dataclass(frozen=True, slots=True)
class Owners:
    """The owner references of one object, by what became of the owner."""

    present: tuple[OwnerRef, ...] = ()
    waiting: tuple[OwnerRef, ...] = ()
    absent: tuple[OwnerRef, ...] = ()
    unresolved: tuple[OwnerRef, ...] = ()


@dataclass(frozen=True, slots=True)
class Collect:
    """Delete the object, with this propagation."""

    policy: str


@dataclass(frozen=True, slots=True)
class Drop:
    """Take these references off the object; others keep it alive."""

    uids: frozenset[str]


def decide(vertex: Vertex, owners: Owners, *, has_dependents: bool) -> Collect | Drop | None:
    """What to do with an object that is not being deleted.  Nothing while any owner is present or unresolvable."""
    gone = (*owners.absent, *owners.waiting)
    if not gone:
        return None
    if owners.present:
        return Drop(frozenset(ref.uid for ref in gone))
    if owners.unresolved:
        return None
    if owners.waiting and has_dependents:
        return Collect("Foreground")
    if ORPHAN in vertex.finalizers:
        return Collect("Orphan")
    return Collect("Foreground" if FOREGROUND in vertex.finalizers else "Background")


def collectable(resources: Sequence[Resource]) -> tuple[Resource, ...]:
    """Resources that can be watched and deleted, each once, by name."""
    chosen: dict[str, Resource] = {}
    for resource in resources:
        name = resource.qualified_name
        if name not in IGNORED and {"list", "watch", "delete"} <= set(resource.verbs):
            chosen.setdefault(name, resource)
    return tuple(chosen[name] for name in sorted(chosen))


class GarbageCollector:
    """See the module.  `served` gives every resource there is now; `run` (supervised) works until cancelled."""

    name: ClassVar[str] = "garbage-collector"
    account: ClassVar[str] = "generic-garbage-collector"

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
        self._transport = transport
        self._cache = cache
        self._clock = clock
        self._recorder = recorder
        self._served = served
        self.queue: WorkQueue[str] = WorkQueue(clock, entropy)
        self._graph = OwnerGraph()
        self._stops: dict[Resource, Callable[[], None]] = {}
        self._absent: OrderedDict[tuple[str, str], None] = OrderedDict()

    @classmethod
    def identity(cls) -> str:
        return f"system:serviceaccount:kube-system:{cls.account}"

    async def run(self) -> None:
        self._graph = OwnerGraph()
        try:
            async with Supervisor(self._clock) as supervisor:
                await self._follow_served()
                supervisor.start("garbage-collector-timers", self.queue.run_timers)
                supervisor.start("garbage-collector-resources", self._keep_following)
                for number in range(WORKERS):
                    supervisor.start(f"garbage-collector-{number}", self._work)
                await asyncio.Event().wait()
        finally:
            for stop in self._stops.values():
                stop()
            self._stops.clear()

    async def _keep_following(self) -> None:
        while True:
            await self._clock.sleep(REFRESH_S)
            await self._follow_served()

    async def _follow_served(self) -> None:
        wanted = collectable(self._served())
        for resource in [resource for resource in self._stops if resource not in wanted]:
            self._stops.pop(resource)()
            for vertex in self._graph.of_resource(resource):
                self._add(self._graph.remove(vertex.uid))
        for resource in wanted:
            if resource not in self._stops:
                await self._cache.sync((resource,))
                self._stops[resource] = self._cache.subscribe(resource, self._on_change)

    def _on_change(self, change: Change) -> None:
        if change.old is not None and (change.new is None or uid_of(change.old) != uid_of(change.new)):
            self._add(self._graph.remove(uid_of(change.old)))
        if change.new is not None:
            self._add(self._graph.put(vertex_of(change.resource, change.new)))

    def _add(self, uids: Sequence[str]) -> None:
        for uid in uids:
            self.queue.add(uid)

    async def _work(self) -> None:
        while True:
            try:
                uid = await self.queue.get()
            except ShutDown:
                return
            try:
                await self._attempt(uid)
            finally:
                self.queue.done(uid)

    async def _attempt(self, uid: str) -> None:
        try:
            await self._collect(uid)
        except ApiError as error:
            delay_s = self.queue.add_rate_limited(uid)
            if not isinstance(error, Conflict):
                logger.warning("collecting failed, retrying", reason=error.message, delay_s=round(delay_s, 3))
        else:
            self.queue.forget(uid)

    async def _collect(self, uid: str) -> None:
        vertex = self._graph.get(uid)
        if vertex is None:
            return
        if vertex.deleting:
            if vertex.orphaning:
                await self._orphan(vertex)
            elif vertex.foreground:
                await self._finish_foreground(vertex)
            return
        if not vertex.owners:
            return
        owners = await self._classify(vertex)
        if owners.unresolved:
            self.queue.add_after(uid, UNRESOLVED_RETRY_S)
        elif any(self._graph.get(ref.uid) is None for ref in owners.present):
            # An owner of a kind that is not followed yet: should it go before it is, nothing else would tell.
            self.queue.add_after(uid, REFRESH_S)
        match decide(vertex, owners, has_dependents=bool(self._graph.dependents(uid))):
            case Collect(policy):
                await self._delete(vertex, policy)
            case Drop(uids):
                await self._drop(vertex, uids)
            case None:
                return

    async def _classify(self, vertex: Vertex) -> Owners:
        present: list[OwnerRef] = []
        waiting: list[OwnerRef] = []
        absent: list[OwnerRef] = []
        unresolved: list[OwnerRef] = []
        for ref in vertex.owners:
            owner = self._graph.get(ref.uid)
            if owner is None:
                found = await self._is_present(vertex, ref)
                (unresolved if found is None else present if found else absent).append(ref)
            elif owner.key.namespace and owner.key.namespace != vertex.key.namespace:
                self._report_foreign(vertex, ref)
                unresolved.append(ref)
            elif owner.foreground:
                waiting.append(ref)
            else:
                present.append(ref)
        return Owners(tuple(present), tuple(waiting), tuple(absent), tuple(unresolved))

    async def _is_present(self, vertex: Vertex, ref: OwnerRef) -> bool | None:
        """What the API says of an owner the cache does not know; None when it cannot be asked."""
        memo = (ref.uid, vertex.key.namespace)
        if memo in self._absent:
            return False
        group, _, version = ref.api_version.rpartition("/")
        resource = next((r for r in self._served() if (r.group, r.version, r.kind) == (group, version, ref.kind)), None)
        if resource is None or (resource.namespaced and not vertex.key.namespace):
            return None
        try:
            live = await self._transport.get(
                resource, Key(vertex.key.namespace if resource.namespaced else "", ref.name)
            )
        except NotFound:
            present = False
        else:
            present = uid_of(live) == ref.uid
        if not present:
            self._absent[memo] = None
            while len(self._absent) > ABSENT_MAX:
                self._absent.popitem(last=False)
        return present

    async def _delete(self, vertex: Vertex, policy: str) -> None:
        """Only the very version that was judged: one that gained an owner since is judged again."""
        obj = self._read(vertex)
        if obj is None:
            return
        options = DeleteOptions(propagation_policy=policy, uid=vertex.uid, resource_version=resource_version_of(obj))
        try:
            await self._transport.delete(vertex.resource, vertex.key, options)
        except NotFound:
            return
        logger.info(
            "collected", resource=vertex.resource.qualified_name, key=str(vertex.key), reason="its owners are gone"
        )

    async def _drop(self, vertex: Vertex, uids: frozenset[str]) -> None:
        obj = self._read(vertex)
        if obj is None:
            return
        kept = [dict(ref) for ref in owner_references_of(obj) if ref.get("uid") not in uids]
        await self._patch(vertex, obj, {"ownerReferences": kept or None})

    async def _orphan(self, vertex: Vertex) -> None:
        for dependent in self._graph.dependents(vertex.uid):
            await self._drop(dependent, frozenset((vertex.uid,)))
        await self._take_finalizer(vertex, ORPHAN)

    async def _finish_foreground(self, vertex: Vertex) -> None:
        """Dependents that block are waited for: each that goes wakes its owner again."""
        dependents = self._graph.dependents(vertex.uid)
        if any(ref.blocks for other in dependents for ref in other.owners if ref.uid == vertex.uid):
            self._add([other.uid for other in dependents if not other.deleting])
            return
        await self._take_finalizer(vertex, FOREGROUND)

    async def _take_finalizer(self, vertex: Vertex, finalizer: str) -> None:
        obj = self._read(vertex)
        if obj is None:
            return
        kept = [name for name in meta_of(obj).get("finalizers") or () if name != finalizer]
        await self._patch(vertex, obj, {"finalizers": kept or None})

    async def _patch(self, vertex: Vertex, obj: Obj, metadata: dict[str, Any]) -> None:
        """A merge patch, which every kind understands; the resourceVersion keeps it from undoing another's list."""
        versioned = {"uid": vertex.uid, "resourceVersion": resource_version_of(obj)}
        body = {"metadata": {**metadata, **versioned}}
        try:
            await self._transport.patch(vertex.resource, vertex.key, Patch(PatchType.MERGE, body))
        except NotFound:
            return

    def _read(self, vertex: Vertex) -> Obj | None:
        obj = self._cache.get(vertex.resource, vertex.key)
        return obj if obj is not None and uid_of(obj) == vertex.uid else None

    def _report_foreign(self, vertex: Vertex, ref: OwnerRef) -> None:
        obj = self._read(vertex)
        if obj is not None:
            message = (
                f"ownerRef [{ref.api_version}/{ref.kind}, namespace: {vertex.key.namespace}, name: {ref.name}, "
                f'uid: {ref.uid}] does not exist in namespace "{vertex.key.namespace}"'
            )
            self._recorder.event(obj, "Warning", "OwnerRefInvalidNamespace", message)
