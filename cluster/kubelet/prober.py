"""Runs the probes of running containers and keeps what they say.  Thresholds are `probes`', calls are `probe_runners`'."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cluster.base.clock import Clock
from cluster.base.tasks import Supervisor
from cluster.client.controller import Recorder
from cluster.client.events import WARNING
from cluster.kubelet.observe import ObservedContainer, PodObservation
from cluster.kubelet.plan import Verdicts
from cluster.kubelet.podspec import ContainerKind, PodContainer, containers_of_kind
from cluster.kubelet.probe_runners import ProbeRunner, Target
from cluster.kubelet.probes import (
    Outcome,
    ProbeKind,
    ProbeSpec,
    ProbeState,
    advance,
    first_state,
    killing_message,
    probe_of,
)
from cluster.machinery.objects import Obj, uid_of


@dataclass(slots=True)
class _Probe:
    """One probe of one running container; `task` names its loop under the supervisor."""

    task: str
    container_id: str
    spec: ProbeSpec
    state: ProbeState


class Prober:
    """The probes of one pod.  `changed` is called whenever a verdict changes."""

    def __init__(
        self,
        *,
        runner: ProbeRunner,
        clock: Clock,
        supervisor: Supervisor,
        recorder: Recorder,
        changed: Callable[[], None],
    ) -> None:
        self._runner = runner
        self._clock = clock
        self._supervisor = supervisor
        self._recorder = recorder
        self._changed = changed
        self._probes: dict[tuple[str, ProbeKind], _Probe] = {}

    async def sync(self, pod: Obj, observed: PodObservation, address: str) -> None:
        """Probe exactly the containers that run: a startup probe first and alone, then the others."""
        wanted: dict[tuple[str, ProbeKind], tuple[PodContainer, ObservedContainer, ProbeSpec]] = {}
        for container in containers_of_kind(pod, ContainerKind.SIDECAR, ContainerKind.APP):
            running = observed.latest(container.name)
            if running is None or not running.running or not address:
                continue
            startup = probe_of(container.spec, ProbeKind.STARTUP)
            if startup is not None:
                wanted[running.id, ProbeKind.STARTUP] = (container, running, startup)
                if not self._passing(running.id, ProbeKind.STARTUP):
                    continue
            for kind in (ProbeKind.LIVENESS, ProbeKind.READINESS):
                spec = probe_of(container.spec, kind)
                if spec is not None:
                    wanted[running.id, kind] = (container, running, spec)
        for name in [name for name in self._probes if name not in wanted]:
            await self._supervisor.cancel(self._probes.pop(name).task)
        for name, (container, running, spec) in wanted.items():
            if name not in self._probes:
                self._start(pod, container, running, spec, address)

    async def stop(self) -> None:
        """End every probe of the pod."""
        for name in list(self._probes):
            await self._supervisor.cancel(self._probes.pop(name).task)

    def verdicts(self, pod: Obj, observed: PodObservation) -> Verdicts:
        """What the probes say now; a container without a probe passes it by running."""
        started: set[str] = set()
        ready: set[str] = set()
        failed: dict[str, str] = {}
        grace_s: dict[str, int] = {}
        for container in containers_of_kind(pod, ContainerKind.SIDECAR, ContainerKind.APP, ContainerKind.EPHEMERAL):
            running = observed.latest(container.name)
            if running is None or not running.running:
                continue
            specs = {kind: probe_of(container.spec, kind) for kind in ProbeKind}
            if specs[ProbeKind.STARTUP] is None or self._passing(running.id, ProbeKind.STARTUP):
                started.add(running.id)
                if specs[ProbeKind.READINESS] is None or self._passing(running.id, ProbeKind.READINESS):
                    ready.add(running.id)
            for kind in (ProbeKind.STARTUP, ProbeKind.LIVENESS):
                probe = self._probes.get((running.id, kind))
                if probe is not None and probe.state.passing is False:
                    failed[running.id] = killing_message(container.name, kind)
                    if probe.spec.grace_s is not None:
                        grace_s[running.id] = probe.spec.grace_s
        return Verdicts(frozenset(started), frozenset(ready), failed, grace_s)

    def _passing(self, container_id: str, kind: ProbeKind) -> bool:
        probe = self._probes.get((container_id, kind))
        return probe is not None and probe.state.passing is True

    def _start(
        self, pod: Obj, container: PodContainer, running: ObservedContainer, spec: ProbeSpec, address: str
    ) -> None:
        name = f"probe {uid_of(pod)} {running.name} {running.attempt} {spec.kind.value}"
        probe = _Probe(name, running.id, spec, _remembered(pod, running, spec.kind))
        self._probes[running.id, spec.kind] = probe
        target = Target(container.spec, running.id, address)

        async def run() -> None:
            await self._run(pod, probe, target, running)

        self._supervisor.start(name, run)

    async def _run(self, pod: Obj, probe: _Probe, target: Target, running: ObservedContainer) -> None:
        spec = probe.spec
        if running.started_at is not None:
            age_s = (self._clock.now() - running.started_at).total_seconds()
            if spec.initial_delay_s > age_s >= 0:
                await self._clock.sleep(spec.initial_delay_s - age_s)
        while not (spec.kind is ProbeKind.STARTUP and probe.state.passing):
            answer = await self._runner.probe(target, spec)
            before = probe.state.passing
            probe.state = advance(spec, probe.state, answer.outcome)
            if answer.outcome is Outcome.FAILURE:
                words = f"{spec.kind.value.capitalize()} probe failed: {answer.message}"
                self._recorder.event(pod, WARNING, "Unhealthy", words)
            if probe.state.passing is not before:
                self._changed()
            await self._clock.sleep(spec.period_s)


def _remembered(pod: Obj, running: ObservedContainer, kind: ProbeKind) -> ProbeState:
    """The first belief; an agent that restarts goes on from what the status says of this very container."""
    status = pod.get("status") or {}
    lists = ("containerStatuses", "initContainerStatuses")
    for told in (entry for name in lists for entry in status.get(name) or ()):
        if told.get("containerID") == f"docker://{running.id}":
            if kind is ProbeKind.READINESS and told.get("ready"):
                return ProbeState(passing=True)
            if kind is ProbeKind.STARTUP and told.get("started"):
                return ProbeState(passing=True)
    return first_state(kind)
