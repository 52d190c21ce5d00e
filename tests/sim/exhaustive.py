"""One fault at every place it can be, for controllers alone: the real API server and controllers, everything else a puppet.

A `Workload` says which controllers run, on what, and what its user does.  `play` runs it with one `Fault`: the controllers
die after their n-th write, unanswered; the n-th event they watch is hidden, repeated or late; or all they read of one kind
is stale.  `Outcome`s must be equal to that without a fault: the same objects, made and removed as often.

After Sieve (OSDI 2022).  A hidden event is what a broken watch hides: what happens until the state is read anew is never
told one by one.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

from cluster.apiserver.apiserver import ApiServer
from cluster.apiserver.http import Identity
from cluster.base.entropy import SeededEntropy
from cluster.base.tasks import Supervisor
from cluster.client.controller import Controller
from cluster.client.informer import Informer
from cluster.client.transport import (
    DeleteOptions,
    EventType,
    Patch,
    PatchType,
    Query,
    Transport,
    WatchEvent,
    WriteOptions,
)
from cluster.machinery.errors import Expired, ServiceUnavailable
from cluster.machinery.objects import Key, Obj, field_of, is_deleting, key_of, meta_of, name_of, uid_of
from cluster.machinery.resource import Resource
from cluster.machinery.timestamps import format_time
from cluster.resources.builtin import NODES, PODS
from cluster.simulation.loop import VirtualClock, run_virtual
from tests.apiservers import ADMIN, running
from tests.sim.line import Line
from tests.sim.outcome import shape_of

STEP_S = 0.25
QUIET_S = 20.0
"""Without a write for this long, everything is at rest: longer than any retry or relist."""
LATE_S = 3.0
STALE_S = 1.5
HIDDEN_S = 2.0
NAMESPACE = "default"


@dataclass(frozen=True, slots=True)
class Fault:
    """At most one of them; places are counted from 1."""

    crash_after: int = 0
    hidden: int = 0
    repeated: int = 0
    late: int = 0
    stale: str = ""

    def __str__(self) -> str:
        return (
            ",".join(f"{name}={value}" for name in self.__dataclass_fields__ if (value := getattr(self, name)))
            or "none"
        )


@dataclass(frozen=True, slots=True)
class Workload:
    """`kinds` are what `controllers` read and write; `story` is what the user does, step by step."""

    name: str
    controllers: tuple[type[Controller], ...]
    kinds: tuple[Resource, ...]
    story: Callable[[Bench], Awaitable[None]]
    nodes: tuple[str, ...] = ("n1", "n2")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Objects by kind without what chance and time decide; what the controllers made and removed, by kind and name."""

    objects: Mapping[str, Counter[str]]
    made: Counter[str]
    removed: Counter[str]


@dataclass(slots=True)
class Places:
    """How far the controllers came: what faults are counted in."""

    writes: int = 0
    events: int = 0


