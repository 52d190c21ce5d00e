"""What to do next for one pod: its spec and what runs in, container actions out.  Pure; `sync` carries them out.

Level, not edge: the plan says the next steps from here and is made again after each.  A sandbox that is gone takes its
containers with it, init containers included.  Upstream: kuberuntime computePodActions, computeInitContainerActions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from cluster.kubelet.backoff import next_back_off_s, restart_at
from cluster.kubelet.identity import spec_changed
from cluster.kubelet.observe import ObservedContainer, PodObservation
from cluster.kubelet.podspec import (
    ContainerKind,
    PodContainer,
    containers_of,
    containers_of_kind,
    grace_s_of,
    restart_policy_of,
    restarts,
)
from cluster.machinery.objects import Obj, meta_of, uid_of

ATTEMPTS_KEPT = 2
"""Attempts kept per container: the latest, and the one before for `logs --previous` and lastState."""


@dataclass(frozen=True, slots=True)
class StartSandbox:
    """Acquire a sandbox and its address."""


@dataclass(frozen=True, slots=True)
class StartContainer:
    """Create and start this attempt; `back_off_s` is what it leaves to its successor."""

    name: str
    attempt: int
    back_off_s: int = 0


@dataclass(frozen=True, slots=True)
class KillContainer:
    """Run its preStop hook, stop it, kill it after `grace_s`.  `message` words the Killing event."""

    id: str
    name: str
    grace_s: int
    message: str


@dataclass(frozen=True, slots=True)
class RemoveContainer:
    id: str


@dataclass(frozen=True, slots=True)
class TearDown:
    """Nothing runs any more: release the sandbox, the address and the volumes."""


Action: TypeAlias = StartSandbox | StartContainer | KillContainer | RemoveContainer | TearDown


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a container does not run: what its status shows."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class StartFailure:
    """The last try to start a container failed.  Until `retry_at` its status shows `waiting`."""

    waiting: Waiting
    retry_at: datetime


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What probes say, by container id.  `started` holds those without a startup probe too, once they run."""

    started: frozenset[str] = frozenset()
    ready: frozenset[str] = frozenset()
    failed: Mapping[str, str] = field(default_factory=dict)  # id -> the Killing event's message
    grace_s: Mapping[str, int] = field(default_factory=dict)  # id -> the failed probe's own grace period


@dataclass(frozen=True, slots=True)
class PodPlan:
    """`actions` in order; `waiting` by container name; look again at `again_at` at the latest.

    `terminal` is set once the containers' own ends mean that the pod never runs again.
    """

    actions: tuple[Action, ...] = ()
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    again_at: datetime | None = None
    terminal: bool = False


def plan_pod(
    pod: Obj,
    observed: PodObservation,
    *,
    now: datetime,
    verdicts: Verdicts,
    failures: Mapping[str, StartFailure],
) -> PodPlan:
    """The next steps towards what the pod asks for, while it is neither deleted nor ended (then: `plan_termination`)."""
    if is_finished(pod, observed):
        return PodPlan(actions=plan_termination(pod, observed), terminal=True)
    old = _superseded(observed)
    if observed.sandbox is None:
        survivors = tuple(
            _kill(c, grace_s_of(pod), "Pod sandbox changed, it will be killed and re-created.")
            for c in observed.running
        )
        # What ran with the sandbox is stopped first: its address is about to belong to another.
        return PodPlan(actions=survivors or (*old, StartSandbox()), waiting=_all_waiting(pod, observed))
    builder = _Builder(pod, observed, now, verdicts, failures)
    if builder.plan_init():
        builder.plan_apps()
    builder.plan_ephemeral()
    return PodPlan((*old, *builder.actions), builder.waiting, builder.again_at)


def plan_termination(pod: Obj, observed: PodObservation) -> tuple[Action, ...]:
    """Apps stop together, then sidecars one by one in reverse order, then the sandbox goes (KEP-753)."""
    grace_s = grace_s_of(pod)
    sidecars = [c.name for c in containers_of_kind(pod, ContainerKind.SIDECAR)]
    running = observed.running
    first = [c for c in running if c.name not in sidecars]
    if first:
        return tuple(_kill(c, grace_s, f"Stopping container {c.name}") for c in first)
    for name in reversed(sidecars):
        victims = [c for c in running if c.name == name]
        if victims:
            return tuple(_kill(c, grace_s, f"Stopping container {c.name}") for c in victims)
    return (TearDown(),)


