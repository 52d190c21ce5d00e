"""Every controller, built with its own identity and run under one supervisor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.base.tasks import Supervisor
from cluster.client.cache import Cache
from cluster.client.controller import Controller
from cluster.client.events import EventRecorder
from cluster.client.transport import Transport
from cluster.controllers.deployment import DeploymentController
from cluster.controllers.endpoints import EndpointsController
from cluster.controllers.endpointslice import EndpointSliceController
from cluster.controllers.replicaset import ReplicaSetController

PLAIN: Sequence[type[Controller]] = (
    DeploymentController,
    ReplicaSetController,
    EndpointSliceController,
    EndpointsController,
)
"""Controllers that need nothing beyond what every controller gets."""


class Controllers:
    """All controllers over one cache.  `transport_of` gives the transport that acts as a user name."""

    def __init__(
        self,
        *,
        transport_of: Callable[[str], Transport],
        cache: Cache,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._clock = clock
        self._recorders: list[tuple[str, EventRecorder]] = []
        built: list[Controller] = []
        for kind in PLAIN:
            transport = transport_of(kind.identity())
            recorder = EventRecorder(transport, clock, entropy, component=kind.account)
            self._recorders.append((f"events-{kind.name}", recorder))
            built.append(kind(transport=transport, cache=cache, clock=clock, entropy=entropy, recorder=recorder))
        self.controllers: tuple[Controller, ...] = tuple(built)

    @property
    def is_idle(self) -> bool:
        """No controller has a key to look at now."""
        return all(controller.queue.is_idle for controller in self.controllers)

    async def run(self) -> None:
        """Run every controller until cancelled; each restarts alone if it fails."""
        async with Supervisor(self._clock) as supervisor:
            for name, recorder in self._recorders:
                supervisor.start(name, recorder.run)
            for controller in self.controllers:
                supervisor.start(f"controller-{controller.name}", controller.run)
            await asyncio.Event().wait()
