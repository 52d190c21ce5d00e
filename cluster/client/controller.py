"""The loop every controller shares: changes become keys, keys are reconciled, writes are carried out and remembered.

A controller says which resource its keys name (`primary`), what else wakes them (`wakes`) and how to `reconcile` one key
from the cache's current state.  Everything else is here: one worker per key, back-off, waiting, reading one's own writes,
one log line per reconcile that changed something.  Shape: controller-runtime's Reconciler (level-based: the request is a
key, never an event); waiting, backing off and stopping are three different results.

Reading our own writes: what a reconcile of a key wrote is noted, and the key is not reconciled again on a cache that does
not show it yet.  This replaces upstream's expectations; it holds because one store orders all writes.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, ClassVar, Protocol, assert_never

from loguru import logger

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.base.tasks import Supervisor
from cluster.base.workqueue import ShutDown, WorkQueue
from cluster.client.cache import Cache, Change
from cluster.client.informer import revision_of
from cluster.client.transport import DeleteOptions, Transport
from cluster.client.unrest import Unrest
from cluster.client.writes import Create, Delete, PatchObject, SetStatus, Update, Write
from cluster.machinery.errors import AlreadyExists, ApiError, Conflict, NotFound
from cluster.machinery.objects import (
    Key,
    Obj,
    controller_of,
    is_deleting,
    key_of,
    labels_of,
    namespace_of,
    resource_version_of,
    uid_of,
)
from cluster.machinery.resource import Resource
from cluster.machinery.selectors import Selector, SelectorError, selector_of

STALE_RETRY_S = 0.02
"""How soon a key is tried again whose own last write the cache does not show yet."""
BATCH_FIRST = 1
BATCH_MAX = 64
"""Creates and deletes go out in batches that double, so that a refusal (a quota) costs one request, not hundreds."""


class Recorder(Protocol):
    """Where controllers tell users what happened to an object."""

    def event(self, obj: Obj, type_: str, reason: str, message: str) -> None:
        """Record an Event about `obj`; `type_` is Normal or Warning.  Never blocks and never fails."""
        ...


@dataclass(frozen=True, slots=True)
class Result:
    """The reconcile ended well; with `again_after_s` the key is looked at again after that many seconds."""

    again_after_s: float | None = None


DONE = Result()


class Terminal(Exception):
    """Nothing to retry until the object changes; the message says why."""


@dataclass(frozen=True, slots=True)
class Wakeup:
    """Changes of `resource` wake the keys that `keys` finds for the old and the new state of the changed object."""

    resource: Resource
    keys: Callable[[Obj, Resource, Cache], Iterable[Key]]


def owner_of(resource: Resource) -> Wakeup:
    """A changed dependent wakes the primary object that its controller reference names."""
    return Wakeup(resource, _owner_keys)


SelectorOf = Callable[[Any], Selector]
"""Reads a `spec.selector`; raises SelectorError."""


def owner_or_selecting(resource: Resource, reads: SelectorOf = selector_of) -> Wakeup:
    """As `owner_of`; one without a controller wakes every primary object whose `spec.selector` matches its labels."""

    def keys(obj: Obj, primary: Resource, cache: Cache) -> Iterable[Key]:
        if controller_of(obj) is not None:
            return _owner_keys(obj, primary, cache)
        if is_deleting(obj):
            return ()
        return selecting_keys(obj, primary, cache, reads)

    return Wakeup(resource, keys)


def _owner_keys(obj: Obj, primary: Resource, _: Cache) -> Iterable[Key]:
    owner = controller_of(obj)
    if owner is None or owner.get("kind") != primary.kind:
        return ()
    if str(owner.get("apiVersion", "")).rpartition("/")[0] != primary.group:
        return ()
    return (Key(namespace_of(obj) if primary.namespaced else "", owner.get("name", "")),)


def selecting_keys(obj: Obj, primary: Resource, cache: Cache, reads: SelectorOf = selector_of) -> Iterable[Key]:
    """The primary objects in the namespace of `obj` whose `spec.selector`, by default a LabelSelector, matches it."""
    found: list[Key] = []
    for candidate in cache.list(primary, namespace=namespace_of(obj)):
        try:
            selector = reads((candidate.get("spec") or {}).get("selector"))
        except SelectorError:
            continue
        if not selector.is_empty and selector.matches(labels_of(obj)):
            found.append(key_of(candidate))
    return found


@dataclass(slots=True)
class _Attempt:
    """One reconcile in progress: what it wrote."""

    key: Key
    wrote: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Written:
    """What the last reconcile of a key wrote and the cache must show before the next one."""

    revisions: dict[Resource, int] = field(default_factory=dict)
    deleted: list[tuple[Resource, Key, str]] = field(default_factory=list)


_attempt: ContextVar[_Attempt] = ContextVar("attempt")


class Controller(ABC):
    """See the module.  Subclasses set the class variables and implement `reconcile`."""

    name: ClassVar[str]
    account: ClassVar[str]
    """Its ServiceAccount in kube-system: what the default roles are bound to."""
    primary: ClassVar[Resource]
    wakes: ClassVar[Sequence[Wakeup]] = ()
    reads: ClassVar[Sequence[Resource]] = ()
    """Further resources the reconcile reads from the cache."""
    workers: ClassVar[int] = 4

    def __init__(
        self, *, transport: Transport, cache: Cache, clock: Clock, entropy: Entropy, recorder: Recorder
    ) -> None:
        self.transport = transport
        self.cache = cache
        self.clock = clock
        self.entropy = entropy
        self.recorder = recorder
        self.queue: WorkQueue[Key] = WorkQueue(clock, entropy)
        self.unrest: Unrest[Key] = Unrest(clock)
        self._written: dict[Key, _Written] = {}

    @classmethod
    def identity(cls) -> str:
        """The user name this controller acts as."""
        return f"system:serviceaccount:kube-system:{cls.account}"

    @abstractmethod
    async def reconcile(self, key: Key) -> Result:
        """Move the world towards what the object at `key` asks for, from the cache's present state."""

    @property
    def resources(self) -> tuple[Resource, ...]:
        """Everything this controller reads from the cache."""
        return tuple(dict.fromkeys((self.primary, *(wakeup.resource for wakeup in self.wakes), *self.reads)))

    async def run(self) -> None:
        """Work until cancelled."""
        await self.cache.sync(self.resources)
        stops = [self.cache.subscribe(self.primary, self._on_primary)]
        stops += [self.cache.subscribe(wakeup.resource, self._waker(wakeup)) for wakeup in self.wakes]
        try:
            async with Supervisor(self.clock) as supervisor:
                supervisor.start(f"{self.name}-timers", self.queue.run_timers)
                for number in range(self.workers):
                    supervisor.start(f"{self.name}-{number}", self._work)
                self.on_start(supervisor)
                await asyncio.Event().wait()
        finally:
            for stop in stops:
                stop()

    def on_start(self, supervisor: Supervisor) -> None:
        """Start further tasks of this controller (a periodic look); none by default."""
        return

    async def commit(self, writes: Iterable[Write]) -> tuple[Obj | None, ...]:
        """Carry out `writes` in order; return what the server answered for each (None: nothing had to be done).

        Neighbouring creates, and neighbouring deletes, go out in doubling batches.  The first failure, in the order
        given, ends the commit and is raised; what was written stays noted.
        """
        results: list[Obj | None] = []
        for batchable, group in groupby(writes, key=_batch_of):
            pending = list(group)
            size = BATCH_FIRST if batchable is not None else 1
            while pending:
                batch, pending = pending[:size], pending[size:]
                answers = await asyncio.gather(*(self._write(write) for write in batch), return_exceptions=True)
                for answer in answers:
                    if isinstance(answer, BaseException):
                        raise answer
                    results.append(answer)
                size = min(size * 2, BATCH_MAX) if batchable is not None else 1
        return tuple(results)

    async def _write(self, write: Write) -> Obj | None:
        match write:
            case Create(resource, obj, exists_ok):
                try:
                    answer = await self.transport.create(resource, obj)
                except AlreadyExists:
                    if exists_ok:
                        return None
                    raise
                self._note(resource, answer, "create")
            case Update(resource, obj, subresource):
                answer = await self.transport.update(resource, obj, subresource=subresource)
                self._note(resource, answer, "update")
            case PatchObject(resource, key, patch, subresource, absent_ok):
                try:
                    answer = await self.transport.patch(resource, key, patch, subresource=subresource)
                except NotFound:
                    if absent_ok:
                        return None
                    raise
                self._note(resource, answer, "patch")
            case Delete():
                return await self._delete(write)
            case SetStatus(resource, obj, status):
                if obj.get("status") == status:
                    return None
                answer = await self.transport.update(resource, {**obj, "status": status}, subresource="status")
                self._note(resource, answer, "status of")
            case _:
                assert_never(write)
        return answer

    async def _delete(self, write: Delete) -> Obj | None:
        options = DeleteOptions(
            grace_period_s=write.grace_period_s,
            propagation_policy=write.propagation_policy,
            uid=write.uid,
            resource_version=write.resource_version,
        )
        try:
            answer = await self.transport.delete(write.resource, write.key, options)
        except NotFound:
            return None
        except Conflict:
            # Without a resourceVersion only the uid can differ: that object is gone, another has its name.
            if write.resource_version:
                raise
            return None
        attempt = _attempt.get(None)
        if attempt is not None:
            attempt.wrote.append(f"delete {write.resource.qualified_name}")
            written = self._written.setdefault(attempt.key, _Written())
            written.deleted.append((write.resource, write.key, write.uid))
        return answer

    def _note(self, resource: Resource, answer: Obj, verb: str) -> None:
        attempt = _attempt.get(None)
        if attempt is None:
            return
        attempt.wrote.append(f"{verb} {resource.qualified_name}")
        written = self._written.setdefault(attempt.key, _Written())
        revision = revision_of(resource_version_of(answer))
        written.revisions[resource] = max(written.revisions.get(resource, 0), revision)

    def _cache_shows_writes(self, key: Key) -> bool:
        written = self._written.get(key)
        if written is None:
            return True
        read = self.resources
        for resource, revision in written.revisions.items():
            if resource in read and self.cache.revision(resource) < revision:
                return False
        for resource, deleted, uid in written.deleted:
            if resource not in read:
                continue
            still = self.cache.get(resource, deleted)
            if still is not None and uid_of(still) == uid and not is_deleting(still):
                return False
        del self._written[key]
        return True

    def _on_primary(self, change: Change) -> None:
        if self.wants(change):
            self.queue.add(change.key)

    def wants(self, change: Change) -> bool:
        """Whether a change of the primary object itself is a reason to look; all are by default."""
        return True

    def _waker(self, wakeup: Wakeup) -> Callable[[Change], None]:
        def wake(change: Change) -> None:
            for obj in (change.old, change.new):
                if obj is not None:
                    for key in wakeup.keys(obj, self.primary, self.cache):
                        self.queue.add(key)

        return wake

    async def _work(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except ShutDown:
                return
            try:
                await self._attempt(key)
            finally:
                self.queue.done(key)

    async def _attempt(self, key: Key) -> None:
        self.unrest.began(key)
        if not self._cache_shows_writes(key):
            self.queue.add_after(key, STALE_RETRY_S)
            return
        attempt = _Attempt(key)
        token = _attempt.set(attempt)
        started = self.clock.monotonic()
        try:
            result = await self.reconcile(key)
        except Terminal as stop:
            self.queue.forget(key)
            self.unrest.rested(key)
            logger.warning("reconcile stopped", controller=self.name, key=str(key), reason=str(stop))
        except Conflict as error:
            # Someone else wrote first: look again, on newer state.
            self.queue.add_rate_limited(key)
            logger.debug("reconcile met a newer object", controller=self.name, key=str(key), reason=error.message)
        except ApiError as error:
            delay_s = self.queue.add_rate_limited(key)
            logger.warning(
                "reconcile failed, retrying",
                controller=self.name, key=str(key), reason=error.message, delay_s=round(delay_s, 3),
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - a bug in one controller must not stop the others
            delay_s = self.queue.add_rate_limited(key)
            logger.opt(exception=error).error(
                "reconcile broke, retrying",
                controller=self.name, key=str(key), reason=repr(error), delay_s=round(delay_s, 3),
            )  # fmt: skip
        else:
            self.queue.forget(key)
            (self.unrest.wrote if attempt.wrote else self.unrest.rested)(key)
            if result.again_after_s is not None:
                self.queue.add_after(key, result.again_after_s)
        finally:
            _attempt.reset(token)
            if attempt.wrote:
                logger.info(
                    "reconciled",
                    controller=self.name,
                    key=str(key),
                    duration_ms=round((self.clock.monotonic() - started) * 1000, 1),
                    reason=_summary(attempt.wrote),
                )


def _batch_of(write: Write) -> tuple[type, Resource] | None:
    """Neighbours with the same answer may go out together; None: one at a time."""
    return (type(write), write.resource) if isinstance(write, Create | Delete) else None


def _summary(wrote: Sequence[str]) -> str:
    """`create pods x3, status of replicasets.apps`: what was done, in order."""
    parts: list[str] = []
    for text, same in groupby(wrote):
        count = sum(1 for _ in same)
        parts.append(f"{text} x{count}" if count > 1 else text)
    return ", ".join(parts)