class Bench:
    """One run: the server, the puppets of scheduler and kubelet, and the controllers under test."""

    def __init__(self, workload: Workload, server: ApiServer, fault: Fault) -> None:
        self.workload = workload
        self.fault = fault
        self.clock = VirtualClock()
        self.entropy = SeededEntropy(11)
        self.server = server
        self.api: Transport = server.transport(ADMIN)
        self.places = Places()
        self.made: Counter[str] = Counter()
        self.removed: Counter[str] = Counter()
        self.crashed = asyncio.Event()
        self._puppet = _Puppet(self)
        self._written_at = 0.0

    # What a story uses

    async def create(self, resource: Resource, obj: Obj) -> None:
        await self.api.create(resource, obj)

    async def merge(self, resource: Resource, name: str, body: Obj) -> None:
        await self.api.patch(resource, Key(NAMESPACE, name), Patch(PatchType.STRATEGIC, body))

    def get(self, resource: Resource, name: str) -> Obj:
        """Empty when there is none."""
        return self.server.cache().get(resource, Key(NAMESPACE, name)) or {}

    def list(self, resource: Resource) -> Sequence[Obj]:
        return self.server.cache().list(resource, namespace=NAMESPACE)

    async def until(self, holds: Callable[[], bool], *, within_s: float = 400.0) -> None:
        """Let time pass until it holds, then until nothing is written any more."""
        deadline = self.clock.monotonic() + within_s
        while not holds() or self.clock.monotonic() - self._written_at < QUIET_S:
            await self.clock.sleep(STEP_S)
            await self._puppet.act()
            if self.clock.monotonic() > deadline:
                raise AssertionError(f"{self.workload.name} never settles with {self.fault}: {self._state()}")

    def _state(self) -> str:
        lines = [
            f"{resource.kind} {name_of(obj)} {field_of(obj, 'status', default={})}"
            for resource in self.workload.kinds
            for obj in self.list(resource)
        ]
        return "\n".join(lines)

    # What the controllers are told and do

    def wrote(self) -> None:
        self._written_at = self.clock.monotonic()

    def count(self, counter: Counter[str], resource: Resource, obj: Obj) -> None:
        # Names that the server ends are chance.
        name = meta_of(obj).get("generateName") if "generateName" in meta_of(obj) and _is_random(obj) else None
        counter[f"{resource.kind} {name or name_of(obj)}"] += 1

    def outcome(self) -> Outcome:
        objects = {
            resource.plural: Counter(shape_of(obj) for obj in self.list(resource)) for resource in self.workload.kinds
        }
        return Outcome(objects, self.made, self.removed)

    async def controllers(self) -> None:
        """Run them until cancelled; a crash replaces all of them by new ones that know nothing."""
        while True:
            self.crashed.clear()
            supervisor = Supervisor(self.clock)
            line = _FaultyLine(self)
            cache = Informer(line, self._read(), self.clock, self.entropy)
            supervisor.start("informer", cache.run)
            for kind in self.workload.controllers:
                user = Identity(
                    kind.identity(),
                    ("system:authenticated", "system:serviceaccounts", "system:serviceaccounts:kube-system"),
                )
                controller = kind(
                    transport=_WatchedTransport(self, self.server.transport(user)),
                    cache=cache,
                    clock=self.clock,
                    entropy=self.entropy,
                    recorder=_Silent(),
                )
                supervisor.start(controller.name, controller.run)
            try:
                await self.crashed.wait()
            finally:
                await supervisor.stop()
            await self.clock.sleep(1.0)

    def _read(self) -> Sequence[Resource]:
        read = [resource for kind in self.workload.controllers for resource in _resources_of(kind)]
        return tuple(dict.fromkeys(read))


class _Silent:
    def event(self, obj: Obj, type_: str, reason: str, message: str) -> None:
        return


class _FaultyLine(Line):
    """What the controllers watch."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(lambda: bench.api, clock=bench.clock, entropy=bench.entropy)
        self._bench = bench

    async def watch(
        self, resource: Resource, query: Query = Query(), *, bookmarks: bool = True, timeout_s: float = 0
    ) -> AsyncIterator[WatchEvent]:
        fault, places, clock = self._bench.fault, self._bench.places, self._bench.clock
        stream = super().watch(resource, query, bookmarks=bookmarks, timeout_s=timeout_s)
        async with aclosing(cast("AsyncGenerator[WatchEvent, None]", stream)) as events:
            async for event in events:
                if event.type is EventType.BOOKMARK:
                    yield event
                    continue
                places.events += 1
                place = places.events
                if place == fault.hidden:
                    await clock.sleep(HIDDEN_S)
                    raise Expired("what happened meanwhile is forgotten")
                if place == fault.late:
                    await clock.sleep(LATE_S)
                if resource.plural == fault.stale:
                    await clock.sleep(STALE_S)
                yield event
                if place == fault.repeated:
                    yield event


class _WatchedTransport(Line):
    """What the controllers write: counted, and cut off after the write after which they die."""

    def __init__(self, bench: Bench, server: Transport) -> None:
        super().__init__(lambda: server, clock=bench.clock, entropy=bench.entropy)
        self._bench = bench
        self._dead = False

    async def create(
        self,
        resource: Resource,
        obj: Obj,
        *,
        name: str = "",
        subresource: str = "",
        options: WriteOptions = WriteOptions(),
    ) -> Obj:
        self._check()
        answer = await super().create(resource, obj, name=name, subresource=subresource, options=options)
        self._bench.count(self._bench.made, resource, answer)
        return self._written(answer)

    async def update(
        self, resource: Resource, obj: Obj, *, subresource: str = "", options: WriteOptions = WriteOptions()
    ) -> Obj:
        self._check()
        return self._written(await super().update(resource, obj, subresource=subresource, options=options))

    async def patch(
        self,
        resource: Resource,
        key: Key,
        patch: Patch,
        *,
        subresource: str = "",
        options: WriteOptions = WriteOptions(),
    ) -> Obj:
        self._check()
        return self._written(await super().patch(resource, key, patch, subresource=subresource, options=options))

    async def delete(self, resource: Resource, key: Key, options: DeleteOptions = DeleteOptions()) -> Obj:
        self._check()
        before = self._bench.server.cache().get(resource, key)
        answer = await super().delete(resource, key, options)
        if before is not None and not is_deleting(before):
            self._bench.count(self._bench.removed, resource, before)
        return self._written(answer)

    def _check(self) -> None:
        if self._dead or self._bench.crashed.is_set():
            self._dead = True
            raise ServiceUnavailable("the controllers have died")

    def _written(self, answer: Obj) -> Obj:
        bench = self._bench
        bench.wrote()
        bench.places.writes += 1
        if bench.places.writes == bench.fault.crash_after:
            self._dead = True
            bench.crashed.set()
        self._check()
        return answer


class _Puppet:
    """A scheduler and kubelets that do at once what is asked: bind, run a second later, end a second later."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._seen_at: dict[tuple[str, bool], float] = {}

    async def act(self) -> None:
        now = self._bench.clock.monotonic()
        for pod in self._bench.list(PODS):
            if not field_of(pod, "spec", "nodeName"):
                if not is_deleting(pod):
                    await self._bind(pod)
                continue
            since = self._seen_at.setdefault((uid_of(pod), is_deleting(pod)), now)
            if now - since < 1.0:
                continue
            if is_deleting(pod):
                await self._bench.api.delete(PODS, key_of(pod), DeleteOptions(grace_period_s=0))
                self._bench.wrote()
            elif field_of(pod, "status", "phase") == "Pending":
                await self._start(pod)

    async def _bind(self, pod: Obj) -> None:
        terms: Sequence[Obj] = field_of(
            pod, "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution",
            "nodeSelectorTerms", default=(),
        )  # fmt: skip
        named = [value for term in terms for each in term.get("matchFields") or () for value in each["values"]]
        node = named[0] if named else self._bench.workload.nodes[0]
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name_of(pod)}, "target": target}
        body["metadata"]["namespace"] = NAMESPACE  # type: ignore[index]
        await self._bench.api.create(PODS, body, name=name_of(pod), subresource="binding")
        self._bench.wrote()

    async def _start(self, pod: Obj) -> None:
        at = format_time(self._bench.clock.now())
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": at}
        body = {"status": {"phase": "Running", "conditions": [ready]}}
        await self._bench.api.patch(PODS, key_of(pod), Patch(PatchType.STRATEGIC, body), subresource="status")
        self._bench.wrote()


