"""The loop: take a waiting pod, decide, assume, bind; on failure forget and try again later.

Decisions are made one after the other on the state that includes what was just decided (`assume`); bindings are written
concurrently, because each waits for the store.  Upstream: pkg/scheduler/schedule_one.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from loguru import logger

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.base.tasks import Supervisor
from cluster.client.cache import Cache, Change
from cluster.client.controller import Recorder
from cluster.client.transport import Patch, PatchType, Transport
from cluster.machinery.conditions import conditions_of, get_condition
from cluster.machinery.errors import ApiError, Conflict, NotFound
from cluster.machinery.objects import Key, Obj, annotations_of, field_of, is_deleting, key_of, labels_of, uid_of
from cluster.machinery.resource import Resource
from cluster.machinery.timestamps import format_time
from cluster.resources.builtin import (
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
)
from cluster.scheduler.candidates import Decider
from cluster.scheduler.cycle import Placement, Unschedulable
from cluster.scheduler.framework import Wake
from cluster.scheduler.plugins.volume_binding import VolumeBinding
from cluster.scheduler.profile import DEFAULT_SCHEDULER, Profile, default_profile
from cluster.scheduler.queue import SchedulingQueue
from cluster.scheduler.requests import PodInfo, pod_info
from cluster.scheduler.snapshot import ClusterState

SELECTED_NODE = "volume.kubernetes.io/selected-node"
_STORAGE_ONLY = frozenset({Wake.STORAGE_CHANGED})
BINDERS = 64
"""Bindings on their way at once."""
DECIDED_MAX = 128
"""Decisions waiting for a binder; the loop pauses at it, so that decisions are not made long before they take effect."""


STORAGE = (PERSISTENT_VOLUMES, PERSISTENT_VOLUME_CLAIMS, STORAGE_CLASSES)


@dataclass(frozen=True, slots=True)
class _Decided:
    info: PodInfo
    outcome: Placement | Unschedulable | _Waits


@dataclass(frozen=True, slots=True)
class _Waits:
    """The pod will go to `node` once its `claims`, which wait for that choice, are bound there."""

    node: str
    claims: tuple[Obj, ...]


class Scheduler:
    """Binds every pod whose `spec.schedulerName` names the default profile or one of `profiles`.

    `run` (supervised) works until cancelled.
    """

    identity: ClassVar[str] = "system:kube-scheduler"
    resources: ClassVar[tuple[Resource, ...]] = (
        NAMESPACES,
        NODES,
        PODS,
        PERSISTENT_VOLUMES,
        PERSISTENT_VOLUME_CLAIMS,
        STORAGE_CLASSES,
    )

    def __init__(
        self,
        *,
        transport: Transport,
        cache: Cache,
        clock: Clock,
        entropy: Entropy,
        recorder: Recorder,
        volumes: VolumeBinding,
        profiles: Sequence[Profile] = (),
    ) -> None:
        self._transport = transport
        self._cache = cache
        self._clock = clock
        self._entropy = entropy
        self._recorder = recorder
        self._volumes = volumes
        all_profiles = (default_profile(volumes=(volumes,)), *profiles)
        self._profiles = {profile.name: profile for profile in all_profiles}
        self._reset()

    @property
    def waiting(self) -> int:
        """Pods that have no node yet."""
        return len(self._queue)

    def _reset(self) -> None:
        self._queue = SchedulingQueue(self._clock)
        self._state = ClusterState()
        self._decider = Decider(self._state)
        self._decided: asyncio.Queue[_Decided] = asyncio.Queue(DECIDED_MAX)

    async def run(self) -> None:
        # What an earlier run assumed is not known to have happened: start from the cache alone.
        self._reset()
        await self._cache.sync(self.resources)
        stops = [
            self._cache.subscribe(NAMESPACES, self._on_namespace),
            self._cache.subscribe(NODES, self._on_node),
            self._cache.subscribe(PODS, self._on_pod),
            *(self._cache.subscribe(resource, self._on_storage) for resource in STORAGE),
        ]
        try:
            async with Supervisor(self._clock) as supervisor:
                supervisor.start("scheduler-timers", self._queue.run_timers)
                for number in range(BINDERS):
                    supervisor.start(f"scheduler-binder-{number}", self._bind_decided)
                await self._decide()
        finally:
            for stop in stops:
                stop()

    async def _decide(self) -> None:
        while True:
            info = await self._queue.pop()
            outcome = self._decider.decide(info, self._profiles[_scheduler_of(info.pod)])
            if isinstance(outcome, Unschedulable):
                self._queue.park(info, outcome.wakes_on)
            elif claims := self._volumes.waiting_claims(info):
                # The room is kept while the volumes are bound there; then the pod is decided again, confined by them.
                self._state.nominate(info, outcome.node)
                self._queue.park(info, _STORAGE_ONLY, backs_off=False)
                await self._decided.put(_Decided(info, _Waits(outcome.node, tuple(claims))))
                continue
            else:
                self._state.place(info, outcome.node, assumed=True)
            await self._decided.put(_Decided(info, outcome))

    async def _bind_decided(self) -> None:
        while True:
            decided = await self._decided.get()
            match decided.outcome:
                case _Waits(node, claims):
                    await self._tell_claims(decided.info, claims, node)
                case Placement(node):
                    await self._bind(decided.info, node)
                case Unschedulable(message):
                    await self._report(decided.info, message)

    async def _tell_claims(self, info: PodInfo, claims: Sequence[Obj], node: str) -> None:
        """The claims that wait for their first consumer learn its node."""
        for claim in claims:
            if annotations_of(claim).get(SELECTED_NODE) == node:
                continue
            body = {"metadata": {"uid": uid_of(claim), "annotations": {SELECTED_NODE: node}}}
            try:
                await self._transport.patch(PERSISTENT_VOLUME_CLAIMS, key_of(claim), Patch(PatchType.MERGE, body))
            except ApiError as error:
                logger.warning("claim not told its node, retrying", pod=str(info.key), reason=error.message)
                self._queue.back_off(info)

    async def _bind(self, info: PodInfo, node: str) -> None:
        started = self._clock.monotonic()
        binding: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"namespace": info.key.namespace, "name": info.key.name, "uid": info.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            await self._transport.create(PODS, binding, name=info.key.name, subresource="binding")
        except ApiError as error:
            self._forget(info, error)
            return
        logger.info(
            "pod bound", pod=str(info.key), node=node, duration_ms=round((self._clock.monotonic() - started) * 1000, 1)
        )
        self._recorder.event(info.pod, "Normal", "Scheduled", f"Successfully assigned {info.key} to {node}")

    def _forget(self, info: PodInfo, error: ApiError) -> None:
        """The binding was refused, or its outcome is unknown: the cache says which, sooner or later."""
        if self._state.is_assumed(info.key):
            self._state.remove(info.key)
            self._queue.wake(Wake.POD_DELETED)
        pod = self._cache.get(PODS, info.key)
        if isinstance(error, NotFound) or pod is None or uid_of(pod) != info.uid or not self._is_ours(pod):
            return
        logger.warning("binding failed, retrying", pod=str(info.key), reason=error.message)
        if not isinstance(error, Conflict):
            self._recorder.event(info.pod, "Warning", "FailedScheduling", f"binding rejected: {error.message}")
        self._queue.back_off(pod_info(pod))

    async def _report(self, info: PodInfo, message: str) -> None:
        """Tell why no node fits: an Event, and the PodScheduled condition when it does not say so already."""
        self._recorder.event(info.pod, "Warning", "FailedScheduling", message)
        pod = self._cache.get(PODS, info.key)
        if pod is None or uid_of(pod) != info.uid or not self._is_ours(pod):
            return
        old = get_condition(conditions_of(pod), "PodScheduled")
        if old is not None and (old.get("status"), old.get("message")) == ("False", message):
            return
        since = old.get("lastTransitionTime") if old is not None and old.get("status") == "False" else None
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastProbeTime": None,
            "lastTransitionTime": since or format_time(self._clock.now()),
        }
        body = {"metadata": {"uid": info.uid}, "status": {"conditions": [condition]}}
        try:
            await self._transport.patch(PODS, info.key, Patch(PatchType.STRATEGIC, body), subresource="status")
        except ApiError as error:
            logger.debug("condition not written", pod=str(info.key), reason=error.message)
        logger.info("pod unschedulable", pod=str(info.key), reason=message)

    def _is_ours(self, pod: Obj) -> bool:
        """It waits for a node from this scheduler: unbound, alive, ungated."""
        spec = pod.get("spec") or {}
        return (
            not spec.get("nodeName")
            and not is_deleting(pod)
            and not _is_finished(pod)
            and not spec.get("schedulingGates")
            and _scheduler_of(pod) in self._profiles
        )

    def _on_pod(self, change: Change) -> None:
        pod = change.new
        node = str(field_of(pod, "spec", "nodeName", default="")) if pod is not None else ""
        if pod is None or _is_finished(pod):
            self._queue.remove(change.key)
            self._state.forget_nomination(change.key)
            if self._state.remove(change.key):
                self._queue.wake(Wake.POD_DELETED)
        elif node:
            self._queue.remove(change.key)
            was = self._state.place(pod_info(pod), node)
            if was or (change.old is not None and labels_of(change.old) != labels_of(pod)):
                self._queue.wake(Wake.POD_PLACED)
        elif not self._is_ours(pod):
            self._drop(change.key)
        elif not self._is_assumed_as(change.key, pod):
            self._queue_if_changed(pod_info(pod))

    def _is_assumed_as(self, key: Key, pod: Obj) -> bool:
        """Its binding is on its way; a new pod of that name is another matter."""
        if not self._state.is_assumed(key):
            return False
        if self._state.uid_at(key) == uid_of(pod):
            return True
        self._drop(key)
        return False

    def _drop(self, key: Key) -> None:
        self._queue.remove(key)
        if self._state.remove(key):
            self._queue.wake(Wake.POD_DELETED)

    def _queue_if_changed(self, info: PodInfo) -> None:
        """Only what scheduling looks at counts: our own condition must not wake the pod that it is about."""
        known = self._queue.known(info.key)
        if known is None or known.uid != info.uid or known.pod.get("spec") != info.pod.get("spec"):
            self._queue.add(info)

    def _on_storage(self, change: Change) -> None:
        self._queue.wake(Wake.STORAGE_CHANGED)

    def _on_namespace(self, change: Change) -> None:
        self._state.set_namespace(change.key.name, None if change.new is None else labels_of(change.new))

    def _on_node(self, change: Change) -> None:
        if change.new is None:
            self._state.remove_node(change.key.name)
            return
        self._state.set_node(change.new)
        for wake in wakes_of(change.old, change.new):
            self._queue.wake(wake)


def wakes_of(old: Obj | None, new: Obj) -> tuple[Wake, ...]:
    """What a node's change may mean for pods that did not fit."""
    if old is None:
        return (Wake.NODE_ADDED,)
    wakes: list[Wake] = []
    if field_of(old, "status", "allocatable") != field_of(new, "status", "allocatable"):
        wakes.append(Wake.NODE_GREW)
    if field_of(old, "metadata", "labels") != field_of(new, "metadata", "labels"):
        wakes.append(Wake.NODE_RELABELED)
    for name in ("taints", "unschedulable"):
        if field_of(old, "spec", name) != field_of(new, "spec", name):
            wakes.append(Wake.NODE_UNTAINTED)
            break
    return tuple(wakes)


def _scheduler_of(pod: Obj) -> str:
    return str(field_of(pod, "spec", "schedulerName", default="")) or DEFAULT_SCHEDULER


def _is_finished(pod: Obj) -> bool:
    return field_of(pod, "status", "phase") in ("Succeeded", "Failed")
