"""Repositories: keeps a source open for each, learns of new revisions, says so in its status.

A source that cannot be read keeps its last good revision: nothing is concluded from bad news.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loguru import logger

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.base.workqueue import ShutDown, WorkQueue
from cluster.client.cache import Cache, Change
from cluster.client.transport import Patch, PatchType, Transport
from cluster.machinery.conditions import make_condition, set_conditions
from cluster.machinery.errors import ApiError, NotFound
from cluster.machinery.objects import Key, Obj, annotations_of, generation_of, uid_of
from cluster.machinery.timestamps import format_micro_time, format_time
from reconciler.config import Settings
from reconciler.content import Source
from reconciler.crds.repository import REPOSITORIES
from reconciler.daemon.credentials import credentials_directory, forget_credentials
from reconciler.daemon.opening import SourceOpener
from reconciler.daemon.spec import REQUESTED_ANNOTATION
from reconciler.errors import Fault, StageError, source_error
from reconciler.model import Revision
from reconciler.source.folder import Folder
from reconciler.source.poll import Ticks
from reconciler.source.watch import FileWatch

LOOK_S = 1.0
"""How often branch heads of local repositories are read, whatever file events say."""

FOLDER_GATHER_S = 0.1
"""Many files of a folder change together; a branch moves in one step, and is looked at at once."""

FOLDER_LOOKS = 15
"""Folders are walked only every so many looks: their events are the fast way."""

STIRRED_LOOKS = 3
"""After an event they are walked at so many looks in a row: what is written into a directory just made may raise none."""

BACKOFF_BASE_S = 1.0
BACKOFF_MAX_S = 60.0


@dataclass(slots=True)
class RepositoryState:
    """`revision` is the last good one, None before the first; `error` says why the newest attempt failed."""

    source: Source
    built_from: tuple[str, int]
    interval_s: float
    revision: Revision | None = None
    seen_at: str = ""
    """When `revision` was first seen: RFC 3339 with microseconds."""
    fingerprint: str = ""
    error: str = ""
    stirred: int = 0
    """Looks at which a folder is still walked after an event."""
    requested: str = ""
    """The request (its annotation's value) that the newest look, good or bad, came after."""


class Sources:
    """One worker for all repositories: fetches are rare, and one at a time bounds them."""

    def __init__(
        self,
        *,
        transport: Transport,
        cache: Cache,
        settings: Settings,
        opener: SourceOpener,
        clock: Clock,
        entropy: Entropy,
        changed: Callable[[Key], None],
    ) -> None:
        """`changed` is called with a repository's key when it has a new revision or can be read (or not) anew."""
        self._transport = transport
        self._cache = cache
        self._settings = settings
        self._opener = opener
        self._clock = clock
        self._changed = changed
        self._queue: WorkQueue[Key] = WorkQueue(
            clock, entropy, backoff_base_s=BACKOFF_BASE_S, backoff_max_s=BACKOFF_MAX_S
        )
        self._states: dict[Key, RepositoryState] = {}
        self._said: dict[Key, tuple[str, str]] = {}
        self._files = FileWatch()
        self._ticks = Ticks()

    def state(self, key: Key) -> RepositoryState | None:
        return self._states.get(key)

    def why_not(self, key: Key) -> str:
        """Why the newest look at the repository failed; empty when it did not."""
        return self._said.get(key, ("", ""))[0]

    def look(self, key: Key) -> None:
        """Ask for a look at the repository now."""
        self._queue.add(key)

    async def run(self) -> None:
        """Work until cancelled."""
        self._ticks.start()
        unsubscribe = self._cache.subscribe(REPOSITORIES, self._on_change)
        try:
            while True:
                try:
                    key = await self._queue.get()
                except ShutDown:
                    return
                try:
                    await self._reconcile(key)
                except ApiError as error:
                    delay_s = self._queue.add_rate_limited(key)
                    logger.warning(
                        "repository status not written", repository=str(key), reason=error.message, delay_s=delay_s
                    )
                finally:
                    self._queue.done(key)
        finally:
            unsubscribe()
            self._ticks.close()
            self._files.close()
            for state in self._states.values():
                await state.source.close()
            self._states.clear()

    async def run_timers(self) -> None:
        await self._queue.run_timers()

    async def run_looks(self) -> None:
        """Read local branch heads once a second: what a missed file event costs at most."""
        turn = 0
        while True:
            await self._clock.sleep(LOOK_S)
            turn += 1
            for key, state in sorted(self._states.items()):
                is_at_rest = isinstance(state.source, Folder) and turn % FOLDER_LOOKS and not state.stirred
                if state.interval_s or is_at_rest:
                    continue
                state.stirred = max(0, state.stirred - 1)
                self._look_if_moved(key)

    def _stir(self, key: Key) -> None:
        if (state := self._states.get(key)) is not None:
            state.stirred = STIRRED_LOOKS
            self._queue.add(key)

    def _look_if_moved(self, key: Key) -> None:
        """Most events around a commit move no branch: a few small reads tell, and no more is done."""
        if (state := self._states.get(key)) is None:
            return
        try:
            seen = state.source.fingerprint()
        except (StageError, OSError):
            seen = ""
        if seen != state.fingerprint:
            self._queue.add(key)

    def _on_change(self, change: Change) -> None:
        if _asks(change.old) != _asks(change.new):
            self._queue.add(change.key)

    async def _reconcile(self, key: Key) -> None:
        repository = self._cache.get(REPOSITORIES, key)
        if repository is None:
            await self._drop(key)
            return
        known = self._states.get(key)
        requested = annotations_of(repository).get(REQUESTED_ANNOTATION, "")
        before = (known.revision, known.error, known.requested) if known else None
        try:
            state = await self._opened(key, repository, known)
        except StageError as error:
            await self._failed(key, repository, error)
            return
        try:
            fingerprint = state.source.fingerprint()
            revision = await state.source.head()
        except StageError as error:
            await self._failed(key, repository, error)
            return
        except OSError as error:
            await self._failed(key, repository, source_error(f"cannot be read: {error.strerror}", retryable=True))
            return
        self._queue.forget(key)
        self._said.pop(key, None)
        is_new = state.revision is None or state.revision.id != revision.id
        state.revision, state.fingerprint, state.error = revision, fingerprint, ""
        state.requested = requested
        if is_new:
            state.seen_at = format_micro_time(self._clock.now())
            logger.info(
                "new revision",
                repository=str(key),
                revision=revision.short,
                author=revision.author,
                subject=revision.subject,
            )
        if (revision, "", requested) != before:
            self._changed(key)
        await self._write_status(repository, revision, ready=True, reason="Fetched", message=revision.subject)

    async def _opened(self, key: Key, repository: Obj, known: RepositoryState | None) -> RepositoryState:
        built_from = (uid_of(repository), generation_of(repository))
        if known is not None and known.built_from == built_from:
            return known
        source, interval_s = await self._opener.open(key, repository)
        revision = None
        if known is not None:
            await known.source.close()
        state = self._states[key] = RepositoryState(source, built_from, interval_s, revision)
        name = str(key)
        self._ticks.remove(name)
        self._files.remove(name)
        if interval_s:
            self._ticks.set(name, interval_s, lambda: self._queue.add(key))
        elif self._settings.watch_files:
            if isinstance(source, Folder):
                self._files.add(name, source.watched(), lambda: self._stir(key), gather_s=FOLDER_GATHER_S)
            else:
                self._files.add(name, source.watched(), lambda: self._look_if_moved(key), gather_s=0)
        return state

    async def _drop(self, key: Key) -> None:
        self._ticks.remove(str(key))
        self._files.remove(str(key))
        forget_credentials(credentials_directory(self._settings.state_dir, key))
        self._said.pop(key, None)
        if (state := self._states.pop(key, None)) is not None:
            await state.source.close()
            self._changed(key)

    async def _failed(self, key: Key, repository: Obj, error: StageError) -> None:
        state = self._states.get(key)
        requested = annotations_of(repository).get(REQUESTED_ANNOTATION, "")
        is_new = self._said.get(key) != (error.message, requested)
        self._said[key] = (error.message, requested)
        if state is not None:
            state.error, state.requested = error.message, requested
        if is_new:
            logger.warning("repository cannot be read", repository=str(key), reason=error.message, fault=error.fault)
        if error.retryable:
            self._queue.add_rate_limited(key)
        if is_new:
            self._changed(key)
        reason = "FetchFailed" if error.fault is Fault.NETWORK else "Unreadable" if error.retryable else "Invalid"
        revision = state.revision if state else None
        await self._write_status(repository, revision, ready=False, reason=reason, message=error.message)

    async def _write_status(
        self, repository: Obj, revision: Revision | None, *, ready: bool, reason: str, message: str
    ) -> None:
        now = format_time(self._clock.now())
        old: Obj = repository.get("status") or {}
        generation = generation_of(repository)
        changes = [
            make_condition("Ready", ready, reason, message, observed_generation=generation),
            make_condition("Stalled", reason == "Invalid", reason, message, observed_generation=generation),
        ]
        old_conditions: Sequence[Obj] = old.get("conditions") or ()
        status = {**old, "observedGeneration": generation, "conditions": set_conditions(old_conditions, changes, now)}
        if revision is not None:
            if old.get("revision") != revision.id:
                status["fetchedAt"] = now
            status |= {
                "revision": revision.id,
                "tree": revision.tree,
                "author": revision.author,
                "message": revision.subject,
            }
            if revision.committed_at:
                status["committedAt"] = revision.committed_at
        if status != old:
            key = Key(repository["metadata"]["namespace"], repository["metadata"]["name"])
            patch = Patch(PatchType.MERGE, {"status": status})
            try:
                await self._transport.patch(REPOSITORIES, key, patch, subresource="status")
            except NotFound:
                return


def _asks(repository: Obj | None) -> tuple[object, ...]:
    """What of a repository's state is a reason to look at it: not its status."""
    if repository is None:
        return ()
    return uid_of(repository), generation_of(repository), annotations_of(repository).get(REQUESTED_ANNOTATION)
