"""One application, one revision: the straight line from source to plan to cluster.

`prepare` reads and decides and writes nothing; `carry_out` writes.  When this happens, and what follows, is the daemon's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from cluster.base.clock import Clock
from cluster.client.cache import Cache
from cluster.client.discovery import Discovery
from cluster.client.transport import Transport
from cluster.machinery.errors import ServiceUnavailable
from cluster.machinery.objects import GroupVersionKind, Key
from cluster.machinery.resource import Resource
from reconciler.apply.apply import Applier
from reconciler.apply.inventory import Inventory
from reconciler.content import Source
from reconciler.health.rules import health_of
from reconciler.health.status import HEALTHY
from reconciler.model import (
    Action,
    Counts,
    Done,
    HealthStatus,
    Manifest,
    Manifests,
    Owned,
    Plan,
    Problem,
    Ref,
    Revision,
    Verb,
)
from reconciler.plan.authority import Authority
from reconciler.plan.decide import Kept, plan
from reconciler.plan.diff import Live, live_of
from reconciler.plan.guard import Evidence, parse_allowance, precious_because
from reconciler.plan.normalise import Normalised, Placements, Scopes, normalise
from reconciler.plan.policy import Drift

SEEN_MAX = 100_000
"""Objects whose last look is remembered."""

CacheOf = Callable[[Resource], Cache]
"""The cache that shows a resource; the same one for every resource where one server's whole state is at hand."""

Impersonate = Callable[[str, Sequence[str]], Transport]
"""A transport that acts as a user with groups."""


SYNC_TIMEOUT_S = 20.0
"""How long the first list of a resource is waited for; a kind that may not be listed must not hold up other applications."""


class Renderer(Protocol):
    async def render(self, source: Source, revision: Revision, path: str) -> Manifests: ...


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be done: an application's spec in checked form, and what is known of the revision."""

    application: Key
    source: Source
    revision: Revision
    path: str
    target_namespace: str
    authority: Authority
    drift: Drift
    prune: bool
    claims: Mapping[Ref, str]
    moved: Mapping[Ref, str]
    rewritten: bool
    approved: bool
    proven_trees: Collection[str]


@dataclass(frozen=True, slots=True)
class Prepared:
    """The decision, with what it rests on."""

    task: Task
    plan: Plan
    manifests: Sequence[Manifest]
    problems: Sequence[Problem]
    tree: str

    @property
    def changes(self) -> Sequence[Action]:
        return self.plan.of(Verb.CREATE, Verb.UPDATE, Verb.PRUNE)


