"""Whether aggregated servers answer, and what they say they serve: asked every few seconds, told in each APIService's status.

Upstream: kube-aggregator/pkg/controllers/status/remote, pkg/apiserver/handler_discovery.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from loguru import logger

from cluster.apiserver.aggregation import Aggregation, RemoteVersion
from cluster.apiserver.discovery_merging import RemoteGroupVersion
from cluster.apiserver.http import ApiRequest, ByteSource, Identity, Reply
from cluster.base.clock import Clock
from cluster.client.transport import Transport
from cluster.machinery.conditions import conditions_of, make_condition, set_condition
from cluster.machinery.errors import ApiError, NotFound
from cluster.machinery.objects import Key, Obj
from cluster.resources.builtin import API_SERVICES

CHECK_S = 2.0
CHECK_TIMEOUT_S = 5.0
DISCOVERY_SIZE_MAX_BYTES = 4 * 1024 * 1024
ASKER = Identity("system:kube-aggregator", ("system:masters",))


class Availability:
    """`transport` acts as a superuser.  `served` is what each server last said; `changes` counts what changed."""

    def __init__(self, *, aggregation: Aggregation, transport: Transport, clock: Clock) -> None:
        self._aggregation = aggregation
        self._transport = transport
        self._clock = clock
        self._wake = asyncio.Event()
        self.served: dict[str, Obj] = {}
        self.changes = 0

    def look_again(self) -> None:
        self.changes += 1
        self._wake.set()

    def group_versions(self) -> Sequence[RemoteGroupVersion]:
        """What the others serve, for discovery."""
        return [
            RemoteGroupVersion(
                one.group,
                one.version,
                one.group_priority,
                one.version_priority,
                one.is_available,
                self.served.get(one.name, {}),
            )
            for one in self._aggregation.remote
        ]

    async def run(self) -> None:
        """Until cancelled.  Costs nothing while there is nobody to ask."""
        while True:
            self._wake.clear()
            remote = self._aggregation.remote
            await asyncio.gather(*(self._check(one) for one in remote))
            for name in sorted(self.served.keys() - {one.name for one in remote}):
                del self.served[name]
                self.changes += 1
            try:
                async with asyncio.timeout(CHECK_S if remote else None):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _check(self, remote: RemoteVersion) -> None:
        if (unresolved := self._aggregation.unresolved(remote)) is not None:
            message = f"service/{remote.service} in {remote.namespace!r} cannot be reached: {unresolved}"
            await self._tell(remote, available=False, reason=unresolved.reason, message=message)
            return
        path = f"/apis/{remote.group}/{remote.version}"
        request = ApiRequest("GET", path, ASKER, {}, {"accept": "application/json"})
        available, reason, message = True, "Passed", "all checks passed"
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                reply = await self._aggregation.send(remote, request, ASKER)
                content = await content_of(reply)
            if reply.status != 200:
                raise ValueError(f"bad status: {reply.status}")
            self._learn(remote, orjson.loads(content))
        except ApiError as error:
            available, reason, message = False, "FailedDiscoveryCheck", error.message
        except TimeoutError:
            available, reason, message = False, "FailedDiscoveryCheck", f"no answer within {CHECK_TIMEOUT_S:g} s"
        except ValueError as error:
            available, reason, message = False, "FailedDiscoveryCheck", str(error)
        if not available:
            message = f"failing or missing response from {remote.service}.{remote.namespace}.svc: {message}"
        await self._tell(remote, available=available, reason=reason, message=message)

    def _learn(self, remote: RemoteVersion, document: Any) -> None:
        if not isinstance(document, Mapping) or document.get("kind") != "APIResourceList":
            raise ValueError("the answer is not an APIResourceList")
        if self.served.get(remote.name) != document:
            self.served[remote.name] = document
            self.changes += 1

    async def _tell(self, remote: RemoteVersion, *, available: bool, reason: str, message: str) -> None:
        try:
            live = await self._transport.get(API_SERVICES, Key("", remote.name))
            wanted = make_condition("Available", available, reason, message)
            now = self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
            conditions = set_condition(conditions_of(live), wanted, now)
            if conditions != conditions_of(live):
                await self._transport.update(
                    API_SERVICES, {**live, "status": {"conditions": conditions}}, subresource="status"
                )
                logger.info("an aggregated API changed", key=remote.name, reason=reason)
        except NotFound:
            return
        except ApiError as error:
            logger.warning("an APIService's status could not be written", key=remote.name, reason=error.message)


async def content_of(reply: Reply) -> bytes:
    """A whole answer.  Raises ValueError for one that is too large."""
    if reply.stream is None:
        return reply.body or b""
    return await _read_whole(reply.stream)


async def _read_whole(source: ByteSource) -> bytes:
    ready = asyncio.Event()
    source.on_ready(ready.set)
    parts = bytearray()
    try:
        while True:
            ready.clear()
            part = source.take()
            if part is None:
                return bytes(parts)
            parts += part
            if len(parts) > DISCOVERY_SIZE_MAX_BYTES:
                raise ValueError(f"the answer exceeds {DISCOVERY_SIZE_MAX_BYTES} bytes")
            if not part:
                await ready.wait()
    finally:
        source.close()
