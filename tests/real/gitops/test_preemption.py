"""The newest commit wins: between batches, and at once over a wait; and what was written is not written again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from cluster.client.cache import Cache, Change
from cluster.machinery.objects import Key, Obj, name_of, resource_version_of
from cluster.machinery.resource import Resource
from cluster.machinery.selectors import Selector
from cluster.resources.builtin import CONFIG_MAPS
from reconciler.apply.apply import CONCURRENCY
from reconciler.config import SYSTEM_NAMESPACE
from reconciler.crds.repository import REPOSITORIES
from reconciler.daemon.synchronise import PREEMPTIONS_MAX
from tests.real.gitops.world import World, config_map
from tests.unit.reconciler.fake_api import FakeApi

pytestmark = pytest.mark.needs("git")

COUNT = 3 * CONCURRENCY


def maps(value: int) -> dict[str, str]:
    return {f"{n:03}.yaml": config_map(f"c{n:03}", str(value)) for n in range(COUNT)}


class Held:
    """Writes of `c000` wait until the test lets that value through; everything written is kept by value."""

    def __init__(self, world: World) -> None:
        self.written: dict[str, list[str]] = {}
        self.waiting: set[str] = set()
        self._open: dict[str, asyncio.Event] = {}
        world.api.before = self._before

    async def _before(self, verb: str, resource: Resource, obj: Obj) -> None:
        if resource.kind != "ConfigMap" or verb != "patch":
            return
        value = obj["data"]["value"]
        if name_of(obj) == "c000":
            self.waiting.add(value)
            await self._open.setdefault(value, asyncio.Event()).wait()
        self.written.setdefault(value, []).append(name_of(obj))

    def let(self, value: int) -> None:
        self._open.setdefault(str(value), asyncio.Event()).set()


def seen(world: World, commit: str) -> bool:
    found = world.api.get(REPOSITORIES, Key(SYSTEM_NAMESPACE, "bootstrap")) or {}
    return bool((found.get("status") or {}).get("revision") == commit)


def outcomes(world: World) -> dict[str, str]:
    return {run["spec"]["subject"]: run["spec"]["outcome"] for run in world.runs()}


async def test_a_newer_commit_cuts_an_attempt_short_after_the_batch_that_runs(world: World) -> None:
    held = Held(world)
    world.repository.commit("one", maps(1))
    world.start()
    await world.until(lambda: "1" in held.waiting)
    second = world.repository.commit("two", maps(2))
    await world.until(lambda: seen(world, second))
    held.let(1)
    held.let(2)
    await world.until(lambda: world.synced(second) and "two" in outcomes(world))
    assert len(held.written["1"]) == CONCURRENCY
    assert sorted(held.written["2"]) == [f"c{n:03}" for n in range(COUNT)]
    assert outcomes(world) == {"one": "Superseded", "two": "Succeeded"}


async def test_after_so_many_attempts_cut_short_one_is_let_through(world: World) -> None:
    held = Held(world)
    world.repository.commit("1", maps(1))
    world.start()
    last = PREEMPTIONS_MAX + 2
    for value in range(1, last):
        await world.until(lambda value=value: str(value) in held.waiting)
        newer = world.repository.commit(str(value + 1), maps(value + 1))
        await world.until(lambda newer=newer: seen(world, newer))
        held.let(value)
    held.let(last)
    await world.until(lambda: world.synced(newer) and str(last) in outcomes(world))
    counts = {value: len(names) for value, names in held.written.items()}
    cut = {str(value): CONCURRENCY for value in range(1, PREEMPTIONS_MAX + 1)}
    assert counts == {**cut, str(last - 1): COUNT, str(last): COUNT}
    assert outcomes(world)[str(last)] == "Succeeded"


async def test_a_wait_for_health_ends_at_once_when_a_newer_commit_comes(world: World) -> None:
    slow = (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: slow}\n"
        "spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}}}\n"
    )
    first = world.repository.commit("one", {"slow.yaml": slow, "a.yaml": config_map("a")})
    world.start()
    await world.until(lambda: world.status().get("revision") == first and world.status()["health"] == "Progressing")
    second = world.repository.commit("two", {"slow.yaml": slow, "a.yaml": config_map("a", "2")})
    await world.until(lambda: world.value("a") == "2" and world.status().get("revision") == second)
    await world.until(lambda: outcomes(world).get("one") == "Superseded")
    (run,) = [run["spec"] for run in world.runs() if run["spec"]["subject"] == "one"]
    assert run["message"] == "a newer commit came before it was healthy"


class Lagging:
    """A cache of one resource that stays behind until it is told to catch up."""

    def __init__(self, api: FakeApi, resource: Resource) -> None:
        self._api = api
        self._resource = resource
        self._objects: dict[Key, Obj] = {}
        self._handlers: list[Callable[[Change], None]] = []
        self._revision = 0

    def catch_up(self) -> None:
        before, self._objects = self._objects, dict(self._api.objects.get(("", self._resource.plural), {}))
        self._revision = self._api.revision(self._resource)
        for key in sorted({*before, *self._objects}):
            change = Change(self._resource, key, before.get(key), self._objects.get(key))
            for handler in list(self._handlers):
                handler(change)

    async def sync(self, resources: Sequence[Resource]) -> None:
        return None

    def get(self, resource: Resource, key: Key) -> Obj | None:
        return self._objects.get(key)

    def versions(self, resource: Resource, keys: Iterable[Key]) -> Sequence[str]:
        return [resource_version_of(self._objects[key]) if key in self._objects else "" for key in keys]

    def list(self, resource: Resource, *, namespace: str = "", selector: Selector | None = None) -> Sequence[Obj]:
        return [self._objects[key] for key in sorted(self._objects)]

    def owned_by(self, owner: Obj, resource: Resource) -> Sequence[Obj]:
        return ()

    def on_node(self, node: str, resource: Resource) -> Sequence[Obj]:
        return ()

    def revision(self, resource: Resource) -> int:
        return self._revision

    def subscribe(self, resource: Resource, handler: Callable[[Change], None]) -> Callable[[], None]:
        self._handlers.append(handler)
        return lambda: self._handlers.remove(handler)


async def test_what_the_cache_does_not_show_yet_is_not_written_again(world: World) -> None:
    lagging = Lagging(world.api, CONFIG_MAPS)

    def cache_of(resource: Resource) -> Cache:
        return lagging if resource.kind == "ConfigMap" else world.api

    world.cache_of = cache_of
    world.repository.commit("one", {"a.yaml": config_map("a"), "b.yaml": config_map("b")})
    world.start()
    await world.until(lambda: world.status().get("sync") == "Synced")
    second = world.repository.commit("two", {"a.yaml": config_map("a"), "b.yaml": config_map("b", "2")})
    await world.until(lambda: world.value("b") == "2" and world.status().get("revision") == second)

    def writes(name: str) -> list[Any]:
        return [verb for _, verb, what in world.api.requests if what == f"ConfigMap default/{name}" and verb == "patch"]

    assert (len(writes("a")), len(writes("b"))) == (1, 2)
    assert world.status()["health"] == "Missing"
    lagging.catch_up()
    await world.until(lambda: world.status().get("health") == "Healthy")
    assert (len(writes("a")), len(writes("b"))) == (1, 2)
