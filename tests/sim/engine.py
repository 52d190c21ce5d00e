"""The simulated engine with somebody looking over its shoulder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cluster.base.clock import Clock
from cluster.kubelet.runtime.api import Container, State
from cluster.simulation.engine import Behaviour, SimulatedEngine


class WatchedEngine(SimulatedEngine):
    """`started` is called with the id of each container that has been started."""

    def __init__(
        self, *, clock: Clock, registry: Mapping[str, Behaviour] | None, started: Callable[[str], None]
    ) -> None:
        super().__init__(clock=clock, registry=registry)
        self._started = started

    def running(self) -> Sequence[Container]:
        return [each for _, each in sorted(self._containers.items()) if each.state is State.RUNNING]

    def everything(self) -> Sequence[Container]:
        return [each for _, each in sorted(self._containers.items())]

    async def start(self, container_id: str) -> None:
        was_running = self.container(container_id).state is State.RUNNING
        await super().start(container_id)
        if not was_running:
            self._started(container_id)
