from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from cluster.base.clock import SystemClock
from cluster.base.entropy import SeededEntropy
from cluster.client.cache import Change
from cluster.client.informer import Informer
from cluster.client.transport import EventType, ObjList, Query, WatchEvent
from cluster.machinery.errors import Expired, ServiceUnavailable
from cluster.machinery.objects import Key, name_of
from cluster.resources.builtin import PODS


class InstantClock(SystemClock):
    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(0)


def pod(name: str, revision: int, node: str = "", owner: str = "") -> dict[str, Any]:
    metadata: dict[str, Any] = {"namespace": "d", "name": name, "resourceVersion": str(revision)}
    if owner:
        metadata["ownerReferences"] = [{"uid": owner, "controller": True}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"nodeName": node}}


class ScriptedTransport:
    """Answers lists and watches from scripts; records what was asked."""

    def __init__(self, lists: list[ObjList | Exception], watches: list[list[WatchEvent | Exception]]) -> None:
        self.lists = lists
        self.watches = watches
        self.asked: list[str] = []
        self.exhausted = asyncio.Event()

    async def list(self, resource: Any, query: Query = Query()) -> ObjList:
        self.asked.append("list")
        answer = self.lists.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def watch(
        self, resource: Any, query: Query = Query(), *, bookmarks: bool = True, timeout_s: float = 0
    ) -> AsyncIterator[WatchEvent]:
        self.asked.append(f"watch {query.resource_version}")
        if not self.watches:
            self.exhausted.set()
            await asyncio.Event().wait()
        for event in self.watches.pop(0):
            if isinstance(event, Exception):
                raise event
            yield event


async def follow(transport: ScriptedTransport) -> Informer:
    informer = Informer(transport, [PODS], InstantClock(), SeededEntropy(1))  # type: ignore[arg-type]
    task = asyncio.create_task(informer.run())
    await asyncio.wait_for(transport.exhausted.wait(), 5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return informer


async def test_a_list_and_its_watch_make_the_present_state() -> None:
    events = [
        WatchEvent(EventType.ADDED, pod("b", 11, node="n1")),
        WatchEvent(EventType.MODIFIED, pod("a", 12, node="n1", owner="u1")),
        WatchEvent(EventType.DELETED, pod("b", 13)),
    ]
    informer = await follow(ScriptedTransport([ObjList([pod("a", 5)], "10")], [events]))
    assert [name_of(obj) for obj in informer.list(PODS)] == ["a"]
    assert [name_of(obj) for obj in informer.on_node("n1", PODS)] == ["a"]
    assert informer.on_node("", PODS) == ()
    owner = {"metadata": {"uid": "u1", "namespace": "d"}}
    assert [name_of(obj) for obj in informer.owned_by(owner, PODS)] == ["a"]
    assert informer.revision(PODS) == 13


async def test_a_watch_that_ends_is_resumed_from_the_newest_bookmark() -> None:
    bookmark = WatchEvent(EventType.BOOKMARK, {"kind": "Pod", "metadata": {"resourceVersion": "40"}})
    transport = ScriptedTransport([ObjList([], "10")], [[bookmark]])
    informer = await follow(transport)
    assert transport.asked == ["list", "watch 10", "watch 40"]
    assert informer.revision(PODS) == 40


async def test_an_expired_watch_lists_again_and_tells_what_went_meanwhile() -> None:
    transport = ScriptedTransport(
        [ObjList([pod("a", 5), pod("b", 6)], "10"), ObjList([pod("b", 6), pod("c", 20)], "30")], [[Expired("too old")]]
    )
    informer = Informer(transport, [PODS], InstantClock(), SeededEntropy(1))  # type: ignore[arg-type]
    changes: list[tuple[str, bool, bool]] = []

    def on_change(change: Change) -> None:
        changes.append((change.key.name, change.old is None, change.new is None))

    informer.subscribe(PODS, on_change)
    task = asyncio.create_task(informer.run())
    await asyncio.wait_for(transport.exhausted.wait(), 5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert changes == [("a", True, False), ("b", True, False), ("a", False, True), ("c", True, False)]


async def test_a_watch_that_breaks_resumes_without_a_list() -> None:
    broken: list[WatchEvent | Exception] = [
        WatchEvent(EventType.ADDED, pod("a", 11)),
        ServiceUnavailable("connection lost"),
    ]
    transport = ScriptedTransport([ServiceUnavailable("not up"), ObjList([], "10")], [broken])
    informer = await follow(transport)
    assert transport.asked == ["list", "list", "watch 10", "watch 11"]
    assert informer.get(PODS, Key("d", "a")) is not None
