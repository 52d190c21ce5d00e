"""Auto-revert carried out: the commit given up, the good one applied in its place, the evidence pushed as a commit.

The cluster goes back first; that the repository cannot be written to changes nothing about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loguru import logger

from cluster.base.clock import Clock
from cluster.client.controller import Recorder
from cluster.client.transport import Query, Transport
from cluster.machinery.errors import ApiError
from cluster.machinery.objects import Obj, field_of
from cluster.machinery.timestamps import format_time
from cluster.resources.builtin import EVENTS
from reconciler.config import SYSTEM_NAMESPACE
from reconciler.content import Source
from reconciler.daemon.attempt import Attempt
from reconciler.daemon.quarantine import (
    AutoRevert,
    Quarantined,
    auto_revert_of,
    described,
    is_suspect,
    kept_because,
    not_pushed,
    pushed,
    quarantine_on,
    with_entry,
)
from reconciler.daemon.spec import ApplicationSpec
from reconciler.daemon.state import ApplicationState
from reconciler.errors import StageError
from reconciler.model import HealthStatus, Outcome, Ref, Revision
from reconciler.source.git import LocalRepository
from reconciler.source.going_back import (
    APPLICATION_TRAILER,
    GOOD_TRAILER,
    REVERT_TRAILER,
    GoingBack,
    Person,
    Reversible,
    message_of,
)

AUTHOR = Person("reconciler", "reconciler@cluster.local")
FINDINGS_MAX = 20
EVENTS_MAX = 10
EVENTS_READ_MAX = 500
LINE_MAX_CHARS = 300
PUSH_RETRY_S = 60.0


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is applied: the newest revision, or because of `instead_of` an earlier one."""

    revision: Revision
    instead_of: Quarantined | None = None