class Pipeline:
    """Shared by all applications of a daemon."""

    def __init__(self, *, discovery: Discovery, cache_of: CacheOf, renderer: Renderer, clock: Clock) -> None:
        self._discovery = discovery
        self._cache_of = cache_of
        self._renderer = renderer
        self._clock = clock
        self._seen: dict[Ref, _Sight] = {}
        self._normal: dict[Key, tuple[Manifests, Scopes, str, Normalised]] = {}
        self._written: dict[Ref, tuple[Resource, int, Live]] = {}
        self._placements: dict[Key, Placements] = {}
        self._kept: dict[Key, Kept] = {}

    async def prepare(self, task: Task, inventory: Inventory) -> Prepared:
        """Read, render and decide.  Raises StageError when the source cannot be read, ApiError when the server cannot."""
        manifests = await self._renderer.render(task.source, task.revision, task.path)
        if any(self._discovery.find(manifest.gvk) is None for manifest in manifests.items):
            await self._discovery.refresh()
        desired = self._normalised(task, manifests)
        live = await self._live(desired, inventory.entries)
        complete = not manifests.problems and not desired.refused
        decided = plan(
            desired,
            live,
            inventory.entries,
            claims=task.claims,
            moved=task.moved,
            authority=task.authority,
            evidence=Evidence(
                complete=complete,
                rewritten=task.rewritten,
                proven=manifests.tree in task.proven_trees,
                approved=task.approved,
                allowance=parse_allowance(task.revision.trailers),
            ),
            drift=task.drift,
            prune=task.prune,
            kept=self._kept.setdefault(task.application, Kept()),
        )
        return Prepared(task, decided, desired.manifests, manifests.problems, manifests.tree)

    async def carry_out(
        self,
        prepared: Prepared,
        actions: Sequence[Action],
        inventory: Inventory,
        transport: Transport,
        *,
        superseded: Callable[[], bool],
    ) -> Sequence[Done]:
        """Do `actions`, which are those of the plan or part of them."""
        applier = Applier(transport, self._discovery, inventory, self._clock)
        done = await applier.apply(actions, superseded=superseded)
        for each in done:
            manifest = each.action.manifest
            if manifest is None or each.owned is None or not each.version.isdecimal():
                continue
            if (resource := self._discovery.find(manifest.gvk)) is not None:
                mine = Live(each.owned.uid, each.owned.projection, managed=True)
                self._written[each.action.ref] = (resource, int(each.version), mine)
        return done

    async def prune_all(self, inventory: Inventory, transport: Transport) -> Sequence[Done]:
        """Delete what the inventory owns, except what may hold data or contains other things: that is only let go."""
        nothing = Normalised((), ())
        live = await self._live(nothing, inventory.entries)
        evidence = Evidence(approved=True)
        decided = plan(nothing, live, inventory.entries, claims={}, evidence=evidence)
        actions = [
            replace(action, uid="", reason=f"left in place: {why}")
            if (why := precious_because(action.ref, Evidence()))
            else action
            for action in decided.actions
        ]
        applier = Applier(transport, self._discovery, inventory, self._clock)
        return await applier.apply(actions, superseded=lambda: False)

    async def declared(self, source: Source, revision: Revision, path: str, target_namespace: str) -> Collection[Ref]:
        """The objects that a path of a revision declares.  Raises StageError."""
        manifests = await self._renderer.render(source, revision, path)
        scopes = self._discovery.scopes()
        desired = normalise(manifests.items, scopes=scopes, target_namespace=target_namespace)
        return {manifest.ref for manifest in desired.manifests}

    def resource_of(self, manifest: Manifest) -> Resource | None:
        return self._discovery.find(manifest.gvk)

    async def ailing(self, manifests: Sequence[Manifest]) -> Sequence[tuple[Ref, HealthStatus]]:
        """The declared objects that are not healthy, those that do not exist among them."""
        sights = await self._sights(manifests)
        found: list[tuple[Ref, HealthStatus]] = []
        for manifest in manifests:
            sight = sights.get(manifest.ref)
            if sight is None:
                found.append((manifest.ref, health_of(None)))
            elif sight.health is not HEALTHY:
                found.append((manifest.ref, sight.health))
        return found

    async def _sights(self, manifests: Iterable[Manifest]) -> Mapping[Ref, _Sight]:
        """How the declared objects are; what has changed neither live nor in the source is not looked at again."""
        groups: dict[GroupVersionKind, list[Manifest]] = {}
        for manifest in manifests:
            groups.setdefault(manifest.gvk, []).append(manifest)
        sights: dict[Ref, _Sight] = {}
        for gvk, members in groups.items():
            resource = self._discovery.find(gvk)
            if resource is None:
                continue
            cache = await self._synced(resource)
            versions = cache.versions(resource, [manifest.key for manifest in members])
            for manifest, version in zip(members, versions, strict=True):
                sight = self._seen.get(manifest.ref)
                if sight is None or not version or sight.version != version or sight.digest != manifest.digest:
                    obj = cache.get(resource, manifest.key)
                    if obj is None:
                        continue
                    sight = _Sight(version, manifest.digest, live_of(obj, manifest.obj), health_of(obj))
                    if len(self._seen) >= SEEN_MAX:
                        self._seen.clear()
                    self._seen[manifest.ref] = sight
                sights[manifest.ref] = sight
        return sights

    def _normalised(self, task: Task, manifests: Manifests) -> Normalised:
        """`normalise`, remembered for each application: most looks see the same manifests as the one before."""
        scopes = self._discovery.scopes()
        known = self._normal.get(task.application)
        if known and known[0] is manifests and known[1] is scopes and known[2] == task.target_namespace:
            return known[3]
        placements = self._placements.setdefault(task.application, Placements())
        desired = normalise(
            manifests.items, scopes=scopes, target_namespace=task.target_namespace, placements=placements
        )
        self._normal[task.application] = (manifests, scopes, task.target_namespace, desired)
        return desired

    def forget(self, application: Key) -> None:
        """The application is gone."""
        for remembered in (self._normal, self._placements, self._kept):
            remembered.pop(application, None)

    async def _live(self, desired: Normalised, owned: Mapping[Ref, Owned]) -> Mapping[Ref, Live]:
        live = {ref: sight.live for ref, sight in (await self._sights(desired.manifests)).items()}
        live.update(self._not_shown_yet(desired.manifests))
        for ref, entry in owned.items():
            if ref in live:
                continue
            gvk = GroupVersionKind(ref.group, entry.version, ref.kind)
            resource = self._discovery.find(gvk) or self._discovery.preferred(ref.group_kind)
            if resource is None:
                continue
            obj = (await self._synced(resource)).get(resource, ref.key)
            if obj is not None:
                live[ref] = live_of(obj, None)
        return live

    def _not_shown_yet(self, manifests: Iterable[Manifest]) -> Mapping[Ref, Live]:
        """What we wrote last, where the cache does not show it: reading our own writes."""
        for ref, (resource, version, _) in list(self._written.items()):
            if self._cache_of(resource).revision(resource) >= version:
                del self._written[ref]
        if not self._written:
            return {}
        return {m.ref: self._written[m.ref][2] for m in manifests if m.ref in self._written}

    async def _synced(self, resource: Resource) -> Cache:
        cache = self._cache_of(resource)
        try:
            async with asyncio.timeout(SYNC_TIMEOUT_S):
                await cache.sync((resource,))
        except TimeoutError as error:
            message = f"{resource.qualified_name} could not be listed within {SYNC_TIMEOUT_S:g} s"
            raise ServiceUnavailable(message) from error
        return cache


class _Sight(NamedTuple):
    """A look at an object: at which version of it and for which declaration."""

    version: str
    digest: str
    live: Live
    health: HealthStatus


def counts_of(done: Iterable[Done]) -> Counts:
    """How each action ended; what failed counts as nothing else."""
    found = dict.fromkeys(Verb, 0)
    failed = 0
    for each in done:
        if each.error:
            failed += 1
        else:
            found[each.action.verb] += 1
    return Counts(
        created=found[Verb.CREATE],
        updated=found[Verb.UPDATE],
        kept=found[Verb.KEEP],
        pruned=found[Verb.PRUNE],
        held=found[Verb.HOLD],
        refused=found[Verb.REFUSE],
        failed=failed,
    )
