from __future__ import annotations

import asyncio
from typing import Any

from cluster.base.entropy import SeededEntropy
from cluster.client.events import SPAM_BURST, EventRecorder
from cluster.machinery.objects import Key, Obj
from tests.clocks import SteppedClock

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "d", "name": "web", "uid": "u"}}


class EventSink:
    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}

    async def create(self, resource: Any, obj: Obj, **_: Any) -> Obj:
        self.events[obj["metadata"]["name"]] = dict(obj)
        return obj

    async def patch(self, resource: Any, key: Key, patch: Any, **_: Any) -> Obj:
        self.events[key.name] |= patch.body
        return self.events[key.name]


async def recorded(*messages: str) -> list[dict[str, Any]]:
    sink = EventSink()
    recorder = EventRecorder(sink, SteppedClock(), SeededEntropy(1), component="kubelet")  # type: ignore[arg-type]
    task = asyncio.create_task(recorder.run())
    for message in messages:
        recorder.event(POD, "Normal", "Pulled", message)
    for _ in range(200):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return list(sink.events.values())


async def test_an_event_names_its_object_and_component() -> None:
    (event,) = await recorded("image pulled")
    assert event["involvedObject"] == {
        "apiVersion": "v1", "kind": "Pod", "namespace": "d", "name": "web", "uid": "u",
    }  # fmt: skip
    assert event["source"] == {"component": "kubelet"}
    assert event["metadata"]["namespace"] == "d"
    assert event["count"] == 1


async def test_equal_events_raise_one_count() -> None:
    (event,) = await recorded("same", "same", "same")
    assert event["count"] == 3


async def test_many_similar_events_become_one() -> None:
    events = await recorded(*(f"message {n}" for n in range(15)))
    assert len(events) == 11
    assert events[-1]["message"] == "(combined from similar events): message 14"
    assert events[-1]["count"] == 5


async def test_an_object_that_floods_is_cut_off() -> None:
    events = await recorded(*["same"] * 100)
    assert [event["count"] for event in events] == [SPAM_BURST]


async def test_names_sort_by_time() -> None:
    sink, clock = EventSink(), SteppedClock()
    recorder = EventRecorder(sink, clock, SeededEntropy(1), component="kubelet")  # type: ignore[arg-type]
    task = asyncio.create_task(recorder.run())
    for reason in ("Scheduled", "Pulling", "Created", "Started"):
        recorder.event(POD, "Normal", reason, reason.lower())
        await clock.step(0.001)
    for _ in range(200):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [sink.events[name]["reason"] for name in sorted(sink.events)] == [
        "Scheduled",
        "Pulling",
        "Created",
        "Started",
    ]
