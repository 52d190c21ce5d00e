from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from cluster.base.entropy import SeededEntropy
from cluster.client.cache import Change
from cluster.client.controller import DONE, Controller, Result, Terminal, owner_of
from cluster.client.index import ObjectIndex
from cluster.client.writes import Create, Delete, SetStatus
from cluster.machinery.errors import Forbidden, NotFound
from cluster.machinery.objects import Key, Obj, key_of
from cluster.machinery.resource import Resource
from cluster.resources.builtin import PODS, REPLICA_SETS
from tests.clocks import SteppedClock


class IndexCache:
    """A cache over indexes that the test fills itself, so that it can lag behind the writes."""

    def __init__(self) -> None:
        self.indexes = {resource: ObjectIndex(resource) for resource in (PODS, REPLICA_SETS)}

    async def sync(self, resources: Any) -> None:
        return

    def get(self, resource: Resource, key: Key) -> Obj | None:
        return self.indexes[resource].get(key)

    def owned_by(self, owner: Obj, resource: Resource) -> Any:
        return self.indexes[resource].owned_by(owner)

    def revision(self, resource: Resource) -> int:
        return self.indexes[resource].revision

    def subscribe(self, resource: Resource, handler: Callable[[Change], None]) -> Callable[[], None]:
        return self.indexes[resource].subscribe(handler)

    def put(self, resource: Resource, obj: Obj) -> None:
        self.indexes[resource].revision = int(obj["metadata"]["resourceVersion"])
        self.indexes[resource].put(obj)


class CountingTransport:
    def __init__(self) -> None:
        self.created: list[Obj] = []
        self.refuse_from = 10**6
        self.in_flight = 0
        self.in_flight_most = 0
        self.revision = 100

    async def create(self, resource: Resource, obj: Obj, **_: Any) -> Obj:
        self.in_flight += 1
        self.in_flight_most = max(self.in_flight, self.in_flight_most)
        await asyncio.sleep(0)
        self.in_flight -= 1
        if len(self.created) >= self.refuse_from:
            raise Forbidden("exceeded quota")
        self.revision += 1
        created = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.revision)}}
        self.created.append(created)
        return created

    async def delete(self, resource: Resource, key: Key, options: Any) -> Obj:
        raise NotFound("gone")

    async def update(self, *_: Any, **__: Any) -> Obj:
        raise AssertionError("nothing to update")


class Counter(Controller):
    name: ClassVar = "counter"
    primary: ClassVar = REPLICA_SETS
    wakes: ClassVar = (owner_of(PODS),)
    do: Callable[[Counter, Key], Any]

    async def reconcile(self, key: Key) -> Result:
        result = await self.do(self, key)
        return result or DONE


def build(do: Any) -> tuple[Counter, IndexCache, CountingTransport, SteppedClock]:
    clock, cache, transport = SteppedClock(), IndexCache(), CountingTransport()
    controller = Counter(
        transport=transport,  # type: ignore[arg-type]
        cache=cache,  # type: ignore[arg-type]
        clock=clock,
        entropy=SeededEntropy(1),
        recorder=None,  # type: ignore[arg-type]
    )
    controller.do = do
    return controller, cache, transport, clock


def replica_set(revision: int = 1) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"namespace": "d", "name": "web", "uid": "u1", "resourceVersion": str(revision)},
    }


def pod(name: str, revision: int) -> dict[str, Any]:
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u1", "controller": True}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": "d", "name": name, "resourceVersion": str(revision), "ownerReferences": [owner]},
    }


class Running:
    def __init__(self, controller: Controller) -> None:
        self.controller = controller

    async def __aenter__(self) -> None:
        self.task = asyncio.create_task(self.controller.run())
        for _ in range(10):
            await asyncio.sleep(0)

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def test_a_changed_dependent_wakes_its_owner() -> None:
    seen: list[Key] = []

    async def do(_: Counter, key: Key) -> None:
        seen.append(key)

    controller, cache, _, clock = build(do)
    async with Running(controller):
        cache.put(PODS, pod("web-1", 5))
        await clock.step(0)
    assert seen == [Key("d", "web")]


async def test_a_key_is_not_reconciled_until_the_cache_shows_what_it_wrote() -> None:
    """Without this a slow cache would make it create the same pod again."""

    async def do(self: Counter, key: Key) -> None:
        rs = self.cache.get(REPLICA_SETS, key)
        assert rs is not None
        if not self.cache.owned_by(rs, PODS):
            await self.commit([Create(PODS, pod("web-1", 0))])

    controller, cache, transport, clock = build(do)
    async with Running(controller):
        cache.put(REPLICA_SETS, replica_set())
        await clock.step(0)
        cache.put(REPLICA_SETS, replica_set(2))
        for _ in range(5):
            await clock.step(1)
        assert len(transport.created) == 1
        cache.put(PODS, transport.created[0])
        for _ in range(5):
            await clock.step(1)
    assert len(transport.created) == 1


async def test_a_failing_key_is_tried_again_later_and_a_waiting_one_at_its_time() -> None:
    runs: list[float] = []

    async def do(self: Counter, key: Key) -> Result | None:
        runs.append(self.clock.monotonic())
        if len(runs) == 1:
            raise ValueError("broken")
        return Result(again_after_s=30) if len(runs) == 2 else None

    controller, cache, _, clock = build(do)
    async with Running(controller):
        cache.put(REPLICA_SETS, replica_set())
        await clock.step(0)
        await clock.step(1)
        await clock.step(29)
        assert runs == [0, 1]
        await clock.step(1)
    assert runs == [0, 1, 31]


async def test_a_terminal_failure_waits_for_a_change() -> None:
    runs: list[Key] = []

    async def do(_: Counter, key: Key) -> None:
        runs.append(key)
        raise Terminal("the selector is invalid")

    controller, cache, _, clock = build(do)
    async with Running(controller):
        cache.put(REPLICA_SETS, replica_set())
        await clock.step(600)
        assert len(runs) == 1
        cache.put(REPLICA_SETS, replica_set(2))
        await clock.step(0)
    assert len(runs) == 2


async def test_creates_go_out_in_doubling_batches_and_stop_at_a_refusal() -> None:
    controller, _, transport, _ = build(None)
    transport.refuse_from = 4
    with pytest.raises(Forbidden):
        await controller.commit([Create(PODS, pod(f"web-{n}", 0)) for n in range(100)])
    assert len(transport.created) == 4
    assert transport.in_flight_most == 4


async def test_deleting_what_is_gone_and_setting_an_equal_status_write_nothing() -> None:
    controller, _, _, _ = build(None)
    rs = {**replica_set(), "status": {"replicas": 1}}
    writes = [Delete(PODS, key_of(pod("a", 1)), uid="x"), SetStatus(REPLICA_SETS, rs, {"replicas": 1})]
    assert await controller.commit(writes) == (None, None)
