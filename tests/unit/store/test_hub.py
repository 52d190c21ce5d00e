"""The log is bounded, watchers are not: those behind it are served from history, and only those concerned are woken."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from cluster.store.api import Compacted, Event, Record, Unavailable
from cluster.store.hub import Cursor, Hub


class History:
    """An engine's history: everything, and from where it was asked for."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.asked: list[int] = []
        self.oldest = 0

    async def replay(self, after: int) -> Sequence[Event]:
        self.asked.append(after)
        if after < self.oldest:
            raise Compacted(after, oldest=self.oldest)
        return [event for event in self.events if event.revision > after][:3]


def publish(hub: Hub, history: History, revision: int, key: str, *, value: bytes = b"v") -> None:
    event = Event(key, revision, Record(key, value, revision, revision), None)
    history.events.append(event)
    hub.publish(revision, [event])


async def revisions(cursor: Cursor, *, until: int) -> list[int]:
    seen: list[int] = []
    async with asyncio.timeout(5):
        while not seen or seen[-1] < until:
            seen.extend(event.revision for event in await anext(cursor))
    return seen


def hub_of(history: History, *, events_max: int = 8, size_max_bytes: int = 10_000) -> Hub:
    return Hub(revision=0, replay=history.replay, events_max=events_max, size_max_bytes=size_max_bytes)


async def test_a_watch_within_the_log_never_asks_for_history() -> None:
    history = History()
    hub = hub_of(history)
    for revision in range(1, 6):
        publish(hub, history, revision, "/a")
    assert await revisions(hub.watch("/a", after=2), until=5) == [3, 4, 5]
    assert history.asked == []


@pytest.mark.parametrize("bounds", [{"events_max": 8}, {"size_max_bytes": 400}])
async def test_a_watch_behind_the_log_is_served_from_history_until_it_has_caught_up(bounds: dict[str, int]) -> None:
    history = History()
    hub = hub_of(history, **bounds)
    for revision in range(1, 31):
        publish(hub, history, revision, "/a", value=b"x" * 40)
    assert await revisions(hub.watch("/a", after=0), until=30) == list(range(1, 31))
    assert history.asked[0] == 0
    assert max(history.asked) < 29  # the end came from the log


async def test_a_slow_watch_loses_nothing_when_the_log_moves_on() -> None:
    history = History()
    hub = hub_of(history)
    cursor = hub.watch("/a", after=0)
    publish(hub, history, 1, "/a")
    seen = await revisions(cursor, until=1)
    for revision in range(2, 40):
        publish(hub, history, revision, "/a" if revision % 2 else "/b")
    seen += await revisions(cursor, until=39)
    assert seen == [1, *range(3, 40, 2)]


async def test_compaction_ends_the_watches_behind_it() -> None:
    history = History()
    hub = hub_of(history)
    for revision in range(1, 6):
        publish(hub, history, revision, "/a")
    history.oldest = 3
    hub.compact(3)
    with pytest.raises(Compacted):
        await anext(hub.watch("/a", after=2))
    assert await revisions(hub.watch("/a", after=3), until=5) == [4, 5]


async def test_a_parked_watch_moves_on_with_events_of_others_without_waking() -> None:
    history = History()
    hub = hub_of(history)
    cursor = hub.watch("/a", after=0)
    waiting = asyncio.ensure_future(anext(cursor))
    await asyncio.sleep(0)
    for revision in range(1, 100):
        publish(hub, history, revision, "/b")
    assert cursor.progress == 99
    await asyncio.sleep(0)
    assert not waiting.done()
    publish(hub, history, 100, "/a")
    assert [event.revision for event in await waiting] == [100]
    assert history.asked == []


async def test_two_tasks_may_not_share_a_watch() -> None:
    hub = hub_of(History())
    cursor = hub.watch("/a", after=0)
    waiting = asyncio.ensure_future(anext(cursor))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError):
        await anext(cursor)
    hub.close("closed")
    with pytest.raises(Unavailable):
        await waiting
