"""The simulated engine with somebody looking over its shoulder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cluster.base.clock import Clock
from cluster.kubelet.runtime.api import Container, ContainerSpec, EngineUnavailable, State
from cluster.simulation.engine import Behaviour, SimulatedEngine


class WatchedEngine(SimulatedEngine):
    """`started` is called with the id of each container that has been started.

    `die_after` names the change (counted over the engine's whole life) after which `caller_died` is called: that change
    is made and whoever asked for it never learns so.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        registry: Mapping[str, Behaviour] | None,
        started: Callable[[str], None],
        caller_died: Callable[[], None],
    ) -> None:
        super().__init__(clock=clock, registry=registry)
        self._started = started
        self._caller_died = caller_died
        self.changes = 0
        self.die_after: int | None = None

    def running(self) -> Sequence[Container]:
        return [each for _, each in sorted(self._containers.items()) if each.state is State.RUNNING]

    async def create(self, spec: ContainerSpec) -> str:
        made = await super().create(spec)
        self._changed()
        return made

    async def start(self, container_id: str) -> None:
        was_running = self.container(container_id).state is State.RUNNING
        await super().start(container_id)
        if not was_running:
            self._started(container_id)
        self._changed()

    async def stop(self, container_id: str, *, grace_s: float) -> None:
        await super().stop(container_id, grace_s=grace_s)
        self._changed()

    async def remove(self, container_id: str) -> None:
        await super().remove(container_id)
        self._changed()

    def _changed(self) -> None:
        self.changes += 1
        if self.changes == self.die_after:
            self._caller_died()
            raise EngineUnavailable("the caller died before the answer came")
