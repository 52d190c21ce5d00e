"""Entry to this node's containers: logs, exec, attach, port-forward and statistics, as a NodeChannel.

Names a container by its pod's uid, so that a later pod of the same name is never entered by mistake.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta

from cluster.base.clock import Clock
from cluster.client.node_channel import ByteStream, ContainerRef, ExecSession, LogOptions
from cluster.client.node_stats import NodeStats
from cluster.kubelet.engine_view import EngineView
from cluster.kubelet.observe import ObservedContainer, PodObservation
from cluster.kubelet.runtime.api import (
    ContainerStreams,
    EngineError,
    EngineUnavailable,
    NoSuchContainer,
    PodNetwork,
)
from cluster.kubelet.stats import NodeStatsReader
from cluster.machinery.errors import ApiError, BadRequest, InternalError, NotFound, ServiceUnavailable, TooManyRequests
from cluster.machinery.timestamps import parse_time

READ_MAX = 64 * 1024
CONNECT_TIMEOUT_S = 10.0
FOLLOWERS_MAX = 100
"""Logs followed at once: each keeps a connection to the engine, of which probes and starts need some too."""


class KubeletChannel:
    """Implements `client.node_channel.NodeChannel`."""

    def __init__(
        self,
        *,
        view: EngineView,
        streams: ContainerStreams,
        network: PodNetwork,
        clock: Clock,
        address_of: Callable[[str], str],
        stats: NodeStatsReader,
    ) -> None:
        self._view = view
        self._network = network
        self._streams = streams
        self._clock = clock
        self._address_of = address_of
        self._stats = stats
        self._followers = 0

    async def logs(self, container: ContainerRef, options: LogOptions) -> AsyncIterator[bytes]:
        observed = await self._find(container)
        chosen = observed.previous(container.container) if options.previous else observed.latest(container.container)
        if chosen is None and options.previous:
            raise BadRequest(
                f'previous terminated container "{container.container}" in pod "{container.pod}" not found'
            )
        if chosen is None or chosen.started_at is None:
            raise BadRequest(
                f'container "{container.container}" in pod "{container.pod}" is waiting to start: ContainerCreating'
            )
        since = None
        if options.since_s is not None:
            since = self._clock.now() - timedelta(seconds=options.since_s)
        elif options.since_time:
            since = parse_time(options.since_time)
        left = options.limit_bytes
        follow = options.follow and not options.previous
        if follow and self._followers >= FOLLOWERS_MAX:
            raise TooManyRequests(f"{FOLLOWERS_MAX} logs of this node are being followed already")
        self._followers += follow
        try:
            async for chunk in self._streams.logs(
                chosen.id,
                follow=follow,
                since=since,
                tail_lines=options.tail_lines,
                timestamps=options.timestamps,
            ):
                data = chunk.data if left is None else chunk.data[:left]
                if data:
                    yield data
                if left is not None:
                    left -= len(data)
                    if left <= 0:
                        return
        except EngineError as error:
            raise _api_error(error) from error
        finally:
            self._followers -= follow

    async def exec(
        self, container: ContainerRef, command: Sequence[str], *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> ExecSession:
        running = await self._running(container)
        try:
            return await self._streams.exec(running.id, command, stdin=stdin, stdout=stdout, stderr=stderr, tty=tty)
        except EngineError as error:
            raise _api_error(error) from error

    async def attach(
        self, container: ContainerRef, *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> ExecSession:
        running = await self._running(container)
        try:
            return await self._streams.attach(running.id, stdin=stdin, stdout=stdout, stderr=stderr, tty=tty)
        except EngineError as error:
            raise _api_error(error) from error

    async def connect(self, container: ContainerRef, port: int) -> ByteStream:
        address, sandbox = self._address_of(container.uid), (await self._find(container)).sandbox
        if not address or sandbox is None:
            raise BadRequest(f'pod "{container.pod}" is not running')
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                connected = await self._network.connect(port, pid=sandbox.pid, address=address)
                reader, writer = await asyncio.open_connection(sock=connected)
        except (OSError, TimeoutError) as error:
            raise BadRequest(f"error forwarding port {port} to pod {container.pod}: connection refused") from error
        return _TcpStream(reader, writer)

    async def stats(self) -> NodeStats:
        try:
            return await self._stats.stats()
        except EngineError as error:
            raise _api_error(error) from error

    async def _find(self, container: ContainerRef) -> PodObservation:
        try:
            return await self._view.pod(container.uid)
        except EngineError as error:
            raise _api_error(error) from error

    async def _running(self, container: ContainerRef) -> ObservedContainer:
        latest = (await self._find(container)).latest(container.container)
        if latest is None:
            raise NotFound(f'container "{container.container}" not found in pod "{container.pod}"')
        if not latest.running:
            raise BadRequest(
                f'cannot enter container "{container.container}" of pod "{container.pod}": it is not running'
            )
        return latest


class _TcpStream:
    """A ByteStream over a TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        try:
            return await self._reader.read(READ_MAX)
        except ConnectionError:
            return b""

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()


def _api_error(error: EngineError) -> ApiError:
    match error:
        case EngineUnavailable():
            return ServiceUnavailable(error.message)
        case NoSuchContainer():
            return NotFound(error.message)
    if error.reason == "ContainerNotRunning":
        return BadRequest(error.message)
    return InternalError(error.message)
