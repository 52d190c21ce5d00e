"""What runs, pod by pod, read from the engine's list.  Pure: the list in, observations out.

A sandbox carries no pod labels (a warm one was made before its pod), so it is matched by its id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from cluster.kubelet.identity import Identity, identity_of
from cluster.kubelet.runtime.api import Container, Sandbox, State


@dataclass(frozen=True, slots=True)
class ObservedContainer:
    """One attempt at a pod's container and what became of it."""

    identity: Identity
    container: Container

    @property
    def id(self) -> str:
        return self.container.id

    @property
    def name(self) -> str:
        return self.identity.container

    @property
    def attempt(self) -> int:
        return self.identity.attempt

    @property
    def running(self) -> bool:
        return self.container.state is State.RUNNING

    @property
    def exited(self) -> bool:
        return self.container.state is State.EXITED

    @property
    def started_at(self) -> datetime | None:
        return self.container.started_at


@dataclass(frozen=True, slots=True)
class PodObservation:
    """A pod's containers, newest attempt first within each name.  `sandbox` is None unless it runs."""

    uid: str
    sandbox: Sandbox | None = None
    containers: tuple[ObservedContainer, ...] = ()

    def latest(self, name: str) -> ObservedContainer | None:
        return next((container for container in self.containers if container.name == name), None)

    def previous(self, name: str) -> ObservedContainer | None:
        """The attempt before the latest."""
        attempts = [container for container in self.containers if container.name == name]
        return attempts[1] if len(attempts) > 1 else None

    def next_attempt(self, name: str) -> int:
        latest = self.latest(name)
        return 0 if latest is None else latest.attempt + 1

    @property
    def running(self) -> tuple[ObservedContainer, ...]:
        return tuple(container for container in self.containers if container.running)


def observe(listing: Iterable[Container], sandboxes: Mapping[str, Sandbox]) -> dict[str, PodObservation]:
    """One observation per pod uid that has a container or a sandbox; `sandboxes` are the claimed ones by pod uid."""
    containers: dict[str, list[ObservedContainer]] = {}
    alive: set[str] = set()
    for container in listing:
        if container.state is State.RUNNING:
            alive.add(container.id)
        identity = identity_of(container.labels)
        if identity is not None:
            containers.setdefault(identity.pod_uid, []).append(ObservedContainer(identity, container))
    observations: dict[str, PodObservation] = {}
    for uid in sorted({*containers, *sandboxes}):
        sandbox = sandboxes.get(uid)
        observations[uid] = PodObservation(
            uid=uid,
            sandbox=sandbox if sandbox is not None and sandbox.id in alive else None,
            containers=tuple(sorted(containers.get(uid, ()), key=lambda c: (c.name, -c.attempt, c.id))),
        )
    return observations
