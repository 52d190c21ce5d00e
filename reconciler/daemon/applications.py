"""Applications: one level-triggered loop.  Each look compares everything again and does what is missing.

Here: who is looked at and when, and whether it may run at all.  The look itself is `synchronise`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from loguru import logger

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.base.workqueue import ShutDown, WorkQueue
from cluster.client.cache import Change
from cluster.client.transport import Patch, PatchType, Transport
from cluster.machinery.errors import ApiError
from cluster.machinery.objects import (
    Key,
    Obj,
    annotations_of,
    field_of,
    generation_of,
    is_deleting,
    key_of,
    uid_of,
)
from reconciler.apply.inventory import Inventory
from reconciler.crds.application import APPLICATIONS
from reconciler.crds.inventory import INVENTORIES
from reconciler.crds.repository import REPOSITORIES
from reconciler.crds.run import RUNS
from reconciler.daemon.claims import Claims
from reconciler.daemon.dependencies import unmet
from reconciler.daemon.install import ensure_namespace
from reconciler.daemon.journal import Journal
from reconciler.daemon.own_kinds import OwnKinds
from reconciler.daemon.owned import OwnedObjects
from reconciler.daemon.removal import FINALIZER, Removal
from reconciler.daemon.reverts import Reverts
from reconciler.daemon.sources import RepositoryState, Sources
from reconciler.daemon.spec import REQUESTED_ANNOTATION, ApplicationSpec, application_spec
from reconciler.daemon.state import ApplicationState, state_from
from reconciler.daemon.status import UNKNOWN, View
from reconciler.daemon.synchronise import Synchroniser
from reconciler.daemon.telling import Telling
from reconciler.errors import StageError
from reconciler.model import Ref, Sync
from reconciler.pipeline import CacheOf, Impersonate, Pipeline, Prepared

GATHER_S = 0.02
"""Changes of many objects within this time are one look."""

BACKOFF_BASE_S = 1.0
BACKOFF_MAX_S = 30.0


class Applications:
    """Looks at applications, several at a time, never at one twice at once."""

    def __init__(
        self,
        *,
        transport: Transport,
        impersonate: Impersonate,
        cache_of: CacheOf,
        pipeline: Pipeline,
        sources: Sources,
        journal: Journal,
        reverts: Reverts,
        clock: Clock,
        entropy: Entropy,
        operator: Callable[[], Key | None],
    ) -> None:
        """`operator` names the bootstrap application, once there is one."""
        self._transport = transport
        self._impersonate = impersonate
        self._cache = OwnKinds(cache_of)
        self._pipeline = pipeline
        self._clock = clock
        self._sources = sources
        self._queue: WorkQueue[Key] = WorkQueue(
            clock, entropy, backoff_base_s=BACKOFF_BASE_S, backoff_max_s=BACKOFF_MAX_S
        )
        self._owned = OwnedObjects(cache_of, lambda key: self._queue.add_after(key, GATHER_S))
        self._states: dict[Key, ApplicationState] = {}
        self._claims = Claims()
        self._telling = Telling(transport, self._cache, clock)
        self._reverts = reverts
        self._synchroniser = Synchroniser(
            pipeline=pipeline,
            kinds=self._cache,
            sources=sources,
            claims=self._claims,
            journal=journal,
            telling=self._telling,
            reverts=reverts,
            clock=clock,
            operator=operator,
        )

    def subscribe(self) -> Callable[[], None]:
        """Begin to be told about applications; every one present is looked at.  Returns the way to stop."""
        self._claims.load(self._cache.list(INVENTORIES))
        return self._cache.subscribe(APPLICATIONS, self._on_change)

    def repository_changed(self, repository: Key) -> None:
        for application in self._cache.list(APPLICATIONS, namespace=repository.namespace):
            if field_of(application, "spec", "repositoryRef", "name") == repository.name:
                self._queue.add(key_of(application))

    async def work(self) -> None:
        """One worker."""
        while True:
            try:
                key = await self._queue.get()
            except ShutDown:
                return
            try:
                await self._look_safely(key)
            finally:
                self._queue.done(key)

    async def run_timers(self) -> None:
        await self._queue.run_timers()

    def close(self) -> None:
        self._queue.shut_down()
        self._owned.close()

    def _on_change(self, change: Change) -> None:
        if _asks(change.old) != _asks(change.new):
            self._queue.add(change.key)
        if field_of(change.old or {}, "status") != field_of(change.new or {}, "status"):
            for application in self._cache.list(APPLICATIONS, namespace=change.key.namespace):
                depends: Sequence[Obj] = field_of(application, "spec", "dependsOn", default=())
                if any(each.get("name") == change.key.name for each in depends):
                    self._queue.add(key_of(application))

    async def _look_safely(self, key: Key) -> None:
        application = self._cache.get(APPLICATIONS, key)
        if application is None:
            self._forget(key)
            return
        try:
            await self._look(key, application)
            self._queue.forget(key)
        except StageError as error:
            if error.retryable:
                self._queue.add_rate_limited(key)
            await self._telling.tell_failure(
                application, self._states.get(key), error.stage, error.message, stalled=not error.retryable
            )
        except ApiError as error:
            delay_s = self._queue.add_rate_limited(key)
            logger.warning("api request failed, retrying", app=str(key), reason=error.message, delay_s=delay_s)
            await self._telling.tell_failure(application, self._states.get(key), "api", error.message, stalled=False)
        except Exception as error:  # noqa: BLE001 - one application's surprise must not end the others' worker
            delay_s = self._queue.add_rate_limited(key)
            logger.opt(exception=error).error("application failed unexpectedly", app=str(key), delay_s=delay_s)

    async def _look(self, key: Key, application: Obj) -> None:
        state = self._state(key, application)
        spec = application_spec(application)
        if is_deleting(application):
            await self._remove(spec, application, state)
            return
        now = self._clock.now()
        if spec.is_suspended(now):
            view = View(Sync.UNKNOWN, UNKNOWN, reason="Suspended", message=str(spec.suspension))
            await self._telling.tell(application, state, view)
            if spec.suspension.until is not None:
                self._queue.add_after(key, (spec.suspension.until - now).total_seconds())
            return
        repository = self._sources.state(spec.repository)
        if repository is None or repository.revision is None:
            why = self._sources.why_not(spec.repository) or "not read yet"
            message = f"repository {spec.repository.name}: {why}"
            view = View(Sync.UNKNOWN, UNKNOWN, reason="SourceNotReady", message=message, reconciling=True)
            await self._telling.tell(application, state, view)
            return
        if spec.requested != state.handled and self._is_asked_too(spec, repository):
            return  # the source is looked at first, and tells when it is done
        if waiting := unmet(spec, self._cache, self._sources):
            view = View(Sync.UNKNOWN, UNKNOWN, repository.revision, reason="DependencyNotReady", message=waiting)
            await self._telling.tell(application, state, replace(view, reconciling=True))
            return
        if FINALIZER not in application["metadata"].get("finalizers", ()):
            await self._add_finalizer(application)
        await self._synchronise(spec, application, state, repository)

    def _is_asked_too(self, spec: ApplicationSpec, repository: RepositoryState) -> bool:
        """The same request was made of the repository and is not answered yet."""
        obj = self._cache.get(REPOSITORIES, spec.repository)
        asked = annotations_of(obj).get(REQUESTED_ANNOTATION) if obj is not None else None
        return asked == spec.requested and repository.requested != spec.requested

    async def _synchronise(
        self, spec: ApplicationSpec, application: Obj, state: ApplicationState, repository: RepositoryState
    ) -> None:
        head = repository.revision
        if head is None:
            return
        state.head = head.id
        chosen = await self._reverts.choose(spec, application, state, repository.source, head)
        if spec.create_namespace and not state.applied:
            await ensure_namespace(self._transport, spec.target_namespace)
        rights = self._transport_of(spec)
        try:
            prepared = await self._synchroniser.bring_about(
                spec, application, state, repository, chosen.revision, rights
            )
        finally:
            self._settle(spec.key, state.inventory.entries)
        if prepared is None:
            self._queue.add(spec.key)
            return
        # Before anything is judged: a change that comes after the judgement must not be missed.
        self._track(spec.key, state, prepared)
        again_s = await self._synchroniser.conclude(
            spec, application, state, prepared, head=head, instead_of=chosen.instead_of
        )
        self._queue.add_after(spec.key, again_s)

    async def _add_finalizer(self, application: Obj) -> None:
        finalizers = [*application["metadata"].get("finalizers", ()), FINALIZER]
        meta = {"finalizers": finalizers, "resourceVersion": application["metadata"]["resourceVersion"]}
        await self._transport.patch(APPLICATIONS, key_of(application), Patch(PatchType.MERGE, {"metadata": meta}))

    async def _remove(self, spec: ApplicationSpec, application: Obj, state: ApplicationState) -> None:
        suspended = spec.is_suspended(self._clock.now())
        removal = Removal(self._transport, self._transport_of(spec), self._pipeline)
        await removal.remove(application, state.inventory, prune=spec.prune and not suspended)
        self._settle(spec.key, state.inventory.entries)

    def _transport_of(self, spec: ApplicationSpec) -> Transport:
        if not spec.service_account:
            return self._transport
        namespace = spec.key.namespace
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        return self._impersonate(f"system:serviceaccount:{namespace}:{spec.service_account}", groups)

    def _state(self, key: Key, application: Obj) -> ApplicationState:
        known = self._states.get(key)
        if known is not None and known.uid == uid_of(application):
            return known
        chunks = self._cache.list(INVENTORIES, namespace=key.namespace)
        inventory = Inventory(self._transport, application, chunks)
        runs = self._cache.list(RUNS, namespace=key.namespace)
        state = self._states[key] = state_from(application, inventory, runs)
        self._settle(key, state.inventory.entries)
        return state

    def _settle(self, key: Key, owned: Collection[Ref]) -> None:
        """Settle the application's claims; whoever was refused an object that is free now is looked at again."""
        free = self._claims.settle(key, owned)
        for other, state in sorted(self._states.items()):
            if not state.refused.isdisjoint(free):
                self._queue.add(other)

    def _track(self, key: Key, state: ApplicationState, prepared: Prepared) -> None:
        kinds = {manifest.gvk: manifest for manifest in prepared.manifests}
        resources = [
            resource for manifest in kinds.values() if (resource := self._pipeline.resource_of(manifest)) is not None
        ]
        refs = {manifest.ref for manifest in prepared.manifests} | set(state.inventory.entries)
        self._owned.track(key, refs, resources)

    def _forget(self, key: Key) -> None:
        self._pipeline.forget(key)
        if self._states.pop(key, None) is not None:
            self._owned.forget(key)
        self._settle(key, ())


def _asks(application: Obj | None) -> tuple[object, ...]:
    """What of an application's state is a reason to look at it: not its status."""
    if application is None:
        return ()
    return (
        uid_of(application),
        generation_of(application),
        is_deleting(application),
        sorted(annotations_of(application).items()),
    )