def is_finished(pod: Obj, observed: PodObservation) -> bool:
    """Whether the containers' own ends mean that the pod never runs again, given its restart policy."""
    policy = restart_policy_of(pod)
    if policy == "Always":
        return False
    for init in containers_of_kind(pod, ContainerKind.INIT):
        latest = observed.latest(init.name)
        if latest is not None and latest.exited and latest.container.exit_code != 0 and policy == "Never":
            return True
    apps = [observed.latest(app.name) for app in containers_of_kind(pod, ContainerKind.APP)]
    if observed.sandbox is None and policy == "Never" and any(app is not None for app in apps):
        # A sandbox lost under Never is not made again: what it ran is over.
        return True
    return all(
        app is not None and app.exited and not restarts(policy, ContainerKind.APP, app.container.exit_code)
        for app in apps
    )


def is_initialized(pod: Obj, observed: PodObservation, started: frozenset[str]) -> bool:
    """Every init container has succeeded, and every sidecar has started, in the sandbox that runs now.

    An app container in this sandbox proves it: its init containers may have been removed since.
    """
    apps = [observed.latest(app.name) for app in containers_of_kind(pod, ContainerKind.APP)]
    if any(app is not None and _in_sandbox(app, observed) for app in apps):
        return True
    for init in containers_of_kind(pod, ContainerKind.INIT, ContainerKind.SIDECAR):
        latest = observed.latest(init.name)
        if latest is None or not _in_sandbox(latest, observed):
            return False
        if init.kind is ContainerKind.SIDECAR:
            if not latest.running or latest.id not in started:
                return False
        elif not latest.exited or latest.container.exit_code != 0:
            return False
    return True


class _Builder:
    """Collects the steps of one plan; nothing in it outlives `plan_pod`."""

    def __init__(
        self,
        pod: Obj,
        observed: PodObservation,
        now: datetime,
        verdicts: Verdicts,
        failures: Mapping[str, StartFailure],
    ) -> None:
        self._pod = pod
        self._observed = observed
        self._now = now
        self._verdicts = verdicts
        self._failures = failures
        self._policy = restart_policy_of(pod)
        self.actions: list[Action] = []
        self.waiting: dict[str, Waiting] = {}
        self.again_at: datetime | None = None

    def plan_init(self) -> bool:
        """Steps of init containers and sidecars; whether the apps may start."""
        initialized = is_initialized(self._pod, self._observed, self._verdicts.started)
        blocked = False
        for container in containers_of_kind(self._pod, ContainerKind.INIT, ContainerKind.SIDECAR):
            if blocked:
                self.waiting[container.name] = Waiting("PodInitializing")
                continue
            latest = self._observed.latest(container.name)
            here = latest is not None and _in_sandbox(latest, self._observed)
            if container.kind is ContainerKind.SIDECAR:
                self._keep_running(container)
                blocked = not initialized and not (
                    latest is not None and here and latest.running and latest.id in self._verdicts.started
                )
            elif initialized:
                continue
            elif latest is None or not here:
                self._start(container, latest)
                blocked = True
            elif latest.exited and latest.container.exit_code == 0:
                continue
            else:
                blocked = True
                if not latest.running:
                    self._restart(container, latest)
        if not initialized:
            for app in containers_of_kind(self._pod, ContainerKind.APP):
                self.waiting[app.name] = Waiting("PodInitializing")
        return initialized

    def plan_apps(self) -> None:
        for container in containers_of_kind(self._pod, ContainerKind.APP):
            self._keep_running(container)

    def plan_ephemeral(self) -> None:
        for container in containers_of_kind(self._pod, ContainerKind.EPHEMERAL):
            if self._observed.latest(container.name) is None:
                self._start(container, None)

    def _keep_running(self, container: PodContainer) -> None:
        latest = self._observed.latest(container.name)
        if latest is None or (not latest.running and not _in_sandbox(latest, self._observed)):
            if latest is None or restarts(self._policy, container.kind, latest.container.exit_code):
                self._start(container, latest)
        elif latest.running:
            self._check_running(container, latest)
        elif latest.exited:
            if restarts(self._policy, container.kind, latest.container.exit_code):
                self._restart(container, latest)
        else:
            self._restart(container, latest)

    def _check_running(self, container: PodContainer, running: ObservedContainer) -> None:
        grace_s = self._verdicts.grace_s.get(running.id, grace_s_of(self._pod))
        if spec_changed(running.identity.spec_hash, container.spec):
            message = f"Container {container.name} definition changed, will be restarted"
            self.actions.append(_kill(running, grace_s, message))
        elif message := self._verdicts.failed.get(running.id, ""):
            self.actions.append(_kill(running, grace_s, message))

    def _restart(self, container: PodContainer, ended: ObservedContainer) -> None:
        """Start the next attempt once its back-off is over."""
        ready_at = restart_at(ended)
        if ready_at is not None and ready_at > self._now:
            meta = meta_of(self._pod)
            self.waiting[container.name] = Waiting(
                "CrashLoopBackOff",
                f"back-off {_go_duration(ended.identity.back_off_s)} restarting failed container={container.name} "
                f"pod={meta.get('name')}_{meta.get('namespace')}({uid_of(self._pod)})",
            )
            self._look_again(ready_at)
            return
        self._start(container, ended)

    def _start(self, container: PodContainer, ended: ObservedContainer | None) -> None:
        failure = self._failures.get(container.name)
        if failure is not None and failure.retry_at > self._now:
            self.waiting[container.name] = failure.waiting
            self._look_again(failure.retry_at)
            return
        if ended is not None and not ended.exited and not ended.running:
            # Created and never started: the agent stopped half-way or the start failed.  The attempt is made anew.
            self.actions.append(RemoveContainer(ended.id))
            self.actions.append(StartContainer(container.name, ended.attempt, ended.identity.back_off_s))
            return
        attempt = self._observed.next_attempt(container.name)
        if ended is None:
            attempt = _attempts_told(self._pod, container.name)
        self.actions.append(StartContainer(container.name, attempt, next_back_off_s(ended)))
        self.waiting[container.name] = failure.waiting if failure is not None else Waiting("ContainerCreating")

    def _look_again(self, at: datetime) -> None:
        self.again_at = at if self.again_at is None else min(self.again_at, at)