class Reverts:
    """Shared by all applications; what it knows of one is in its state."""

    def __init__(self, transport: Transport, recorder: Recorder, clock: Clock) -> None:
        self._transport = transport
        self._recorder = recorder
        self._clock = clock

    async def choose(
        self, spec: ApplicationSpec, application: Obj, state: ApplicationState, source: Source, head: Revision
    ) -> Chosen:
        """Which revision to apply while `head` is the newest.  Raises StageError when the good one cannot be read."""
        if not state.quarantined or auto_revert_of(application) is None or not isinstance(source, Reversible):
            return Chosen(head)
        entry = quarantine_on(head, (await source.tree(head, spec.path)).digest, state.quarantined)
        if entry is None:
            return Chosen(head)
        return Chosen(await source.at(entry.good), entry)

    async def give_up(
        self,
        spec: ApplicationSpec,
        application: Obj,
        state: ApplicationState,
        source: Source,
        *,
        attempt: Attempt,
        outcome: Outcome | None,
        health: HealthStatus,
        ailing: Sequence[tuple[Ref, HealthStatus]],
    ) -> Quarantined | None:
        """The commit of `attempt` put under quarantine because it broke the application; None when it stays."""
        rule = auto_revert_of(application)
        if rule is None or not isinstance(source, Reversible):
            return None
        if not is_suspect(attempt, outcome, health, good=state.good, good_trees=state.proven):
            return None
        if why := kept_because(rule, attempt.revision, state.quarantined, self._clock.now()):
            if state.spared != attempt.revision.id:
                state.spared = attempt.revision.id
                logger.warning("unhealthy commit kept", app=str(spec.key), revision=attempt.revision.short, reason=why)
                self._recorder.event(application, "Warning", "RevertRefused", f"{attempt.revision.short}: {why}")
            return None
        entry = Quarantined(
            revision=attempt.revision.id,
            tree=(await source.tree(attempt.revision, spec.path)).digest,
            good=state.good,
            at=format_time(self._clock.now()),
            reason=health.message[:LINE_MAX_CHARS] or str(health.health),
        )
        state.quarantined = with_entry(state.quarantined, entry)
        state.evidence = await self._evidence(ailing)
        state.push_at = 0.0
        logger.warning(
            "commit given up",
            app=str(spec.key),
            revision=attempt.revision.short,
            result=entry.good[:8],
            reason=entry.reason,
        )
        self._recorder.event(application, "Warning", "Reverted", described(entry))
        return entry

    async def publish(
        self,
        spec: ApplicationSpec,
        application: Obj,
        state: ApplicationState,
        source: Source,
        *,
        entry: Quarantined,
        head: Revision,
    ) -> Quarantined:
        """Push the commit that takes `entry` back, once; the entry as it is then.  Never raises StageError."""
        rule = auto_revert_of(application)
        if rule is None or not entry.is_open or not isinstance(source, Reversible):
            return entry
        if self._clock.monotonic() < state.push_at:
            return entry
        state.push_at = self._clock.monotonic() + PUSH_RETRY_S
        try:
            why = await _withheld_because(rule, spec, source, entry, head)
            commit = "" if why else await source.go_back(self._wanted(spec, state, entry, head))
        except StageError as error:
            why, commit = error.message, ""
        after = pushed(entry, commit) if commit else not_pushed(entry, why)
        if after != entry:
            state.quarantined = with_entry(state.quarantined, after)
            logger.log(
                "INFO" if commit else "WARNING",
                "revert pushed" if commit else "revert not pushed",
                app=str(spec.key),
                revision=entry.revision[:8],
                result=commit[:8],
                reason=why,
            )
            self._recorder.event(application, "Normal" if commit else "Warning", "Reverted", described(after))
        return after

    def _wanted(self, spec: ApplicationSpec, state: ApplicationState, entry: Quarantined, head: Revision) -> GoingBack:
        subject = head.subject if head.id == entry.revision else entry.revision[:12]
        body = [
            f"{spec.key} did not become healthy after commit {entry.revision}.",
            f"This takes {spec.path or 'everything'} back to {entry.good}, which ran healthy.",
            "",
            *(state.evidence or [f"- {entry.reason}"]),
        ]
        trailers = [
            (REVERT_TRAILER, entry.revision),
            (GOOD_TRAILER, entry.good),
            (APPLICATION_TRAILER, str(spec.key)),
        ]
        message = message_of(f'Revert "{subject}" for {spec.key}', body, trailers)
        return GoingBack(head=head.id, good=entry.good, path=spec.path, message=message, author=AUTHOR)

    async def _evidence(self, ailing: Sequence[tuple[Ref, HealthStatus]]) -> Sequence[str]:
        """Lines for the commit: the objects that are not healthy, and the newest warnings about them and their parts."""
        lines = [
            f"- {ref}: {status.health}: {status.message}"[:LINE_MAX_CHARS] for ref, status in ailing[:FINDINGS_MAX]
        ]
        found: list[tuple[str, str]] = []
        for namespace in sorted({ref.namespace for ref, _ in ailing if ref.namespace}):
            names = {ref.name for ref, _ in ailing if ref.namespace == namespace}
            try:
                events = (await self._transport.list(EVENTS, Query(namespace=namespace, limit=EVENTS_READ_MAX))).items
            except ApiError:
                continue  # evidence is welcome, not needed
            found += [_line_of(event) for event in events if event.get("type") == "Warning" and _is_about(event, names)]
        newest = [line for _, line in sorted(set(found))[-EVENTS_MAX:]]
        return [*lines, *newest]


async def _withheld_because(
    rule: AutoRevert, spec: ApplicationSpec, source: Reversible, entry: Quarantined, head: Revision
) -> str:
    """Why no commit is pushed; empty when one may be."""
    if not rule.push:
        return "spec.autoRevert.push is false"
    if isinstance(source, LocalRepository) and spec.key.namespace != SYSTEM_NAMESPACE:
        # Whoever may create a Repository may read this host's; writing to it is the operator's.
        return f"a repository on this host is written to only for applications of {SYSTEM_NAMESPACE}"
    if not await source.follows(head, entry.good):
        return f"history was rewritten: {head.short} does not descend from {entry.good[:8]}"
    if not rule.merges and (merges := await source.merges_between(entry.good, head.id)):
        return f"{merges} merges would be taken back, which spec.autoRevert.merges does not allow"
    return ""


def _is_about(event: Obj, names: set[str]) -> bool:
    """Parts of an object are named after it: a Deployment's Pods begin with its name."""
    name = str(field_of(event, "involvedObject", "name", default=""))
    return any(name == known or name.startswith(f"{known}-") for known in names)


def _line_of(event: Obj) -> tuple[str, str]:
    at = str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp", ""))
    about = f"{field_of(event, 'involvedObject', 'kind', default='')} {field_of(event, 'involvedObject', 'name', default='')}"
    return at, f"- {about}: {event.get('reason', '')}: {event.get('message', '')}"[:LINE_MAX_CHARS]
