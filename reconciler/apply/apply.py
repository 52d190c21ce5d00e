"""A plan carried out by server-side apply, wave by wave; a manifest that fails stops no other.

Each wave is tried without effect first, so that an apply which would change nothing writes nothing.  Deletions come last,
only when everything else succeeded, and only of the very objects that were planned (by uid).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import groupby

from cluster.base.clock import Clock
from cluster.client.discovery import Discovery
from cluster.client.transport import DeleteOptions, Patch, PatchType, Transport, WriteOptions
from cluster.machinery.errors import ApiError, Conflict, NotFound
from cluster.machinery.objects import Obj, field_of, resource_version_of, uid_of, without_field
from cluster.machinery.resource import Resource
from reconciler.apply.inventory import Inventory
from reconciler.apply.refusal import refusal_of
from reconciler.model import Action, Done, Manifest, Owned, Verb
from reconciler.projection import FIELD_MANAGER, projection_of

CONCURRENCY = 16
"""Requests in flight for one application."""

ESTABLISH_S = 10.0
"""How long a new definition is waited for before objects of its kind are tried anyway."""

_OPTIONS = WriteOptions(field_manager=FIELD_MANAGER, field_validation="Strict")
_TRIAL = replace(_OPTIONS, dry_run=True)
_CRD = ("apiextensions.k8s.io", "CustomResourceDefinition")


class Applier:
    """Acts for one application: `transport` has its rights, the inventory is written with the daemon's own."""

    def __init__(self, transport: Transport, discovery: Discovery, inventory: Inventory, clock: Clock) -> None:
        self._transport = transport
        self._discovery = discovery
        self._inventory = inventory
        self._clock = clock

    async def apply(self, actions: Sequence[Action], *, superseded: Callable[[], bool]) -> Sequence[Done]:
        """Carry out every CREATE, UPDATE and PRUNE in order; answer for each action, in the given order.

        Stops at a safe point (between batches) once `superseded()`; what was not begun is then absent from the answer.
        Raises ApiError only when the inventory cannot be written.
        """
        results: dict[int, Done] = {}
        numbered = list(enumerate(actions))
        writes = [pair for pair in numbered if pair[1].verb in (Verb.CREATE, Verb.UPDATE)]
        prunes = [pair for pair in numbered if pair[1].verb is Verb.PRUNE]
        results |= {number: Done(action) for number, action in numbered if action.verb not in _ACTED}
        await self._inventory.record(_announced(action for _, action in writes if self._is_new(action)))
        try:
            stopped = False
            for _, wave in groupby(writes, key=lambda pair: pair[1].wave):
                stopped = stopped or await self._wave(list(wave), results, superseded)
            if not stopped:
                failed = any(done.error for done in results.values())
                await self._prune(prunes, results, superseded, failed=failed)
        finally:
            await self._record(results)
        return [results[number] for number, _ in numbered if number in results]

    def _is_new(self, action: Action) -> bool:
        return action.ref not in self._inventory.entries

    async def _wave(
        self, wave: list[tuple[int, Action]], results: dict[int, Done], superseded: Callable[[], bool]
    ) -> bool:
        """Whether it was stopped at a safe point."""
        for start in range(0, len(wave), CONCURRENCY):
            if superseded():
                return True
            batch = wave[start : start + CONCURRENCY]
            answers = await asyncio.gather(*(self._write(action) for _, action in batch))
            for (number, _), done in zip(batch, answers, strict=True):
                results[number] = done
        definitions = [action for number, action in wave if action.ref[:2] == _CRD and not results[number].error]
        if definitions:
            await self._established(definitions)
        return False

    async def _write(self, action: Action) -> Done:
        manifest = action.manifest
        if manifest is None:
            return Done(action, error="there is no manifest to apply")
        resource = self._discovery.find(manifest.gvk)
        if resource is None:
            gvk = manifest.gvk
            return Done(action, error=f'no matches for kind "{gvk.kind}" in version "{gvk.api_version}"')
        patch = Patch(PatchType.APPLY, manifest.obj, force=True)
        try:
            trial = await self._transport.patch(resource, action.ref.key, patch, options=_TRIAL)
            if action.verb is Verb.UPDATE and await self._is_same(resource, action, trial):
                kept = replace(action, verb=Verb.KEEP, reason="the server sees no difference")
                return Done(kept, owned=owned_of(manifest, trial))
            answer = await self._transport.patch(resource, action.ref.key, patch, options=_OPTIONS)
        except ApiError as error:
            return Done(action, error=refusal_of(manifest.obj, error))
        return Done(action, owned=owned_of(manifest, answer), version=resource_version_of(answer))

    async def _is_same(self, resource: Resource, action: Action, trial: Obj) -> bool:
        """Would applying change nothing at all, ownership included?"""
        live = await self._transport.get(resource, action.ref.key)
        return _comparable(live) == _comparable(trial)

    async def _established(self, definitions: Sequence[Action]) -> None:
        """Wait until the new kinds are served, then learn them; after ESTABLISH_S go on without."""
        deadline = self._clock.monotonic() + ESTABLISH_S
        for action in definitions:
            if action.manifest is None or (resource := self._discovery.find(action.manifest.gvk)) is None:
                continue
            while self._clock.monotonic() < deadline:
                try:
                    live = await self._transport.get(resource, action.ref.key)
                except ApiError:
                    break
                conditions: Sequence[Obj] = field_of(live, "status", "conditions", default=())
                if any(c.get("type") == "Established" and c.get("status") == "True" for c in conditions):
                    break
                await self._clock.sleep(0.05)
        await self._discovery.refresh()

    async def _prune(
        self,
        prunes: list[tuple[int, Action]],
        results: dict[int, Done],
        superseded: Callable[[], bool],
        *,
        failed: bool,
    ) -> None:
        """One after the other: later waves' objects are gone before what they need is deleted."""
        for number, action in prunes:
            if superseded():
                return
            if failed and action.uid:
                held = replace(action, verb=Verb.HOLD, reason="declared no more, but kept: something else failed")
                results[number] = Done(held)
            else:
                results[number] = await self._delete(action)

    async def _delete(self, action: Action) -> Done:
        if not action.uid:
            return Done(action)
        resource = self._discovery.preferred(action.ref.group_kind)
        if resource is None:
            return Done(action, error="its kind is not served any more")
        options = DeleteOptions(uid=action.uid, propagation_policy="Background")
        try:
            await self._transport.delete(resource, action.ref.key, options)
        except NotFound:
            return Done(action)
        except Conflict:
            return Done(replace(action, uid="", reason="someone else created it anew meanwhile, so it stays"))
        except ApiError as error:
            return Done(action, error=error.message)
        return Done(action)

    async def _record(self, results: dict[int, Done]) -> None:
        done = [results[number] for number in sorted(results)]
        await self._inventory.record(
            [each.owned for each in done if each.owned is not None],
            forgotten=[each.action.ref for each in done if each.action.verb is Verb.PRUNE and not each.error],
        )


_ACTED = frozenset({Verb.CREATE, Verb.UPDATE, Verb.PRUNE})


def owned_of(manifest: Manifest, answer: Obj) -> Owned:
    """The inventory entry after the server answered an apply."""
    return Owned(
        manifest.ref,
        manifest.gvk.version,
        uid=uid_of(answer),
        digest=manifest.digest,
        projection=projection_of(manifest.obj, answer),
    )


def _announced(actions: Iterable[Action]) -> list[Owned]:
    return [Owned(action.ref, action.manifest.gvk.version) for action in actions if action.manifest is not None]


def _comparable(obj: Obj) -> Obj:
    """Without what every write touches: the revision and the times of the field managers' entries."""
    obj = without_field(obj, ("metadata", "resourceVersion"))
    entries = field_of(obj, "metadata", "managedFields", default=())
    timeless = [{name: value for name, value in entry.items() if name != "time"} for entry in entries]
    return {**obj, "metadata": {**obj["metadata"], "managedFields": timeless}}
