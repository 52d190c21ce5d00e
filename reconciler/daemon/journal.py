"""What is told about a synchronisation: a line per changed object, a line and an Event per result, a Run in the API."""

from __future__ import annotations

from collections.abc import Sequence

from loguru import logger

from cluster.base.clock import Clock
from cluster.client.controller import Recorder
from cluster.machinery.objects import Key, Obj, key_of
from cluster.machinery.timestamps import format_time
from reconciler.crds.run import RUNS
from reconciler.daemon.attempt import Attempt
from reconciler.history.runs import History, error_of, runs_of
from reconciler.model import Done, HealthStatus, Outcome, Revision, Run, Trigger, Verb
from reconciler.pipeline import CacheOf

_GOOD = frozenset({Outcome.SUCCEEDED, Outcome.SUPERSEDED})
_QUIET = frozenset({Trigger.RETRY, Trigger.DRIFT})
"""An attempt of these that changed nothing is not worth a Run."""


class Journal:
    """Raises ApiError when a run cannot be stored."""

    def __init__(self, history: History, recorder: Recorder, cache_of: CacheOf, clock: Clock) -> None:
        self._history = history
        self._recorder = recorder
        self._cache_of = cache_of
        self._clock = clock

    def applied(self, application: Key, revision: Revision, done: Sequence[Done]) -> None:
        """Log what was changed or refused to change, why, and which commit asked for it."""
        for each in done:
            if each.action.verb is Verb.KEEP and not each.error:
                continue
            logger.log(
                "WARNING" if each.error else "INFO",
                "object not applied" if each.error else "object applied",
                app=str(application),
                revision=revision.short,
                author=revision.author,
                subject=revision.subject,
                action=str(each.action.verb),
                object=str(each.action.ref),
                result="failed" if each.error else "done",
                reason=error_of(each) if each.error else each.action.reason,
            )

    async def finished(
        self, application: Obj, attempt: Attempt, outcome: Outcome, health: HealthStatus, message: str
    ) -> str:
        """Tell how an attempt ended; the name of its Run, empty when it has none."""
        key, revision, counts = key_of(application), attempt.revision, attempt.counts
        duration_ms = int((self._clock.monotonic() - attempt.started) * 1000)
        logger.log(
            "INFO" if outcome in _GOOD else "WARNING",
            "application synchronised",
            app=str(key),
            revision=revision.short,
            author=revision.author,
            subject=revision.subject,
            trigger=str(attempt.trigger),
            result=str(outcome),
            created=counts.created,
            updated=counts.updated,
            pruned=counts.pruned,
            failed=counts.failed + counts.refused,
            reason=message,
            duration_ms=duration_ms,
        )
        text = f"{revision.short} {revision.subject}: {message or 'synced and healthy'}"
        self._recorder.event(application, "Normal" if outcome in _GOOD else "Warning", str(outcome), text)
        if not counts.changed and attempt.trigger in _QUIET:
            return ""
        run = Run(
            application=key,
            revision=revision,
            trigger=attempt.trigger,
            started_at=attempt.started_at,
            finished_at=format_time(self._clock.now()),
            duration_ms=duration_ms,
            outcome=outcome,
            message=message,
            health=health.health,
            counts=counts,
            done=attempt.done,
            problems=attempt.problems,
            tree=attempt.tree,
            stages=attempt.stages,
        )
        name = await self._history.record(run, application)
        runs = self._cache_of(RUNS).list(RUNS, namespace=key.namespace)
        await self._history.forget_oldest(runs_of(runs, key))
        return name
