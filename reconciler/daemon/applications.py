"""Applications: one level-triggered loop.  Each look compares everything again and does what is missing.

A look never waits for health, so a newer commit, a drift or a request is acted on at once; waiting is being woken by the
objects' own changes.  The order of a look: may it run, what would change, change it, how is it now, tell.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from loguru import logger

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.base.workqueue import ShutDown, WorkQueue
from cluster.client.cache import Change
from cluster.client.transport import Patch, PatchType, Transport
from cluster.machinery.errors import ApiError, NotFound
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
from cluster.machinery.timestamps import format_time
from reconciler.apply.inventory import Inventory
from reconciler.config import SYSTEM_NAMESPACE
from reconciler.crds.application import APPLICATIONS
from reconciler.crds.inventory import INVENTORIES
from reconciler.crds.repository import REPOSITORIES
from reconciler.crds.run import RUNS
from reconciler.daemon.attempt import Attempt, Failure, due, failures_after
from reconciler.daemon.claims import Claims
from reconciler.daemon.dependencies import unmet
from reconciler.daemon.install import ensure_namespace
from reconciler.daemon.journal import Journal
from reconciler.daemon.own_kinds import OwnKinds
from reconciler.daemon.owned import OwnedObjects
from reconciler.daemon.removal import FINALIZER, Removal
from reconciler.daemon.sources import RepositoryState, Sources
from reconciler.daemon.spec import REQUESTED_ANNOTATION, ApplicationSpec, application_spec
from reconciler.daemon.status import View, status_of
from reconciler.errors import StageError
from reconciler.health.status import worst
from reconciler.history.runs import proven_trees, runs_of
from reconciler.model import (
    Action,
    Done,
    Health,
    HealthStatus,
    Outcome,
    Ref,
    Revision,
    Sync,
    Trigger,
    Verb,
)
from reconciler.pipeline import CacheOf, Impersonate, Pipeline, Prepared, Task, counts_of

PREEMPTIONS_MAX = 3
"""After so many syncs cut short in a row one is let through, so that a busy repository still finishes."""

GATHER_S = 0.02
"""Changes of many objects within this time are one look."""

UNKNOWN = HealthStatus(Health.UNKNOWN)


@dataclass(slots=True)
class _State:
    """What is known of an application between looks; all of it can be rebuilt from the API."""

    uid: str
    inventory: Inventory
    applied: str
    """The last revision applied completely."""
    handled: str
    """The value of the request annotation last acted on."""
    proven: set[str]
    attempt: Attempt | None = None
    recorded: bool = True
    """Whether `attempt` has its run."""
    last_run: str = ""
    synced_at: str = ""
    attempted: tuple[str, int] = ("", 0)
    failures: dict[Ref, Failure] = field(default_factory=dict)
    refused: set[Ref] = field(default_factory=set)
    preempted: int = 0
    described: str = ""
    """The last thing said about it, so that it is said once."""


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
        clock: Clock,
        entropy: Entropy,
        operator: Callable[[], Key | None],
    ) -> None:
        """`operator` names the bootstrap application, once there is one."""
        self._transport = transport
        self._impersonate = impersonate
        self._cache = OwnKinds(cache_of)
        self._pipeline = pipeline
        self._sources = sources
        self._journal = journal
        self._clock = clock
        self._operator = operator
        self._queue: WorkQueue[Key] = WorkQueue(clock, entropy, backoff_base_s=1.0, backoff_max_s=120.0)
        self._owned = OwnedObjects(cache_of, lambda key: self._queue.add_after(key, GATHER_S))
        self._states: dict[Key, _State] = {}
        self._claims = Claims()

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
            await self._tell_failure(application, error.stage, error.message, stalled=not error.retryable)
        except ApiError as error:
            delay_s = self._queue.add_rate_limited(key)
            logger.warning("api request failed, retrying", app=str(key), reason=error.message, delay_s=delay_s)
            await self._tell_failure(application, "api", error.message, stalled=False)
        except Exception as error:  # noqa: BLE001 - one application's surprise must not end the others' worker
            delay_s = self._queue.add_rate_limited(key)
            logger.opt(exception=error).error("application failed unexpectedly", app=str(key), delay_s=delay_s)

    async def _look(self, key: Key, application: Obj) -> None:
        state = self._state(key, application)
        spec = application_spec(application)
        if is_deleting(application):
            await self._remove(spec, application, state)
            return
        if spec.suspend:
            await self._tell(application, state, View(Sync.UNKNOWN, UNKNOWN, reason="Suspended", message="suspended"))
            return
        repository = self._sources.state(spec.repository)
        if repository is None or repository.revision is None:
            why = repository.error if repository is not None else ""
            message = f"repository {spec.repository.name}: {why or 'not read yet'}"
            view = View(Sync.UNKNOWN, UNKNOWN, reason="SourceNotReady", message=message, reconciling=True)
            await self._tell(application, state, view)
            return
        if spec.requested != state.handled and self._is_asked_too(spec, repository):
            return  # the source is looked at first, and tells when it is done
        if waiting := unmet(spec, self._cache, self._sources):
            view = View(Sync.UNKNOWN, UNKNOWN, repository.revision, reason="DependencyNotReady", message=waiting)
            await self._tell(application, state, replace(view, reconciling=True))
            return
        if FINALIZER not in application["metadata"].get("finalizers", ()):
            await self._add_finalizer(application)
        await self._synchronise(spec, application, state, repository, repository.revision)

    def _is_asked_too(self, spec: ApplicationSpec, repository: RepositoryState) -> bool:
        """The same request was made of the repository and is not answered yet."""
        obj = self._cache.get(REPOSITORIES, spec.repository)
        asked = annotations_of(obj).get(REQUESTED_ANNOTATION) if obj is not None else None
        return asked == spec.requested and repository.requested != spec.requested

    async def _synchronise(
        self, spec: ApplicationSpec, application: Obj, state: _State, repository: RepositoryState, revision: Revision
    ) -> None:
        task = await self._task(spec, state, repository, revision)
        if spec.create_namespace and not state.applied:
            await ensure_namespace(self._transport, spec.target_namespace)
        prepared = await self._pipeline.prepare(task, state.inventory)
        leaving = {action.ref for action in prepared.plan.of(Verb.PRUNE, Verb.HOLD) if action.manifest is None}
        if leaving and (moved := await self._moved(spec, repository, revision, leaving)):
            prepared = await self._pipeline.prepare(replace(task, moved=moved), state.inventory)
        state.refused = {action.ref for action in prepared.plan.of(Verb.REFUSE)}
        trigger = self._trigger(spec, application, state, revision)
        now = self._clock.monotonic()
        changes = prepared.changes if trigger is Trigger.REQUEST else due(prepared.changes, state.failures, now)
        is_first = state.attempt is None or state.attempted != (revision.id, generation_of(application))
        if changes or is_first or trigger is Trigger.REQUEST:
            done = await self._act(spec, application, state, prepared, changes, trigger)
            if done is None:
                self._queue.add(spec.key)
                return
            state.attempted = (revision.id, generation_of(application))
            state.handled = spec.requested
        self._track(spec.key, state, prepared)
        await self._conclude(spec, application, state, prepared)

    async def _task(
        self, spec: ApplicationSpec, state: _State, repository: RepositoryState, revision: Revision
    ) -> Task:
        rewritten = bool(state.applied) and not await repository.source.follows(revision, state.applied)
        operator = self._operator() == spec.key
        return Task(
            application=spec.key,
            source=repository.source,
            revision=revision,
            path=spec.path,
            target_namespace=spec.target_namespace,
            authority=spec.authority(operator=operator, system_namespace=SYSTEM_NAMESPACE),
            drift=spec.drift,
            prune=spec.prune,
            claims=self._claims.of_others(spec.key),
            moved={},
            rewritten=rewritten,
            approved=spec.approves(revision.id),
            proven_trees=state.proven,
        )

    async def _moved(
        self, spec: ApplicationSpec, repository: RepositoryState, revision: Revision, leaving: Collection[Ref]
    ) -> Mapping[Ref, str]:
        """Which of `leaving` another application of this revision declares: moving a manifest recreates nothing."""
        moved: dict[Ref, str] = {}
        for application in self._cache.list(APPLICATIONS, namespace=spec.repository.namespace):
            if key_of(application) == spec.key or is_deleting(application):
                continue
            try:
                other = application_spec(application)
                if other.repository != spec.repository:
                    continue
                refs = await self._pipeline.declared(repository.source, revision, other.path, other.target_namespace)
            except StageError:
                continue  # its own look says what is wrong with it
            for ref in sorted(ref for ref in leaving if ref in refs):
                moved.setdefault(ref, str(other.key))
        return moved

    def _trigger(self, spec: ApplicationSpec, application: Obj, state: _State, revision: Revision) -> Trigger:
        if spec.requested and spec.requested != state.handled:
            return Trigger.REQUEST
        if state.attempted[0] != revision.id:
            return Trigger.REVISION
        if state.attempted[1] != generation_of(application):
            return Trigger.SPEC
        return Trigger.RETRY if state.failures else Trigger.DRIFT

    async def _act(
        self,
        spec: ApplicationSpec,
        application: Obj,
        state: _State,
        prepared: Prepared,
        changes: Sequence[Action],
        trigger: Trigger,
    ) -> Sequence[Done] | None:
        """Carry out `changes`; None when a newer commit took over before the end."""
        revision = prepared.task.revision
        await self._close_attempt(application, state, revision)
        started, started_at = self._clock.monotonic(), format_time(self._clock.now())
        chosen = {action.ref for action in changes}
        quiet = [action for action in prepared.plan.actions if action.verb not in _CHANGING]
        wanted = [action for action in prepared.plan.actions if action.verb in _CHANGING and action.ref in chosen]
        actions, lost = self._claims.claim(spec.key, wanted)

        def superseded() -> bool:
            newest = self._sources.state(spec.repository)
            newer = newest is not None and newest.revision is not None and newest.revision.id != revision.id
            return newer and state.preempted < PREEMPTIONS_MAX

        acted = await self._pipeline.carry_out(
            prepared, actions, state.inventory, self._transport_of(spec), superseded=superseded
        )
        self._claim(spec.key, state.inventory.entries)
        state.failures = failures_after(acted, state.failures, self._clock.monotonic())
        stopped = len(acted) < len(actions)
        done = [*acted, *lost, *(Done(action) for action in quiet), *_still_failing(prepared, chosen, state.failures)]
        state.attempt = Attempt(
            revision=revision,
            trigger=trigger,
            tree=prepared.tree,
            started=started,
            started_at=started_at,
            deadline=started + spec.timeout_s,
            done=done,
            problems=prepared.problems,
            counts=counts_of(done),
            held=prepared.plan.held,
        )
        state.recorded = False
        state.synced_at = format_time(self._clock.now())
        self._journal.applied(spec.key, revision, acted)
        if stopped:
            state.preempted += 1
            await self._record(application, state, Outcome.SUPERSEDED, UNKNOWN, "a newer commit took over")
            return None
        state.preempted = 0
        return done

    async def _conclude(self, spec: ApplicationSpec, application: Obj, state: _State, prepared: Prepared) -> None:
        """Judge the present state, record the attempt once it has an outcome, tell, and come back in time."""
        health = worst(_named(ref, status) for ref, status in await self._pipeline.ailing(prepared.manifests))
        attempt = state.attempt
        if attempt is None:
            return
        now = self._clock.monotonic()
        outcome = attempt.outcome(health, now)
        holds = prepared.plan.of(Verb.HOLD)
        if outcome is not None and not state.recorded:
            await self._record(application, state, outcome, health, attempt.message(health))
        if attempt.is_clean and not holds:
            state.applied = attempt.revision.id
        drifted = [str(action.ref) for action in holds if action.manifest is not None]
        is_synced = attempt.is_clean and not holds
        view = View(
            sync=Sync.SYNCED if is_synced else Sync.OUT_OF_SYNC,
            health=health,
            revision=attempt.revision,
            applied=is_synced,
            reason="" if is_synced else _reason_of(attempt, drifted),
            message=attempt.message(health),
            reconciling=outcome is None,
            stalled=outcome in (Outcome.FAILED, Outcome.PARTIAL),
            counts=attempt.counts,
            drifted=drifted,
            last_run=state.last_run,
            synced_at=state.synced_at,
            handled_request=state.handled,
        )
        await self._tell(application, state, view)
        waits = [spec.interval_s, *(failure.retry_at - now for failure in state.failures.values())]
        if outcome is None:
            waits.append(attempt.deadline - now)
        self._queue.add_after(spec.key, max(min(waits), 0.01))

    async def _close_attempt(self, application: Obj, state: _State, revision: Revision) -> None:
        """Record what came before, when something else begins."""
        attempt = state.attempt
        if attempt is None or state.recorded:
            return
        newer = attempt.revision.id != revision.id
        outcome = Outcome.SUPERSEDED if newer else Outcome.APPLIED
        why = "a newer commit came before it was healthy" if newer else "changed again before it was healthy"
        await self._record(application, state, outcome, UNKNOWN, why)

    async def _record(
        self, application: Obj, state: _State, outcome: Outcome, health: HealthStatus, message: str
    ) -> None:
        attempt = state.attempt
        if attempt is None:
            return
        state.recorded = True
        if outcome is Outcome.SUCCEEDED and attempt.proves_tree:
            state.proven.add(attempt.tree)
        name = await self._journal.finished(application, attempt, outcome, health, message)
        state.last_run = name or state.last_run

    async def _tell(self, application: Obj, state: _State | None, view: View) -> None:
        if state is not None and view.reason and view.reason != state.described:
            logger.info("application not ready", app=str(key_of(application)), result=view.reason, reason=view.message)
        if state is not None:
            state.described = view.reason
        await self._write_status(application, view)

    async def _tell_failure(self, application: Obj, stage: str, message: str, *, stalled: bool) -> None:
        state = self._states.get(key_of(application))
        view = View(
            Sync.UNKNOWN, UNKNOWN, reason=f"{stage.capitalize()}Failed", message=message, stalled=stalled,
            reconciling=not stalled,
        )  # fmt: skip
        try:
            await self._tell(application, state, view)
        except ApiError as error:
            logger.warning("application status not written", app=str(key_of(application)), reason=error.message)

    async def _write_status(self, application: Obj, view: View) -> None:
        fresh = self._cache.get(APPLICATIONS, key_of(application)) or application
        status = status_of(fresh, view, format_time(self._clock.now()))
        if status == (fresh.get("status") or {}):
            return
        patch = Patch(PatchType.MERGE, {"status": status})
        try:
            await self._transport.patch(APPLICATIONS, key_of(application), patch, subresource="status")
        except NotFound:
            return

    async def _add_finalizer(self, application: Obj) -> None:
        finalizers = [*application["metadata"].get("finalizers", ()), FINALIZER]
        meta = {"finalizers": finalizers, "resourceVersion": application["metadata"]["resourceVersion"]}
        await self._transport.patch(APPLICATIONS, key_of(application), Patch(PatchType.MERGE, {"metadata": meta}))

    async def _remove(self, spec: ApplicationSpec, application: Obj, state: _State) -> None:
        removal = Removal(self._transport, self._transport_of(spec), self._pipeline)
        await removal.remove(application, state.inventory, prune=spec.prune and not spec.suspend)
        self._claim(spec.key, state.inventory.entries)

    def _transport_of(self, spec: ApplicationSpec) -> Transport:
        if not spec.service_account:
            return self._transport
        namespace = spec.key.namespace
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        return self._impersonate(f"system:serviceaccount:{namespace}:{spec.service_account}", groups)

    def _state(self, key: Key, application: Obj) -> _State:
        known = self._states.get(key)
        if known is not None and known.uid == uid_of(application):
            return known
        chunks = self._cache.list(INVENTORIES, namespace=key.namespace)
        inventory = Inventory(self._transport, application, chunks)
        status: Obj = application.get("status") or {}
        runs = runs_of(self._cache.list(RUNS, namespace=key.namespace), key)
        state = self._states[key] = _State(
            uid=uid_of(application),
            inventory=inventory,
            applied=str(status.get("revision", "")),
            handled=str(status.get("lastHandledRequest", "")),
            proven=set(proven_trees(runs)),
            last_run=str(status.get("lastRun", "")),
            synced_at=str(status.get("lastSyncedAt", "")),
        )
        self._claim(key, state.inventory.entries)
        return state

    def _claim(self, key: Key, owned: Collection[Ref]) -> None:
        """Settle the application's claims; whoever was refused an object that is free now is looked at again."""
        free = self._claims.settle(key, owned)
        for other, state in sorted(self._states.items()):
            if not state.refused.isdisjoint(free):
                self._queue.add(other)

    def _track(self, key: Key, state: _State, prepared: Prepared) -> None:
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
        self._claim(key, ())


_CHANGING = frozenset({Verb.CREATE, Verb.UPDATE, Verb.PRUNE})


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


def _still_failing(prepared: Prepared, chosen: Collection[Ref], failures: Mapping[Ref, Failure]) -> Sequence[Done]:
    """Changes left out of this attempt because they failed shortly before."""
    return [
        Done(action, error="failed before; tried again later")
        for action in prepared.changes
        if action.ref not in chosen and action.ref in failures
    ]


def _named(ref: Ref, status: HealthStatus) -> HealthStatus:
    return replace(status, message=f"{ref}: {status.message}") if status.message else status


def _reason_of(attempt: Attempt, drifted: Sequence[str]) -> str:
    if not attempt.is_clean:
        return "Failed"
    return "Drifted" if drifted and not attempt.held else "PruneHeld"
