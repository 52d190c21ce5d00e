"""Group commit, the deciding half: what each of several waiting transactions does, as if they came one after the other.

Pure.  A transaction sees what those before it in the group will have done; one that is refused changes nothing for those
after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cluster.base.values import frozen
from cluster.store.api import Event, Operation, Put, Record
from cluster.store.transaction import plan_transaction


@frozen
class Asked:
    """A transaction that waits, and where its answer goes: the revision, or why not."""

    operations: Sequence[Operation]
    size_bytes: int
    answer: asyncio.Future[int]

    @property
    def leases(self) -> dict[str, int]:
        """The leases its puts name."""
        return {o.key: o.lease for o in self.operations if isinstance(o, Put) and o.lease}

    def accept(self, revision: int) -> None:
        if not self.answer.done():  # whoever asked may have been cancelled
            self.answer.set_result(revision)

    def refuse(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


@frozen
class Decided:
    """What `asked` will have done, at `revision`; without events it changes nothing and answers the revision before."""

    asked: Asked
    revision: int
    events: Sequence[Event]


@dataclass(frozen=True, slots=True)
class Refused:
    asked: Asked
    error: Exception


def decide_group(
    group: Sequence[Asked],
    *,
    revision: int,
    current: Callable[[str], Record | None],
    check: Callable[[Sequence[Operation]], None],
) -> Sequence[Decided | Refused]:
    """One verdict per transaction of `group`, in order; those cancelled meanwhile have none.

    `revision` is the newest durable one, `current` the durable state; `check` raises for what it
    refuses.  Whatever is raised on behalf of one transaction becomes its verdict.
    """
    verdicts: list[Decided | Refused] = []
    written: dict[str, Record | None] = {}

    def seen(key: str) -> Record | None:
        return written[key] if key in written else current(key)

    for asked in group:
        if asked.answer.done():
            continue
        try:
            check(asked.operations)
            events = plan_transaction(asked.operations, revision=revision + 1, current=seen)
        except Exception as error:  # noqa: BLE001 - even a caller's mistake fails its own transaction only
            verdicts.append(Refused(asked, error))
            continue
        if events:
            revision += 1
            written.update((event.key, event.record) for event in events)
        verdicts.append(Decided(asked, revision, events))
    return verdicts
