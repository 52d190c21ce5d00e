"""Events: what happened to an object, told to its user, without flooding the API.

Three bounds, as upstream's (client-go/tools/record/events_cache.go): equal events raise the count of one Event; more than
`SIMILAR_MAX` that differ only in their message become one "combined from similar events"; and one object of one
component gets a burst of `SPAM_BURST`, then one event each `SPAM_REFILL_S`.  What exceeds the queue is dropped: an Event
is a courtesy, never a record to rely on.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from loguru import logger

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.client.transport import Patch, PatchType, Transport
from cluster.machinery.errors import ApiError, NotFound
from cluster.machinery.objects import Key, Obj, gvk_of, meta_of, name_of, namespace_of, resource_version_of, uid_of
from cluster.machinery.timestamps import format_time
from cluster.resources.builtin import EVENTS

QUEUE_MAX = 1000
REMEMBERED_MAX = 4096
SIMILAR_MAX = 10
SIMILAR_WINDOW_S = 600.0
SPAM_BURST = 25
SPAM_REFILL_S = 300.0
MESSAGE_MAX = 1024
TRIES_MAX = 5
RETRY_S = 2.0

NORMAL = "Normal"
WARNING = "Warning"


@dataclass(slots=True)
class _Sent:
    """An Event that exists on the server."""

    key: Key
    count: int


@dataclass(slots=True)
class _Similar:
    """Distinct messages of one reason about one object, within a window."""

    messages: set[str]
    since: float


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


@dataclass(frozen=True, slots=True)
class _Pending:
    identity: tuple[str, ...]
    involved: dict[str, Any]
    type: str
    reason: str
    message: str
    at: datetime


class EventRecorder:
    """Implements `Recorder`: `event` queues, `run` (supervised) writes.  `component` is who says it (`kubelet`)."""

    def __init__(self, transport: Transport, clock: Clock, entropy: Entropy, *, component: str, host: str = "") -> None:
        self._transport = transport
        self._clock = clock
        self._entropy = entropy
        self._component = component
        self._host = host
        self._pending: deque[_Pending] = deque()
        self._wake = asyncio.Event()
        self._sent: OrderedDict[tuple[str, ...], _Sent] = OrderedDict()
        self._similar: OrderedDict[tuple[str, ...], _Similar] = OrderedDict()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._dropped = 0

    def event(self, obj: Obj, type_: str, reason: str, message: str) -> None:
        """Queue an Event about `obj`; over a bound it is dropped.  Messages are cut at MESSAGE_MAX characters."""
        about = _reference_to(obj)
        subject = f"{about['kind']}/{about.get('namespace', '')}/{about['name']}/{about.get('uid', '')}"
        if not self._allowed(subject) or len(self._pending) >= QUEUE_MAX:
            self._dropped += 1
            return
        message = message if len(message) <= MESSAGE_MAX else message[: MESSAGE_MAX - 3] + "..."
        kind_of_event = (subject, type_, reason)
        if self._too_many_similar(kind_of_event, message):
            message = f"(combined from similar events): {message}"[:MESSAGE_MAX]
            identity: tuple[str, ...] = kind_of_event
        else:
            identity = (*kind_of_event, message)
        self._pending.append(_Pending(identity, about, type_, reason, message, self._clock.now()))
        self._wake.set()

    async def run(self) -> None:
        """Write queued events until cancelled, in the order they were recorded."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._dropped:
                logger.debug("events dropped", component=self._component, count=self._dropped)
                self._dropped = 0
            while self._pending:
                await self._deliver(self._pending.popleft())

    async def _deliver(self, pending: _Pending) -> None:
        for _ in range(TRIES_MAX):
            try:
                await self._send(pending)
            except ApiError as error:
                if error.code < 500 and error.code != 429:
                    # A namespace that is going away, a right that is missing: trying again cannot help.
                    logger.debug("event refused", component=self._component, reason=error.message)
                    return
                await self._clock.sleep(self._entropy.uniform(RETRY_S, 2 * RETRY_S))
            else:
                return
        logger.warning("event given up", component=self._component, reason=pending.reason)

    async def _send(self, pending: _Pending) -> None:
        sent = self._sent.get(pending.identity)
        at = format_time(pending.at)
        if sent is not None:
            self._sent.move_to_end(pending.identity)
            body = {"count": sent.count + 1, "lastTimestamp": at, "message": pending.message}
            try:
                await self._transport.patch(EVENTS, sent.key, Patch(PatchType.STRATEGIC, body))
            except NotFound:
                del self._sent[pending.identity]  # It expired; a new one begins.
            else:
                sent.count += 1
                return
        namespace = pending.involved.get("namespace") or "default"
        # As upstream, names sort by time: that is the order in which clients list Events of the same second.
        moment = int(pending.at.timestamp() * 1_000_000)
        name = f"{pending.involved['name']}.{moment:013x}{self._entropy.token_bytes(2).hex()}"
        source = {"component": self._component} | ({"host": self._host} if self._host else {})
        await self._transport.create(
            EVENTS,
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": name, "namespace": namespace},
                "involvedObject": pending.involved,
                "type": pending.type,
                "reason": pending.reason,
                "message": pending.message,
                "source": source,
                "firstTimestamp": at,
                "lastTimestamp": at,
                "count": 1,
                "eventTime": None,
                "reportingComponent": self._component,
                "reportingInstance": self._host,
            },
        )
        _remember(self._sent, pending.identity, _Sent(Key(namespace, name), 1))

    def _allowed(self, subject: str) -> bool:
        now = self._clock.monotonic()
        bucket = self._buckets.get(subject)
        if bucket is None:
            bucket = _Bucket(SPAM_BURST, now)
            _remember(self._buckets, subject, bucket)
        bucket.tokens = min(SPAM_BURST, bucket.tokens + (now - bucket.at) / SPAM_REFILL_S)
        bucket.at = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def _too_many_similar(self, kind_of_event: tuple[str, ...], message: str) -> bool:
        now = self._clock.monotonic()
        similar = self._similar.get(kind_of_event)
        if similar is None or now - similar.since > SIMILAR_WINDOW_S:
            similar = _Similar(set(), now)
            _remember(self._similar, kind_of_event, similar)
        if message in similar.messages:
            return False
        if len(similar.messages) < SIMILAR_MAX:
            similar.messages.add(message)
            return False
        return True


def _remember(memory: OrderedDict[Any, Any], key: object, value: object) -> None:
    """Keep at most REMEMBERED_MAX entries; the oldest go."""
    memory[key] = value
    memory.move_to_end(key)
    while len(memory) > REMEMBERED_MAX:
        memory.popitem(last=False)


def _reference_to(obj: Obj) -> dict[str, Any]:
    """core/v1 ObjectReference; an object that is itself a reference (an `involvedObject`) is taken as it is."""
    if "metadata" not in obj:
        return dict(obj)
    gvk = gvk_of(obj)
    reference = {
        "apiVersion": gvk.api_version,
        "kind": gvk.kind,
        "namespace": namespace_of(obj),
        "name": name_of(obj),
        "uid": uid_of(obj),
        "resourceVersion": resource_version_of(obj) if meta_of(obj) else "",
    }
    return {name: text for name, text in reference.items() if text}