def _in_sandbox(container: ObservedContainer, observed: PodObservation) -> bool:
    return observed.sandbox is not None and container.identity.sandbox_id == observed.sandbox.id


def _attempts_told(pod: Obj, name: str) -> int:
    """How many attempts the status knows of a container that the engine has none of: somebody removed it behind us."""
    status = pod.get("status") or {}
    for entries in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for told in status.get(entries) or ():
            if told.get("name") == name and told.get("containerID"):
                return int(told.get("restartCount") or 0) + 1
    return 0


def _kill(container: ObservedContainer, grace_s: int, message: str) -> KillContainer:
    return KillContainer(container.id, container.name, grace_s, message)


def _superseded(observed: PodObservation) -> tuple[RemoveContainer, ...]:
    """Attempts older than the ones kept."""
    seen: dict[str, int] = {}
    old: list[RemoveContainer] = []
    for container in observed.containers:
        seen[container.name] = seen.get(container.name, 0) + 1
        if seen[container.name] > ATTEMPTS_KEPT and not container.running:
            old.append(RemoveContainer(container.id))
    return tuple(old)


def _all_waiting(pod: Obj, observed: PodObservation) -> dict[str, Waiting]:
    has_init = bool(containers_of_kind(pod, ContainerKind.INIT, ContainerKind.SIDECAR))
    waiting: dict[str, Waiting] = {}
    for container in containers_of(pod):
        latest = observed.latest(container.name)
        if latest is None or not latest.exited:
            blocked = has_init and container.kind is ContainerKind.APP
            waiting[container.name] = Waiting("PodInitializing" if blocked else "ContainerCreating")
    return waiting


def _go_duration(seconds: int) -> str:
    """Go's rendering of a whole number of seconds: 10s, 1m20s, 5m0s."""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def orphan_actions(observed: PodObservation) -> tuple[Action, ...]:
    """The end of a pod that the API no longer has: each container by the grace it was made with, then all of it goes."""
    if observed.running:
        return tuple(_kill(c, c.identity.grace_s, f"Stopping container {c.name}") for c in observed.running)
    return (*(RemoveContainer(c.id) for c in observed.containers), TearDown())