def play(workload: Workload, fault: Fault = Fault()) -> tuple[Outcome, Places]:
    """One run from an empty cluster to the end of the story.  Raises AssertionError when it never settles."""

    async def run() -> tuple[Outcome, Places]:
        clock = VirtualClock()
        async with running(clock=clock) as server:
            bench = Bench(workload, server, fault)
            for node in workload.nodes:
                await bench.api.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
                # A node that registers is kept free until its kubelet says that it is ready.
                await bench.api.patch(NODES, Key("", node), Patch(PatchType.MERGE, {"spec": {"taints": None}}))
            async with Supervisor(clock) as supervisor:
                supervisor.start("controllers", bench.controllers)
                await workload.story(bench)
                await supervisor.stop()
            return bench.outcome(), bench.places

    return run_virtual(run())


def faults_of(workload: Workload, places: Places, *, stride: int) -> Iterator[Fault]:
    """Every `stride`-th place of each kind of fault, and each kind of object stale."""
    for place in range(1, places.writes + 1, stride):
        yield Fault(crash_after=place)
    for place in range(1, places.events + 1, stride):
        yield Fault(hidden=place)
        yield Fault(repeated=place)
        yield Fault(late=place)
    for resource in workload.kinds:
        yield Fault(stale=resource.plural)


def check(workload: Workload, *, stride: int) -> int:
    """Play `workload` with every fault; raise AssertionError at the first that ends otherwise.  Returns how many."""
    expected, places = play(workload)
    assert expected == play(workload)[0], f"{workload.name} is not repeatable"
    tried = 0
    for fault in faults_of(workload, places, stride=stride):
        found, _ = play(workload, fault)
        assert found == expected, f"{workload.name} with {fault}"
        tried += 1
    return tried


def everyday_stride(everyday: int) -> int:
    """With SIM_SEEDS every place is tried."""
    return 1 if int(os.environ.get("SIM_SEEDS", "0")) > 1 else everyday


def _resources_of(kind: type[Controller]) -> Sequence[Resource]:
    return (kind.primary, *(wakeup.resource for wakeup in kind.wakes), *kind.reads)


def _is_random(obj: Obj) -> bool:
    """Its name is the prefix and five characters that the server chose, not an ordinal."""
    return len(name_of(obj)) - len(str(meta_of(obj)["generateName"])) == 5 and not name_of(obj)[-5:].isdigit()
