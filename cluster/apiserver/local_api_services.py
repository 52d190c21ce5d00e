"""An APIService for every group-version that this server itself serves, built in or by CRDs, kept for as long as it does.

Upstream: kube-aggregator/pkg/controllers/autoregister.  APIServices written by others are never touched.
"""

from __future__ import annotations

import asyncio

from loguru import logger

from cluster.apiserver.state import Row, State, TableId, subscriptions
from cluster.base.clock import Clock
from cluster.client.transport import Transport
from cluster.machinery.errors import AlreadyExists, ApiError, NotFound
from cluster.machinery.objects import Key, Obj, name_of
from cluster.resources.apiregistration import AUTOMANAGED, GROUP, local_api_service
from cluster.resources.builtin import API_SERVICES
from cluster.resources.catalog import Catalog

RETRY_S = 1.0

_SERVICES = TableId(GROUP, "apiservices")
_DEFINITIONS = TableId("apiextensions.k8s.io", "customresourcedefinitions")


class LocalApiServices:
    """`transport` acts as a superuser."""

    def __init__(self, *, state: State, catalog: Catalog, clock: Clock, transport: Transport) -> None:
        self._state = state
        self._catalog = catalog
        self._clock = clock
        self._transport = transport
        self._wake = asyncio.Event()

    def follow(self) -> None:
        """Notice what changes from now on; call once definitions are followed by the catalogue."""
        self._state.table(_DEFINITIONS).subscribers[next(subscriptions)] = self._on_definition
        self._state.table(_SERVICES).subscribers[next(subscriptions)] = self._on_service

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.synchronise()
            except ApiError as error:
                logger.warning("APIServices are behind, retrying", reason=error.message)
                await self._clock.sleep(RETRY_S)
                self._wake.set()

    async def synchronise(self) -> None:
        """Create what is missing and delete what is no longer served.  Raises ApiError."""
        wanted = self._wanted()
        present = self._state.table(_SERVICES).rows
        gone = [
            row.key for row in present.values() if row.labels.get(AUTOMANAGED) == "true" and row.key.name not in wanted
        ]
        missing = [obj for name, obj in wanted.items() if Key("", name) not in present]
        await asyncio.gather(*(self._create(obj) for obj in missing), *(self._delete(key) for key in sorted(gone)))

    def _wanted(self) -> dict[str, Obj]:
        custom: dict[tuple[str, str], bool] = {}
        for descriptor in self._catalog:
            custom.setdefault((descriptor.resource.group, descriptor.resource.version), descriptor.custom)
        services = (local_api_service(group, version, custom=own) for (group, version), own in custom.items())
        # A server is not told apart from its own registration: the group that registers needs none, as upstream.
        return {name_of(service): service for service in services if service["spec"].get("group") != GROUP}

    async def _create(self, obj: Obj) -> None:
        try:
            await self._transport.create(API_SERVICES, obj)
        except AlreadyExists:
            return

    async def _delete(self, key: Key) -> None:
        try:
            await self._transport.delete(API_SERVICES, key)
        except NotFound:
            return

    def _on_definition(self, old: Row | None, new: Row | None) -> None:
        self._wake.set()

    def _on_service(self, old: Row | None, new: Row | None) -> None:
        # One of ours may have been deleted; what else becomes of it is nothing to us.
        if new is None:
            self._wake.set()
