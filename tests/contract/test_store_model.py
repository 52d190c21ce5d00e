"""SQLite and memory do the same, operation by operation, and both what a dozen lines of obvious code say.

The model here keeps the whole state of every revision, shares no code with either engine, and also replays the watch.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cluster.store.api import Delete, Event, Operation, Page, Put, Record, Store, StoreError
from cluster.store.memory import MemoryStore
from cluster.store.sqlite import SqliteStore
from tests.clocks import SteppedClock

KEYS = st.sampled_from(["/a", "/a/1", "/a/2", "/b", "/b/1", "/é"])
PREFIXES = st.sampled_from(["", "/", "/a", "/a/", "/b/", "/z"])
EXPECTATIONS = st.one_of(st.sampled_from([None, None, -1, -1, -1, 0]), st.integers(1, 30))
"""-1 stands for the revision the key really has."""

OPERATIONS = st.one_of(
    st.builds(Put, key=KEYS, value=st.binary(max_size=3), expect=EXPECTATIONS),
    st.builds(Delete, key=KEYS, expect=EXPECTATIONS),
)
TRANSACTIONS = st.lists(OPERATIONS, min_size=1, max_size=3, unique_by=lambda operation: operation.key)


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "store.db"
        self.clock = SteppedClock()
        self.memory: Store = MemoryStore(self.clock)
        self.sqlite: Store = self.run(self.open_sqlite())
        self.states: list[dict[str, Record]] = [{}]  # by revision
        self.compacted = 0

    async def open_sqlite(self) -> Store:
        return await SqliteStore.open(self.path, clock=self.clock, ballast_size_bytes=0)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def both(self, call: Any) -> Any:
        """The outcome of `call` on either engine, which must be the same: a result, or an error's type and text."""

        async def outcome(store: Store) -> Any:
            try:
                return await call(store)
            except StoreError as error:
                return type(error).__name__, str(error)

        of_memory, of_sqlite = self.run(outcome(self.memory)), self.run(outcome(self.sqlite))
        if isinstance(of_memory, Page):
            of_memory = Page(list(of_memory.records), of_memory.revision, of_memory.remaining)
        assert of_sqlite == of_memory
        return of_memory

    def resolved(self, operations: list[Operation]) -> list[Operation]:
        def expect(operation: Operation) -> int | None:
            live = self.states[-1].get(operation.key)
            return operation.expect if operation.expect != -1 else (live.revision if live else 0)

        return [
            Put(operation.key, operation.value, expect(operation))
            if isinstance(operation, Put)
            else Delete(operation.key, expect(operation))
            for operation in operations
        ]

    def apply(self, operations: list[Operation]) -> int | str:
        now, revision = self.states[-1], len(self.states)
        after = dict(now)
        for operation in operations:
            actual = now[operation.key].revision if operation.key in now else 0
            if operation.expect not in (None, actual) or (
                isinstance(operation, Delete) and not actual and operation.expect is not None
            ):
                return "Conflict"
            if isinstance(operation, Put):
                created = now[operation.key].created_revision if actual else revision
                after[operation.key] = Record(operation.key, operation.value, revision, created)
            else:
                after.pop(operation.key, None)
        if after == now:
            return revision - 1
        self.states.append(after)
        return revision

    @rule(operations=TRANSACTIONS)
    def commit(self, operations: list[Operation]) -> None:
        operations = self.resolved(operations)
        outcome = self.both(lambda store: store.commit(operations))
        expected = self.apply(operations)
        assert (outcome[0] if isinstance(outcome, tuple) else outcome) == expected

    @rule(group=st.lists(TRANSACTIONS, min_size=2, max_size=5))
    def commit_together(self, group: list[list[Operation]]) -> None:
        group = [self.resolved(operations) for operations in group]

        async def together(store: Store) -> list[int | str]:
            outcomes = await asyncio.gather(*(store.commit(one) for one in group), return_exceptions=True)
            return [outcome if isinstance(outcome, int) else type(outcome).__name__ for outcome in outcomes]

        assert self.both(together) == [self.apply(operations) for operations in group]

    @rule(prefix=PREFIXES, start_after=st.one_of(st.just(""), KEYS), limit=st.integers(0, 3), back=st.integers(0, 8))
    def read(self, prefix: str, start_after: str, limit: int, back: int) -> None:
        revision = max(len(self.states) - 1 - back, 0)
        outcome = self.both(lambda store: store.range(prefix, start_after=start_after, limit=limit, revision=revision))
        if revision and revision < self.compacted:
            assert outcome[0] == "Compacted"
            return
        state = self.states[revision or -1]
        records = [state[key] for key in sorted(state) if key.startswith(prefix) and key > start_after]
        given = records[:limit] if limit else records
        assert outcome == Page(given, revision or len(self.states) - 1, len(records) - len(given))

    @rule(key=KEYS, back=st.integers(-1, 8))
    def get(self, key: str, back: int) -> None:
        revision = max(len(self.states) - 1 - back, 0)
        self.both(lambda store: store.get(key, revision=revision))

    @rule(back=st.integers(0, 20))
    def compact(self, back: int) -> None:
        revision = max(len(self.states) - 1 - back, 0)
        self.both(lambda store: store.compact(revision))
        self.compacted = max(self.compacted, revision)

    @rule(prefix=PREFIXES, back=st.integers(0, 12))
    def watch(self, prefix: str, back: int) -> None:
        after = max(len(self.states) - 1 - back, 0)
        expected = [event for event in self.events(after) if event.key.startswith(prefix)]

        async def events(store: Store) -> list[Event]:
            watch = store.watch(prefix, after=after)
            seen: list[Event] = []
            batches = aiter(watch)
            while len(seen) < len(expected):
                seen.extend(await anext(batches))
            watch.close()
            return seen

        if after >= self.compacted:
            seen = self.both(events)
            assert sorted(seen, key=lambda event: (event.revision, event.key)) == expected
            assert [event.revision for event in seen] == [event.revision for event in expected]
        elif expected:
            assert self.both(events)[0] == "Compacted"

    def events(self, after: int) -> list[Event]:
        found: list[Event] = []
        for revision in range(after + 1, len(self.states)):
            before, now = self.states[revision - 1], self.states[revision]
            found.extend(
                Event(key, revision, now.get(key), before.get(key))
                for key in sorted({*before, *now})
                if before.get(key) != now.get(key)
            )
        return found

    @precondition(lambda self: len(self.states) > 1)
    @rule()
    def restart(self) -> None:
        self.run(self.sqlite.close())
        self.sqlite = self.run(self.open_sqlite())

    @invariant()
    def same_revision(self) -> None:
        assert self.memory.revision == self.sqlite.revision == len(self.states) - 1

    def teardown(self) -> None:
        self.run(self.sqlite.close())
        self.run(self.memory.close())
        self.runner.close()
        self.folder.cleanup()


TestSqliteAgreesWithMemory = StoreMachine.TestCase
TestSqliteAgreesWithMemory.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
