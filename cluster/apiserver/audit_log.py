"""Keeps the audit log: records are taken at once and written a little later, to files of a bounded size and number.

A request never waits for the disk.  What does not fit into the buffer is dropped and counted, and the log says so.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

import orjson
from loguru import logger

from cluster.apiserver.audit import (
    COMPLETE,
    FORBIDDEN,
    READS,
    RECEIVED,
    STARTED,
    UNAUTHENTICATED,
    AuditPolicy,
    AuditRecord,
    AuditRule,
    Level,
    code_of,
    event_of,
    is_long_running,
    level_within,
)
from cluster.apiserver.call import Call, Result
from cluster.apiserver.http import ApiRequest, Closing, Identity, RawConnection, Reply
from cluster.apiserver.routes import Route
from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.machinery.errors import ApiError
from cluster.machinery.timestamps import format_micro_time

RECORDS_MAX = 4096
BATCH_MAX = 512
FLUSH_S = 0.25
_REFUSALS = frozenset((FORBIDDEN, UNAUTHENTICATED))


Ended: TypeAlias = Callable[[], None]


def until_ended(reply: Reply, ended: Ended) -> Reply:
    """`reply`, which calls `ended` once when its stream or session is over."""
    if reply.stream is not None:
        return replace(reply, stream=Closing(reply.stream, ended))
    if (upgrade := reply.upgrade) is None:
        ended()
        return reply

    async def upgraded(connection: RawConnection) -> None:
        try:
            await upgrade(connection)
        finally:
            ended()

    return replace(reply, upgrade=upgraded)


class AuditLog:
    """Writes `path`, and when that is full moves it to `path.1`, `path.1` to `path.2`, up to `files_max` files in all."""

    def __init__(
        self,
        policy: AuditPolicy,
        path: Path,
        *,
        size_max_bytes: int,
        files_max: int,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._policy = policy
        self._ignores_reads = policy.ignores_reads
        self._path = path
        self._size_max_bytes = size_max_bytes
        self._files_max = files_max
        self._clock = clock
        self._entropy = entropy
        self._records: deque[AuditRecord] = deque()
        self._arrived = asyncio.Event()
        self.dropped = 0

    def wants(self, verb: str, code: int) -> bool:
        """Whether such a request may have to be recorded; cheap, for the hot path."""
        return verb not in READS or not self._ignores_reads or (code in _REFUSALS and self._policy.refusals)

    def now(self) -> datetime:
        return self._clock.now()

    def received(self, request: ApiRequest, route: Route) -> str:
        """A request that may take long begins.  The id of its records; empty when none was made."""
        if not is_long_running(route) or (self._ignores_reads and route.verb == "watch"):
            return ""
        rule = self._policy.rule_for(request.user, route.verb, route)
        if rule is not None and rule.level and self._keeps(rule, RECEIVED):
            now, id_ = format_micro_time(self._clock.now()), self._entropy.uid()
            self._add(AuditRecord(id_, RECEIVED, Level.METADATA, request, route, route.verb, None, 0, now, now))
            return id_
        return ""

    def answered(
        self,
        request: ApiRequest,
        route: Route,
        received_at: datetime,
        *,
        acting_as: Identity | None,
        code: int,
        error: ApiError | None,
        call: Call | None,
        result: Result | None,
        id_: str = "",
    ) -> Ended | None:
        """A request was carried out or refused; `code` is 200 for any success.

        For one that goes on (a watch, a session) what to call at its end.
        """
        rule = self._policy.rule_for(request.user, route.verb, route)
        level = rule.level if rule is not None else Level.NONE
        if not level and code in _REFUSALS and self._policy.refusals:
            level = Level.METADATA
        stage = STARTED if error is None and is_long_running(route, result) else COMPLETE
        if not level:
            return None
        managed = rule.omit_managed_fields if rule is not None else None
        record = AuditRecord(
            id=id_ or self._entropy.uid(),
            stage=stage,
            level=level_within(level, route),
            request=request,
            route=route,
            verb=route.verb,
            acting_as=acting_as,
            code=code if error is not None else code_of(result),
            received_at=format_micro_time(received_at),
            at=format_micro_time(self._clock.now()),
            error=error,
            result=result if stage == COMPLETE else None,
            call=call,
            omit_managed_fields=self._policy.omit_managed_fields if managed is None else managed,
        )
        if rule is None or self._keeps(rule, stage):
            self._add(record)
        if stage == COMPLETE or (rule is not None and not self._keeps(rule, COMPLETE)):
            return None
        return lambda: self._add(replace(record, stage=COMPLETE, at=format_micro_time(self._clock.now())))

    async def run(self) -> None:
        """Write what comes, until cancelled; then write the rest."""
        told = 0
        try:
            while True:
                await self._arrived.wait()
                await self._clock.sleep(FLUSH_S)
                self.flush()
                if self.dropped > told:
                    logger.warning("audit records were dropped", count=self.dropped - told, path=str(self._path))
                    told = self.dropped
        finally:
            while self._records:
                self.flush()

    def flush(self) -> None:
        """Write a batch; what the disk does not take is dropped."""
        batch = [self._records.popleft() for _ in range(min(len(self._records), BATCH_MAX))]
        if not self._records:
            self._arrived.clear()
        if not batch:
            return
        data = b"".join(orjson.dumps(event_of(record), default=str) + b"\n" for record in batch)
        try:
            self._write(data)
        except OSError as error:
            self.dropped += len(batch)
            logger.warning("the audit log cannot be written", path=str(self._path), error=str(error))

    def _keeps(self, rule: AuditRule, stage: str) -> bool:
        return stage not in rule.omit_stages and stage not in self._policy.omit_stages

    def _add(self, record: AuditRecord) -> None:
        if len(self._records) >= RECORDS_MAX:
            self.dropped += 1
            return
        self._records.append(record)
        self._arrived.set()

    def _write(self, data: bytes) -> None:
        descriptor = self._open()
        try:
            if os.fstat(descriptor).st_size and os.fstat(descriptor).st_size + len(data) > self._size_max_bytes:
                os.close(descriptor)
                descriptor = -1
                self._rotate()
                descriptor = self._open()
            os.write(descriptor, data)
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _rotate(self) -> None:
        numbered = [self._path, *(self._path.with_name(f"{self._path.name}.{n}") for n in range(1, self._files_max))]
        for older, newer in reversed(list(zip(numbered[1:], numbered, strict=False))):
            if newer.exists():
                newer.replace(older)
        if self._files_max == 1:
            self._path.unlink()
