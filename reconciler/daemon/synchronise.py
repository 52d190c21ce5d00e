"""One look at one application that may run: what would change, change it (`bring_about`); how is it now, tell (`conclude`).

Never waits for health: a newer commit, drift or a request is acted on at the next look, and the objects' own changes ask
for that look.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from cluster.base.clock import Clock
from cluster.client.transport import Transport
from cluster.machinery.objects import Key, Obj, generation_of, is_deleting, key_of
from cluster.machinery.timestamps import format_micro_time, format_time
from reconciler.config import SYSTEM_NAMESPACE
from reconciler.crds.application import APPLICATIONS
from reconciler.daemon.attempt import Attempt, Failure, due, failures_after
from reconciler.daemon.claims import Claims
from reconciler.daemon.journal import Journal
from reconciler.daemon.own_kinds import OwnKinds
from reconciler.daemon.quarantine import Quarantined, described
from reconciler.daemon.reverts import Reverts
from reconciler.daemon.sources import RepositoryState, Sources
from reconciler.daemon.spec import ApplicationSpec, application_spec
from reconciler.daemon.state import ApplicationState
from reconciler.daemon.status import UNKNOWN, View
from reconciler.daemon.telling import Telling
from reconciler.errors import StageError
from reconciler.health.status import worst
from reconciler.model import Action, Done, HealthStatus, Outcome, Ref, Revision, Stages, Sync, Trigger, Verb
from reconciler.pipeline import Pipeline, Prepared, Task, counts_of

PREEMPTIONS_MAX = 3
"""After so many syncs cut short in a row one is let through, so that a busy repository still finishes."""

SOONEST_S = 0.01
"""A deadline that is just over is looked at after this."""

_CHANGING = frozenset({Verb.CREATE, Verb.UPDATE, Verb.PRUNE})


class Synchroniser:
    """Shared by all applications; keeps nothing of its own about any."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        kinds: OwnKinds,
        sources: Sources,
        claims: Claims,
        journal: Journal,
        telling: Telling,
        reverts: Reverts,
        clock: Clock,
        operator: Callable[[], Key | None],
    ) -> None:
        """`operator` names the bootstrap application, once there is one."""
        self._pipeline = pipeline
        self._kinds = kinds
        self._sources = sources
        self._claims = claims
        self._journal = journal
        self._telling = telling
        self._reverts = reverts
        self._clock = clock
        self._operator = operator

    async def bring_about(
        self,
        spec: ApplicationSpec,
        application: Obj,
        state: ApplicationState,
        repository: RepositoryState,
        revision: Revision,
        rights: Transport,
    ) -> Prepared | None:
        """Decide, and do what is missing; None when a newer commit took over before the end.

        `rights` is the transport the application's objects are written with.  Raises StageError, ApiError.
        """
        seen_at = repository.seen_at if repository.revision == revision else ""
        task = await self._task(spec, state, repository, revision)
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
            stages = Stages(revision.committed_at, seen_at, planned=format_micro_time(self._clock.now()))
            if not await self._act(spec, application, state, prepared, changes, trigger, rights, stages):
                return None
            state.attempted = (revision.id, generation_of(application))
            state.handled = spec.requested
        return prepared

    async def conclude(
        self,
        spec: ApplicationSpec,
        application: Obj,
        state: ApplicationState,
        prepared: Prepared,
        *,
        head: Revision,
        instead_of: Quarantined | None,
    ) -> float:
        """Judge the present state, record the attempt once it has an outcome, tell; after how long to come back.

        Whoever calls it is already told about changes of the objects: what changes from here on is another look.
        """
        attempt = state.attempt
        if attempt is None:
            return spec.interval_s
        ailing = await self._pipeline.ailing(prepared.manifests)
        health = worst(_named(ref, status) for ref, status in ailing)
        now = self._clock.monotonic()
        outcome = attempt.outcome(health, now)
        source = prepared.task.source
        given_up = None
        if instead_of is not None:
            instead_of = await self._reverts.publish(spec, application, state, source, entry=instead_of, head=head)
        else:
            given_up = await self._reverts.give_up(
                *(spec, application, state, source), attempt=attempt, outcome=outcome, health=health, ailing=ailing
            )
        if given_up is not None:
            outcome = Outcome.APPLIED
        holds = prepared.plan.of(Verb.HOLD)
        if outcome is not None and not state.recorded:
            await self._record(application, state, outcome, health, attempt.message(health))
        is_synced = attempt.is_clean and not holds
        message = attempt.message(health)
        if holds and not message:  # held since the attempt: drift that is only reported
            message = f"{holds[0].ref}: {holds[0].reason}"
        if is_synced:
            state.applied = attempt.revision.id
        applied = is_synced
        if given_up := given_up or instead_of:
            is_synced, message = False, described(given_up)
        drifted = [str(action.ref) for action in holds if action.manifest is not None]
        view = View(
            sync=Sync.SYNCED if is_synced else Sync.OUT_OF_SYNC,
            health=health,
            revision=attempt.revision,
            applied=applied,
            reason="Reverted" if given_up else "" if is_synced else _reason_of(attempt, drifted),
            message=message,
            reconciling=outcome is None,
            stalled=outcome in (Outcome.FAILED, Outcome.PARTIAL),
            counts=attempt.counts,
            drifted=drifted,
            problems=attempt.faults,
            last_run=state.last_run,
            synced_at=state.synced_at,
            handled_request=state.handled,
            quarantined=state.quarantined,
        )
        await self._telling.tell(application, state, view)
        if given_up is not None and instead_of is None:
            return 0  # the good commit, at once
        waits = [spec.interval_s, *(failure.retry_at - now for failure in state.failures.values())]
        if outcome is None:
            waits.append(attempt.deadline - now)
        return max(min(waits), SOONEST_S)

    async def _task(
        self, spec: ApplicationSpec, state: ApplicationState, repository: RepositoryState, revision: Revision
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
        for application in self._kinds.list(APPLICATIONS, namespace=spec.repository.namespace):
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

    def _trigger(self, spec: ApplicationSpec, application: Obj, state: ApplicationState, revision: Revision) -> Trigger:
        if spec.requested and spec.requested != state.handled:
            return Trigger.REQUEST
        if state.attempted[0] != revision.id:
            if state.head != revision.id:
                return Trigger.REVERT
            return Trigger.REVISION
        if state.attempted[1] != generation_of(application):
            return Trigger.SPEC
        return Trigger.RETRY if state.failures else Trigger.DRIFT

    async def _act(
        self,
        spec: ApplicationSpec,
        application: Obj,
        state: ApplicationState,
        prepared: Prepared,
        changes: Sequence[Action],
        trigger: Trigger,
        rights: Transport,
        stages: Stages,
    ) -> bool:
        """Carry out `changes`; False when a newer commit took over before the end."""
        revision = prepared.task.revision
        await self._close_attempt(application, state, revision)
        started, started_at = self._clock.monotonic(), format_time(self._clock.now())
        chosen = {action.ref for action in changes}
        quiet = [action for action in prepared.plan.actions if action.verb not in _CHANGING]
        wanted = [action for action in prepared.plan.actions if action.verb in _CHANGING and action.ref in chosen]
        actions, lost = self._claims.claim(spec.key, wanted)

        def superseded() -> bool:
            newest = self._sources.state(spec.repository)
            newer = newest is not None and newest.revision is not None and newest.revision.id != state.head
            return newer and state.preempted < PREEMPTIONS_MAX

        acted = await self._pipeline.carry_out(prepared, actions, state.inventory, rights, superseded=superseded)
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
            stages=replace(stages, applied=format_micro_time(self._clock.now())),
        )
        state.recorded = False
        state.synced_at = format_time(self._clock.now())
        self._journal.applied(spec.key, revision, acted)
        if stopped:
            state.preempted += 1
            await self._record(application, state, Outcome.SUPERSEDED, UNKNOWN, "a newer commit took over")
            return False
        state.preempted = 0
        return True

    async def _close_attempt(self, application: Obj, state: ApplicationState, revision: Revision) -> None:
        """Record what came before, when something else begins."""
        attempt = state.attempt
        if attempt is None or state.recorded:
            return
        newer = attempt.revision.id != revision.id
        outcome = Outcome.SUPERSEDED if newer else Outcome.APPLIED
        why = "a newer commit came before it was healthy" if newer else "changed again before it was healthy"
        await self._record(application, state, outcome, UNKNOWN, why)

    async def _record(
        self, application: Obj, state: ApplicationState, outcome: Outcome, health: HealthStatus, message: str
    ) -> None:
        attempt = state.attempt
        if attempt is None:
            return
        state.recorded = True
        if outcome is Outcome.SUCCEEDED and attempt.proves_tree:
            state.proven.add(attempt.tree)
            state.good = attempt.revision.id
        name = await self._journal.finished(application, attempt, outcome, health, message)
        state.last_run = name or state.last_run


def _still_failing(prepared: Prepared, chosen: Collection[Ref], failures: Mapping[Ref, Failure]) -> Sequence[Done]:
    """Changes left out of this attempt because they failed shortly before."""
    return [
        Done(action, error=failures[action.ref].error)
        for action in prepared.changes
        if action.ref not in chosen and action.ref in failures
    ]


def _named(ref: Ref, status: HealthStatus) -> HealthStatus:
    return replace(status, message=f"{ref}: {status.message}") if status.message else status


def _reason_of(attempt: Attempt, drifted: Sequence[str]) -> str:
    if not attempt.is_clean:
        return "Failed"
    return "Drifted" if drifted and not attempt.held else "PruneHeld"
