"""The store in etcd: for a control plane whose state must not hang on one disk.

A revision is etcd's own; other writers of the same etcd leave gaps in ours.  Everything lives below one prefix:

    PREFIX/keys/...    the records, values as they were given
    PREFIX/marks/...   written to find one's place in etcd's history, never read

One watch on the prefix feeds the hub.  `commit` returns when its event has come back through that watch, so that whoever
is told of a write also finds it in the feed, as with the other engines.  Reads go to etcd and are linearizable.
Leases are etcd's: it deletes the keys of one together.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from pathlib import Path

from loguru import logger

from cluster.base.clock import Clock
from cluster.base.tasks import Supervisor
from cluster.store.api import (
    Compacted,
    Event,
    FutureRevision,
    LeaseNotFound,
    Operation,
    Page,
    Put,
    Record,
    Unavailable,
)
from cluster.store.durable import replace_durably
from cluster.store.etcd_address import Endpoint
from cluster.store.etcd_gateway import (
    ANSWER_MAX_BYTES,
    CompactedByEtcd,
    EtcdGateway,
    FutureOfEtcd,
    Message,
    NoSuchLease,
    PageTooLarge,
    bytes_of,
    revision_of,
    text_of,
)
from cluster.store.etcd_messages import Keys, conflict_in, events_of, record_of, transaction_message
from cluster.store.hub import BATCH_EVENTS_MAX, Cursor, Hub
from cluster.store.transaction import check_transaction

PAGE_RECORDS_MAX = 1000
"""Records asked for at once where a caller wants all."""

COMMITS_MAX = 8192
"""Transactions under way or waiting for an earlier one of their keys; one more is refused as Unavailable."""

ECHO_TIMEOUT_S = 10.0
"""How long a commit waits for its own event."""

REPLAY_SILENCE_S = 30.0
"""A history that says nothing for this long is given up."""

RECONNECT_S = 0.5
"""Between attempts to get the feed back."""


class EtcdStore:
    """`api.Store` in etcd.  Open it with `open`.  Commits of one key take effect in the order they were asked for."""

    def __init__(self, gateway: EtcdGateway, *, prefix: str, clock: Clock, revision: int) -> None:
        """For `open`, which has found etcd at `revision`."""
        self._gateway = gateway
        self._keys = Keys(prefix)
        self._clock = clock
        self._published = revision
        self._oldest = 0
        self._hub = Hub(revision=revision, replay=self._replay)
        self._commits = 0
        self._last_of: dict[str, asyncio.Event] = {}
        self._echoes: dict[int, asyncio.Future[None]] = {}
        self._refusing: str | None = None
        self._fed = asyncio.Event()
        self._supervisor = Supervisor(clock)

    @classmethod
    async def open(
        cls,
        endpoints: Sequence[Endpoint],
        *,
        prefix: str,
        clock: Clock,
        tls: ssl.SSLContext | None = None,
        answer_max_bytes: int = ANSWER_MAX_BYTES,
    ) -> EtcdStore:
        """The store below `prefix`, an absolute path without a slash at its end.  Raises Unavailable."""
        gateway = EtcdGateway(endpoints, tls=tls, answer_max_bytes=answer_max_bytes)
        try:
            status = await gateway.call("/v3/kv/range", {"key": text_of(prefix.encode()), "count_only": True})
            store = cls(gateway, prefix=prefix, clock=clock, revision=revision_of(status))
            store._supervisor.start("store feed", store._follow)
            await store._fed.wait()
        except BaseException:
            await gateway.close()
            raise
        return store

    @property
    def revision(self) -> int:
        return self._hub.newest

    async def get(self, key: str, *, revision: int = 0) -> Record | None:
        answer = await self._range({"key": self._keys.encoded(key)}, revision)
        records = self._records_of(answer)
        return records[0] if records else None

    async def range(self, prefix: str, *, start_after: str = "", limit: int = 0, revision: int = 0) -> Page:
        records: list[Record] = []
        at, page_max = revision, PAGE_RECORDS_MAX
        while True:
            room = min(page_max, limit - len(records)) if limit else page_max
            asked = {**self._keys.range_after(prefix, start_after), "limit": str(room)}
            try:
                answer = await self._range(asked, at)
            except PageTooLarge:
                if room == 1:
                    raise Unavailable(f"a record below {prefix!r} exceeds what is read at once") from None
                page_max = max(1, room // 10)
                continue
            page = self._records_of(answer)
            records.extend(page)
            at = at or revision_of(answer)
            remaining = int(answer.get("count", 0)) - len(page)
            if not page or remaining <= 0 or (limit and len(records) >= limit):
                return Page(records, at, max(remaining, 0))
            start_after = page[-1].key

    async def commit(self, operations: Sequence[Operation]) -> int:
        check_transaction(operations)
        self._check_open()
        if self._commits >= COMMITS_MAX:
            raise Unavailable(f"{self._commits} transactions are waiting already")
        async with self._turn([operation.key for operation in operations]):
            message = transaction_message(operations, self._keys)
            try:
                answer = await self._call("/v3/kv/txn", message)
            except NoSuchLease:
                leases = [o.lease for o in operations if isinstance(o, Put) and o.lease]
                raise LeaseNotFound(leases[0]) from None
            if not answer.get("succeeded"):
                raise conflict_in(answer, operations, self._keys)
            revision = revision_of(answer)
            if _changed(answer):
                await self._echo(revision)
            return revision

    def watch(self, prefix: str, *, after: int) -> Cursor:
        return self._hub.watch(prefix, after=after)

    async def lease(self, ttl_s: float) -> int:
        self._check_open()
        if not ttl_s > 0:
            raise ValueError(f"a lease of {ttl_s} seconds")
        return int((await self._call("/v3/lease/grant", {"TTL": str(math.ceil(ttl_s))}))["ID"])

    async def compact(self, revision: int) -> None:
        self._check_open()
        if revision <= self._oldest:
            return
        try:
            await self._call("/v3/kv/compaction", {"revision": str(revision)})
        except CompactedByEtcd:
            pass  # by another cluster in the same etcd, or by etcd itself
        except FutureOfEtcd:
            raise FutureRevision(revision, newest=self.revision) from None
        self._forget(revision)

    async def snapshot(self, path: Path) -> int:
        """All of etcd, other prefixes too, as `etcdctl snapshot save` writes it; the revision is the least it holds."""
        self._check_open()
        partial = path.with_name(f"{path.name}.partial")
        partial.unlink(missing_ok=True)
        try:
            revision = revision_of(await self._range({"key": self._keys.encoded(""), "count_only": True}, 0))
            partial.touch(mode=0o600)
            with partial.open("wb") as file:
                async with self._gateway.stream("/v3/maintenance/snapshot", {}) as parts:
                    async for part in parts:
                        file.write(bytes_of(part.get("blob", "")))
            replace_durably(partial, path)
        except OSError as error:
            raise Unavailable(f"no snapshot in {path}: {error}") from error
        finally:
            partial.unlink(missing_ok=True)
        return revision

    async def close(self) -> None:
        if self._refusing == _CLOSED:
            return
        self._refuse(_CLOSED)
        await self._supervisor.stop()
        await self._gateway.close()

    # -- requests ---------------------------------------------------------------------------------------------------

    async def _call(self, path: str, message: Message) -> Message:
        self._check_open()
        answer = await self._gateway.call(path, message)
        self._check_open()
        self._hub.happened(revision_of(answer))
        return answer

    async def _range(self, message: Message, revision: int) -> Message:
        try:
            return await self._call("/v3/kv/range", {**message, "revision": str(revision)})
        except CompactedByEtcd:
            raise Compacted(revision, oldest=max(self._oldest, revision + 1)) from None
        except FutureOfEtcd:
            raise FutureRevision(revision, newest=self.revision) from None

    def _records_of(self, answer: Message) -> list[Record]:
        return [record_of(kv, self._keys) for kv in answer.get("kvs", ())]

    @asynccontextmanager
    async def _turn(self, keys: Sequence[str]) -> AsyncIterator[None]:
        """Wait for the commits of these keys that were asked for earlier: the gateway's connections know no order."""
        done = asyncio.Event()
        earlier = [self._last_of[key] for key in keys if key in self._last_of]
        self._last_of.update(dict.fromkeys(keys, done))
        self._commits += 1
        try:
            for event in earlier:
                await event.wait()
            yield
        finally:
            self._commits -= 1
            done.set()
            for key in keys:
                if self._last_of.get(key) is done:
                    del self._last_of[key]

    async def _echo(self, revision: int) -> None:
        if revision <= self._published:
            return
        echo = self._echoes.setdefault(revision, asyncio.get_running_loop().create_future())
        try:
            async with asyncio.timeout(ECHO_TIMEOUT_S):
                await asyncio.shield(echo)
        except TimeoutError:
            raise Unavailable(
                f"written at revision {revision}, but the feed of {self._gateway} does not say so"
            ) from None

    # -- the feed ---------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Publish what happens below the prefix, in order; a feed that broke is taken up where it ended."""
        while self._refusing is None:
            try:
                await self._check_history()
                async with self._watch(after=self._published) as answers:
                    self._fed.set()
                    await self._publish_all(answers)
                why = "it ended"
            except Unavailable as error:
                why = str(error)
            logger.warning("store feed broke, taking it up again", reason=why)
            await self._clock.sleep(RECONNECT_S)

    async def _check_history(self) -> None:
        """An etcd that is behind what it told us was restored from an older snapshot: nothing known of it is true."""
        now = revision_of(await self._range({"key": self._keys.encoded(""), "count_only": True}, 0))
        if now < self._published:
            self._refuse(
                f"{self._gateway} went back from revision {self._published} to {now}: it was restored from a snapshot; "
                "start the server anew to go on from there"
            )
            logger.error("store was restored under the server", revision=now, reason=self._refusing)
            self._check_open()

    @asynccontextmanager
    async def _watch(self, *, after: int) -> AsyncIterator[AsyncIterator[Message]]:
        # From `after` itself, whose event is dropped: etcd lets a watch start at the very revision it compacted to, where
        # it keeps puts and has forgotten deletions.
        start = str(max(after, 1))
        create = {**self._keys.everything, "start_revision": start, "prev_kv": True, "fragment": True}
        async with self._gateway.stream("/v3/watch", {"create_request": create}) as answers:
            yield answers

    async def _publish_all(self, answers: AsyncIterator[Message]) -> None:
        async for revision, events in self._revisions(answers):
            if revision <= self._published:
                continue
            self._published = revision
            if events:
                self._hub.publish(revision, events)
            else:
                self._hub.happened(revision)
            if (echo := self._echoes.pop(revision, None)) is not None and not echo.done():
                echo.set_result(None)

    async def _revisions(self, answers: AsyncIterator[Message]) -> AsyncIterator[tuple[int, Sequence[Event]]]:
        """The events of a watch by revision.  Raises Unavailable when etcd ends it; compaction is noted before."""
        fragments: list[Message] = []
        async for answer in answers:
            if answer.get("canceled"):
                if compacted := int(answer.get("compact_revision", 0)):
                    self._skip(compacted)
                raise Unavailable(f"{self._gateway} ended a watch: {answer.get('cancel_reason', 'compacted')}")
            fragments.extend(answer.get("events", ()))
            if answer.get("fragment"):
                continue
            for revision, group in groupby(fragments, key=lambda event: int(event["kv"]["mod_revision"])):
                yield revision, events_of(group, self._keys)
            fragments = []

    async def _replay(self, after: int) -> Sequence[Event]:
        """History from etcd.  A mark written now is where it ends: without one a silent history would have no end."""
        if after < self._oldest:
            raise Compacted(after, oldest=self._oldest)
        mark = revision_of(await self._call("/v3/kv/put", {"key": self._keys.mark}))
        batch: list[Event] = []
        try:
            async with asyncio.timeout(REPLAY_SILENCE_S) as deadline, self._watch(after=after) as answers:
                async for revision, events in self._revisions(answers):
                    deadline.reschedule(asyncio.get_running_loop().time() + REPLAY_SILENCE_S)
                    if revision > after:
                        batch.extend(events)
                    if revision >= mark or len(batch) >= BATCH_EVENTS_MAX:
                        break
        except TimeoutError:
            raise Unavailable(f"{self._gateway} gives no history after revision {after}") from None
        except Unavailable:
            if after < self._oldest:
                raise Compacted(after, oldest=self._oldest) from None
            raise
        return batch

    def _skip(self, compacted: int) -> None:
        """etcd has forgotten everything up to `compacted`."""
        self._oldest = max(self._oldest, compacted)
        if compacted > self._published:
            self._published = compacted
            self._hub.skip(compacted)

    def _forget(self, compacted: int) -> None:
        self._oldest = max(self._oldest, compacted)
        self._hub.compact(compacted)

    def _refuse(self, why: str) -> None:
        self._refusing = why
        self._hub.close(why)
        for echo in self._echoes.values():
            if not echo.done():
                echo.set_exception(Unavailable(why))
        self._echoes.clear()

    def _check_open(self) -> None:
        if self._refusing is not None:
            raise Unavailable(self._refusing)


_CLOSED = "the store is closed"


def _changed(answer: Message) -> bool:
    """Whether a transaction wrote anything: a put always does, a deletion may have found nothing."""
    responses: Iterable[Message] = answer.get("responses", ())
    return any("response_put" in r or int(r.get("response_delete_range", {}).get("deleted", 0)) for r in responses)
