"""Nobody keeps everybody waiting: requests that wait for something take seats, and flows take turns for those.

Reads are answered where they stand and take none; nor do a process's own components.  Open watches are counted for each user.
Upstream: API priority and fairness (KEP-1040), with one queue a flow and round robin in place of shuffle sharding, and without
lending between levels.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cluster.apiserver.flow_schemas import Flow, FlowSchemas
from cluster.apiserver.http import ApiRequest, ByteSource, Closing, Identity
from cluster.apiserver.routes import parse_route
from cluster.machinery.errors import TooManyRequests

QUEUED_MAX = 512
"""Requests that wait for a seat of one level, over all its flows."""
QUEUED_S = 15.0
STREAMS_MAX = 1024
"""Open watches and followed logs of one user."""
RETRY_AFTER_S = 1
WITHOUT_SEAT = frozenset(("GET", "HEAD", "OPTIONS"))


@dataclass(slots=True)
class _Level:
    """`queues` has no empty queue; the first flow is the next to get a seat."""

    taken: int = 0
    queued: int = 0
    rejected: int = 0
    queues: OrderedDict[tuple[str, str], deque[asyncio.Future[None]]] = field(default_factory=OrderedDict)


class Fairness:
    def __init__(self, schemas: FlowSchemas) -> None:
        self._schemas = schemas
        self._levels: dict[str, _Level] = {}
        self._streams: dict[str, int] = {}

    async def seat(self, request: ApiRequest) -> Callable[[], None] | None:
        """Wait for the request's turn; call what is returned when it is answered (None: it needs no seat).

        Raises TooManyRequests when too many wait already, or after QUEUED_S.
        """
        flow = self._schemas.flow_of(request.user, parse_route(request.method, request.path, request.query))
        if flow.level.seats is None:
            return None
        level = self._levels.setdefault(flow.level.name, _Level())
        if level.taken < flow.level.seats and not level.queues:
            level.taken += 1
        else:
            await self._wait(level, flow)
        return lambda: self._leave(level, flow.level.seats or 1)

    @contextmanager
    def _queued(self, level: _Level, flow: Flow) -> Iterator[asyncio.Future[None]]:
        key = (flow.schema, flow.distinguisher)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        level.queues.setdefault(key, deque()).append(turn)
        level.queued += 1
        try:
            yield turn
        finally:
            level.queued -= 1
            queue = level.queues.get(key)
            if queue is not None and turn in queue:
                queue.remove(turn)
                if not queue:
                    del level.queues[key]

    async def _wait(self, level: _Level, flow: Flow) -> None:
        queue = level.queues.get((flow.schema, flow.distinguisher), ())
        if level.queued >= QUEUED_MAX or len(queue) >= flow.level.queue_max:
            raise self._rejected(level)
        with self._queued(level, flow) as turn:
            try:
                async with asyncio.timeout(QUEUED_S):
                    await turn
            except TimeoutError:
                if not turn.done() or turn.cancelled():
                    raise self._rejected(level) from None
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._leave(level, flow.level.seats or 1)  # the seat came with the end
                raise

    def _leave(self, level: _Level, seats: int) -> None:
        """A seat is free: the flow whose turn it is gets it, and goes behind the others."""
        level.taken -= 1
        while level.queues and level.taken < seats:
            key, queue = next(iter(level.queues.items()))
            turn = queue.popleft()
            if queue:
                level.queues.move_to_end(key)
            else:
                del level.queues[key]
            if not turn.done():
                level.taken += 1
                turn.set_result(None)

    def _rejected(self, level: _Level) -> TooManyRequests:
        level.rejected += 1
        return TooManyRequests("too many requests, please try again later", retry_after_s=RETRY_AFTER_S)

    def stream(self, user: Identity, source: ByteSource) -> ByteSource:
        """`source`, counted for its user while it is open.  Raises TooManyRequests at the bound, having closed it."""
        opened = self._streams.get(user.name, 0)
        if opened >= STREAMS_MAX:
            source.close()
            raise TooManyRequests(
                f"{STREAMS_MAX} watches and streams are open for this user already", retry_after_s=RETRY_AFTER_S
            )
        self._streams[user.name] = opened + 1
        return Closing(source, lambda: self._closed(user.name))

    def _closed(self, user: str) -> None:
        left = self._streams.get(user, 0) - 1
        if left > 0:
            self._streams[user] = left
        else:
            self._streams.pop(user, None)

    def metrics(self) -> Iterator[str]:
        """Prometheus' text format."""
        levels = sorted(self._levels.items())
        for name, kind, what, values in (
            ("current_executing_seats", "gauge", "Requests that have a seat", [level.taken for _, level in levels]),
            ("current_inqueue_requests", "gauge", "Requests that wait for one", [level.queued for _, level in levels]),
            (
                "rejected_requests_total",
                "counter",
                "Requests refused with 429",
                [level.rejected for _, level in levels],
            ),
        ):
            yield f"# HELP apiserver_flowcontrol_{name} {what}, by priority level."
            yield f"# TYPE apiserver_flowcontrol_{name} {kind}"
            for (level_name, _), value in zip(levels, values, strict=True):
                yield f'apiserver_flowcontrol_{name}{{priority_level="{level_name}"}} {value}'
