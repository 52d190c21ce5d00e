"""One shared look at the engine for all pods: concurrent askers share a listing that began after they asked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from cluster.kubelet.observe import PodObservation, observe
from cluster.kubelet.runtime.api import ContainerEngine, Sandbox


class EngineView:
    """Observations by pod uid.  `sandboxes` is the kubelet's own table of claimed sandboxes, read at each look."""

    def __init__(self, engine: ContainerEngine, sandboxes: Mapping[str, Sandbox]) -> None:
        self._engine = engine
        self._sandboxes = sandboxes
        self._lock = asyncio.Lock()
        self._begun = 0
        self._done = 0
        self._seen: dict[str, PodObservation] = {}

    async def look(self) -> Mapping[str, PodObservation]:
        """The state as of now or later.  Raises EngineError."""
        wanted = self._begun + 1
        async with self._lock:
            if self._done < wanted:
                self._begun += 1
                number = self._begun
                listing = await self._engine.list()
                self._seen = observe(listing, self._sandboxes)
                self._done = number
        return self._seen

    async def pod(self, uid: str) -> PodObservation:
        """What runs of one pod, as of now or later.  Raises EngineError."""
        return (await self.look()).get(uid) or PodObservation(uid)

    @property
    def last(self) -> Mapping[str, PodObservation]:
        """The latest look, however old."""
        return self._seen
