"""Probes and hooks answered by the simulated engine: no connection is made.

A container's network handlers (httpGet, tcpSocket, grpc) answer as its image's `Behaviour` says; its commands are the
engine's to answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.base.clock import Clock
from cluster.kubelet.probe_runners import Answer, BadHandler, Target, port_of
from cluster.kubelet.probes import Outcome, ProbeSpec
from cluster.kubelet.runtime.api import EngineError, State
from cluster.machinery.objects import Obj
from cluster.simulation.engine import SimulatedEngine


class SimulatedProbeRunner:
    """See `cluster.kubelet.probe_runners.ProbeRunner`."""

    def __init__(self, engine: SimulatedEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def probe(self, target: Target, spec: ProbeSpec) -> Answer:
        try:
            return await self.call(target, spec.handler, timeout_s=spec.timeout_s)
        except BadHandler as error:
            return Answer(Outcome.FAILURE, str(error))

    async def call(self, target: Target, handler: Obj, *, timeout_s: float) -> Answer:
        match next(iter(sorted(handler)), ""):
            case "exec":
                return await self._exec(target, handler["exec"].get("command") or ())
            case "httpGet" | "tcpSocket" | "grpc" as kind:
                port = port_of(target.container, handler[kind].get("port"))
                if self._answers(target.container_id):
                    return Answer(Outcome.SUCCESS)
                return Answer(Outcome.FAILURE, f"dial tcp {target.address}:{port}: connect: connection refused")
            case other:
                raise BadHandler(f"handler {other or 'of no kind'} is not supported")

    async def _exec(self, target: Target, command: Sequence[str]) -> Answer:
        try:
            session = await self._engine.exec(
                target.container_id, command, stdin=False, stdout=True, stderr=True, tty=False
            )
            output = b"".join([chunk.data async for chunk in session.output()])
            code = await session.wait()
        except EngineError as error:
            return Answer(Outcome.UNKNOWN, error.message)
        text = output.decode("utf-8", "replace").strip()
        return Answer(Outcome.SUCCESS if code == 0 else Outcome.FAILURE, text)

    def _answers(self, container_id: str) -> bool:
        """Its program runs, for as long as it takes until it serves."""
        try:
            container = self._engine.container(container_id)
        except EngineError:
            return False
        if container.state is not State.RUNNING or container.started_at is None:
            return False
        ready_s = self._engine.behaviour(container_id).ready_s
        return ready_s is not None and (self._clock.now() - container.started_at).total_seconds() >= ready_s
