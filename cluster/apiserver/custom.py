"""CustomResourceDefinitions at work: what they define is served in the turn they are written, and goes when they go.

The catalogue changes in the feed itself, so whoever sees a definition can use it; its status, and the deletion of its
instances, follow in a supervised task.  Upstream: apiextensions-apiserver/pkg/controller/{status,finalizer}.
"""

from __future__ import annotations

import asyncio

from loguru import logger

from cluster.apiserver.crds import plan_crd, served_by
from cluster.apiserver.state import Row, State, TableId, subscriptions
from cluster.base.clock import Clock
from cluster.client.transport import DeleteOptions, Query, Transport, list_all
from cluster.machinery.errors import ApiError, Conflict, NotFound
from cluster.machinery.objects import Key, Obj, field_of, is_deleting, key_of, meta_of, name_of, with_field
from cluster.resources.builtin import CUSTOM_RESOURCE_DEFINITIONS
from cluster.resources.catalog import Catalog

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
RETRY_S = 1.0

_TABLE = TableId("apiextensions.k8s.io", "customresourcedefinitions")


class CustomResources:
    """`transport` acts as a superuser: it writes the definitions' status and deletes their instances."""

    def __init__(self, *, state: State, catalog: Catalog, clock: Clock, transport: Transport) -> None:
        self._state = state
        self._catalog = catalog
        self._clock = clock
        self._transport = transport
        self._planned: dict[str, Obj] = {}
        self._refused: set[str] = set()
        self._due: set[str] = set()
        self._wake = asyncio.Event()

    def follow(self) -> None:
        """Serve what is defined already and what will be; call once the state is loaded."""
        table = self._state.table(_TABLE)
        table.subscribers[next(subscriptions)] = self._on_change
        for row in table.ordered():
            self._on_change(None, row)

    async def run(self) -> None:
        """Keep statuses right and clean up behind deleted definitions, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            due, self._due = sorted(self._due), set()
            failed = [name for name in due if not await self._settled(name)]
            if failed:
                await self._clock.sleep(RETRY_S)
                self._request(*failed)

    def _on_change(self, old: Row | None, new: Row | None) -> None:
        if new is not None:
            self._serve(self._state.obj(new))
        elif old is not None:
            self._withdraw(self._state.obj(old))

    def _serve(self, crd: Obj) -> None:
        name, spec = name_of(crd), crd.get("spec")
        if self._planned.get(name) != spec or name in self._refused:
            plan = plan_crd(crd, self._catalog, self._now())
            served = {descriptor.resource.version for descriptor in plan.descriptors}
            for resource in served_by(crd, self._catalog):
                if resource.version not in served:
                    self._catalog.remove(resource)
            for descriptor in plan.descriptors:
                self._catalog.add(descriptor)
            self._planned[name] = spec or {}
            self._refused.discard(name)
            if not plan.descriptors:
                self._refused.add(name)
        self._request(name)

    def _withdraw(self, crd: Obj) -> None:
        for resource in served_by(crd, self._catalog):
            self._catalog.remove(resource)
        self._planned.pop(name_of(crd), None)
        self._refused.discard(name_of(crd))
        # Names that it held may be what another definition was refused for.
        for name in sorted(self._refused):
            row = self._state.table(_TABLE).get(Key("", name))
            if row is not None:
                self._serve(self._state.obj(row))

    def _request(self, *names: str) -> None:
        self._due.update(names)
        self._wake.set()

    def _now(self) -> str:
        return self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")

    async def _settled(self, name: str) -> bool:
        """Bring one definition's status and finalizer up to date; False when it has to be looked at again."""
        row = self._state.table(_TABLE).get(Key("", name))
        if row is None:
            return True
        crd = self._state.obj(row)
        try:
            if is_deleting(crd):
                return await self._cleaned_up(crd)
            if CLEANUP not in (meta_of(crd).get("finalizers") or ()):
                finalizers = [*(meta_of(crd).get("finalizers") or ()), CLEANUP]
                crd = await self._transport.update(
                    CUSTOM_RESOURCE_DEFINITIONS, with_field(crd, ("metadata", "finalizers"), finalizers)
                )
            status = plan_crd(crd, self._catalog, self._now()).status
            if status != crd.get("status"):
                await self._transport.update(
                    CUSTOM_RESOURCE_DEFINITIONS, {**crd, "status": status}, subresource="status"
                )
        except Conflict:
            return False
        except NotFound:
            return True
        except ApiError as error:
            logger.warning("a custom resource definition could not be settled", key=name, reason=error.message)
            return False
        return True

    async def _cleaned_up(self, crd: Obj) -> bool:
        finalizers = list(meta_of(crd).get("finalizers") or ())
        if CLEANUP not in finalizers:
            return True
        if resources := served_by(crd, self._catalog):
            # In the stored version nothing has to be converted, which a webhook that is gone already could not do.
            stored = [one for one in resources if self._catalog.of(one).storage == one]
            resource = (*stored, *resources)[0]
            left = await list_all(self._transport, resource, Query())
            for obj in left.items:
                try:
                    await self._transport.delete(resource, key_of(obj), DeleteOptions())
                except NotFound:
                    continue
        group, plural = field_of(crd, "spec", "group"), field_of(crd, "spec", "names", "plural")
        if self._state.table(TableId(group, plural)).rows:
            return False
        finalizers.remove(CLEANUP)
        await self._transport.update(
            CUSTOM_RESOURCE_DEFINITIONS, with_field(crd, ("metadata", "finalizers"), finalizers)
        )
        logger.info("custom resource definition removed with its instances", key=name_of(crd))
        return True
