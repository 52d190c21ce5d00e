"""One pod's loop: observe, plan, act, report; again whenever something may have changed.

The worker owns what it knows of its pod (failures, messages, probes); what runs it always asks the engine.
A deletion or a shorter grace interrupts whatever the worker is busy with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from loguru import logger

from cluster.base.clock import Clock
from cluster.client.controller import Recorder
from cluster.client.events import NORMAL, WARNING
from cluster.client.informer import revision_of
from cluster.client.transport import DeleteOptions, Transport
from cluster.kubelet.engine_view import EngineView
from cluster.kubelet.environment import ConfigError
from cluster.kubelet.host_ports import HostPorts, HostPortTaken
from cluster.kubelet.images import ImageError
from cluster.kubelet.observe import ObservedContainer, PodObservation
from cluster.kubelet.plan import (
    Action,
    KillContainer,
    PodPlan,
    RemoveContainer,
    StartContainer,
    StartFailure,
    StartSandbox,
    TearDown,
    Verdicts,
    Waiting,
    orphan_actions,
    plan_pod,
    plan_termination,
)
from cluster.kubelet.pod_starter import HookFailed, NodeFacts, PodStarter, run_hook
from cluster.kubelet.podspec import container_named, grace_s_of, is_terminal, spec_of
from cluster.kubelet.probe_runners import ProbeRunner, Target
from cluster.kubelet.prober import Prober
from cluster.kubelet.runtime.api import (
    ContainerEngine,
    ContainerStreams,
    EngineError,
    EngineUnavailable,
    PodNetwork,
    Sandbox,
    Sandboxes,
)
from cluster.kubelet.settings import KubeletSettings
from cluster.kubelet.status import Ending, Facts, status_of
from cluster.kubelet.status_writer import StatusWriter
from cluster.kubelet.volumes.content import VolumeError
from cluster.kubelet.volumes.setup import PodVolumes
from cluster.machinery.errors import ApiError, Conflict, NotFound
from cluster.machinery.objects import Obj, is_deleting, key_of, resource_version_of
from cluster.machinery.timestamps import parse_time
from cluster.resources.builtin import PODS

STEPS_MAX = 20
"""Plans carried out in one go before others get their turn."""
RETRY_S = 10.0
VOLUME_REFRESH_S = 30.0
MINIMUM_GRACE_S = 2
LOG_LINES_MAX, LOG_BYTES_MAX = 80, 2048


class PodTools:
    """What every pod's worker works with; one per node."""

    def __init__(
        self,
        *,
        settings: KubeletSettings,
        transport: Transport,
        engine: ContainerEngine,
        streams: ContainerStreams,
        view: EngineView,
        starter: PodStarter,
        runner: ProbeRunner,
        sandboxes: Sandboxes,
        network: PodNetwork,
        host_ports: HostPorts,
        volumes: PodVolumes,
        writer: StatusWriter,
        clock: Clock,
        recorder: Recorder,
        claimed: dict[str, Sandbox],
        addresses: dict[str, str],
        facts: Callable[[], NodeFacts],
    ) -> None:
        self.settings = settings
        self.transport = transport
        self.engine = engine
        self.streams = streams
        self.view = view
        self.starter = starter
        self.runner = runner
        self.sandboxes = sandboxes
        self.network = network
        self.host_ports = host_ports
        self.volumes = volumes
        self.writer = writer
        self.clock = clock
        self.recorder = recorder
        self.claimed = claimed
        self.addresses = addresses
        self.facts = facts


class PodWorker:
    """`run` is supervised; `update`, `wake` and `tick` only set what it looks at next."""

    def __init__(self, uid: str, tools: PodTools, make_prober: Callable[[Callable[[], None]], Prober]) -> None:
        self.uid = uid
        self.finished = False
        self._tools = tools
        self._prober = make_prober(self.wake)
        self._pod: Obj | None = None
        self._gone = False
        self._event = asyncio.Event()
        self._step: asyncio.Task[None] | None = None
        self._interrupted = False
        self._again_at: datetime | None = None
        self._failures: dict[str, StartFailure] = {}
        self._messages: dict[str, str] = {}
        self._ending: Ending | None = None
        self._torn_down = False
        self._volumes_at = tools.clock.monotonic()

    @property
    def pod(self) -> Obj | None:
        """The pod as the API, or the checkpoint, last had it."""
        return self._pod

    def update(self, pod: Obj) -> None:
        """The API has this state of the pod."""
        before = self._pod
        if before is None or _is_as_new(pod, before):
            self._pod = pod
        if before is not None and _is_more_urgent(pod, before):
            self._interrupt()
        self.wake()

    def forget(self) -> None:
        """The API has the pod no more: end it."""
        if not self._gone:
            self._gone = True
            self._interrupt()
        self.wake()

    def wake(self) -> None:
        """Look again soon."""
        self._event.set()

    def tick(self, now: datetime) -> None:
        """Look again if it is time."""
        if self._again_at is not None and self._again_at <= now:
            self._again_at = None
            self.wake()

    async def run(self) -> None:
        """Until the pod is gone and nothing of it is left."""
        try:
            while not self.finished:
                await self._event.wait()
                self._event.clear()
                self._step = asyncio.ensure_future(self._sync_guarded())
                try:
                    await self._step
                except asyncio.CancelledError:
                    task = asyncio.current_task()
                    if not self._interrupted or (task is not None and task.cancelling()):
                        raise
                finally:
                    self._step = None
                    self._interrupted = False
        finally:
            await self._prober.stop()

    def _interrupt(self) -> None:
        if self._step is not None and not self._step.done():
            self._interrupted = True
            self._step.cancel()
            self.wake()

    async def _sync_guarded(self) -> None:
        """One go; what fails is tried again in RETRY_S."""
        try:
            await self._sync()
        except EngineUnavailable as error:
            logger.warning("container engine does not answer", pod=self._name, reason=error.message)
            self._look_again(RETRY_S)
        except (EngineError, ApiError, VolumeError, OSError) as error:
            logger.warning("pod not synced", pod=self._name, reason=str(error))
            self._look_again(RETRY_S)

    async def _sync(self) -> None:
        for _ in range(STEPS_MAX):
            observed = await self._tools.view.pod(self.uid)
            pod = self._pod
            if pod is None or self._gone:
                if await self._end_orphan(observed):
                    return
                continue
            await self._prober.sync(pod, observed, self._address)
            await self._collect_messages(pod, observed)
            verdicts = self._prober.verdicts(pod, observed)
            plan = self._plan(pod, observed, verdicts)
            if plan.again_at is not None:
                self._again_at = plan.again_at if self._again_at is None else min(self._again_at, plan.again_at)
            pending = tuple(a for a in plan.actions if not (isinstance(a, TearDown) and self._torn_down))
            stopped = plan.terminal and not observed.running
            await self._report(pod, observed, verdicts, plan, stopped=stopped)
            if self._pod is not None and _is_more_urgent(self._pod, pod):
                continue
            if not pending:
                if plan.terminal and is_deleting(pod):
                    await self._confirm_deletion(pod)
                elif not plan.terminal:
                    await self._keep_volumes_fresh(pod)
                return
            await self._act(pod, pending)
        self.wake()

    def _plan(self, pod: Obj, observed: PodObservation, verdicts: Verdicts) -> PodPlan:
        now = self._tools.clock.now()
        if self._ending is None and not is_deleting(pod) and not is_terminal(pod):
            self._ending = self._deadline(pod, now)
        if is_deleting(pod) or is_terminal(pod) or self._ending is not None:
            return PodPlan(actions=plan_termination(pod, observed), terminal=True)
        return plan_pod(pod, observed, now=now, verdicts=verdicts, failures=self._failures)

    def _deadline(self, pod: Obj, now: datetime) -> Ending | None:
        limit_s = spec_of(pod).get("activeDeadlineSeconds")
        started = (pod.get("status") or {}).get("startTime")
        if limit_s is None or not started:
            return None
        ends = parse_time(started) + timedelta(seconds=int(limit_s))
        if now >= ends:
            self._tools.recorder.event(pod, NORMAL, "DeadlineExceeded", _DEADLINE)
            return Ending("DeadlineExceeded", _DEADLINE)
        self._again_at = ends if self._again_at is None else min(self._again_at, ends)
        return None

    async def _act(self, pod: Obj, actions: tuple[Action, ...]) -> None:
        kills = [action for action in actions if isinstance(action, KillContainer)]
        if kills:
            # Together, as each may take its whole grace; gather keeps their order.
            await asyncio.gather(*(self._kill(pod, kill) for kill in kills))
        for action in actions:
            match action:
                case StartSandbox():
                    await self._start_sandbox(pod)
                case StartContainer():
                    await self._start_container(pod, action)
                case RemoveContainer():
                    await self._tools.engine.remove(action.id)
                case TearDown():
                    await self._tear_down()
                case KillContainer():
                    pass

    async def _start_sandbox(self, pod: Obj) -> None:
        try:
            await self._tools.starter.start_sandbox(pod)
        except (ConfigError, HostPortTaken, VolumeError) as error:
            reason = "FailedMount" if isinstance(error, VolumeError) else "FailedCreatePodSandBox"
            self._tools.recorder.event(pod, WARNING, reason, str(error))
            raise VolumeError(str(error)) from error
        except EngineUnavailable:
            raise
        except EngineError as error:
            message = f"Failed to create pod sandbox: {error.message}"
            self._tools.recorder.event(pod, WARNING, "FailedCreatePodSandBox", message)
            raise
        logger.info("pod sandbox started", pod=self._name, node=self._tools.settings.node_name)

    async def _start_container(self, pod: Obj, action: StartContainer) -> None:
        container = container_named(pod, action.name)
        if container is None:
            return
        try:
            await self._tools.starter.start_container(pod, container, action)
        except ImageError as error:
            # The first refusal is shown for a moment, then the wait itself.
            again_s = 1.0 if error.reason == "ErrImagePull" else min(error.retry_after_s, 30.0)
            self._fail(action.name, error.reason, error.message, again_s)
        except ConfigError as error:
            self._tools.recorder.event(pod, WARNING, "Failed", f"Error: {error}")
            self._fail(action.name, "CreateContainerConfigError", str(error), RETRY_S)
        except VolumeError as error:
            self._tools.recorder.event(pod, WARNING, "FailedMount", str(error))
            self._fail(action.name, "ContainerCreating", "", RETRY_S)
        except HookFailed as error:
            observed = await self._tools.view.pod(self.uid)
            latest = observed.latest(action.name)
            if latest is not None and latest.running:
                kill = KillContainer(latest.id, action.name, grace_s_of(pod), "FailedPostStartHook")
                await self._kill(pod, kill)
                self._messages[latest.id] = str(error)
        except EngineUnavailable:
            raise
        except EngineError as error:
            self._tools.recorder.event(pod, WARNING, "Failed", f"Error: {error.message}")
            self._fail(action.name, error.reason, error.message, RETRY_S)
        else:
            self._failures.pop(action.name, None)
            logger.info("container started", pod=self._name, container=action.name, attempt=action.attempt)

    def _fail(self, name: str, reason: str, message: str, retry_s: float) -> None:
        retry_at = self._tools.clock.now() + timedelta(seconds=retry_s)
        self._failures[name] = StartFailure(Waiting(reason, message), retry_at)
        logger.warning("container not started", pod=self._name, container=name, reason=reason)

    async def _kill(self, pod: Obj | None, kill: KillContainer) -> None:
        """preStop within the grace, then the stop signal with what is left of it (at least two seconds, as upstream)."""
        tools = self._tools
        grace_s = float(kill.grace_s)
        if pod is not None:
            tools.recorder.event(pod, NORMAL, "Killing", kill.message)
            container = container_named(pod, kill.name)
            handler = ((container.spec if container else {}).get("lifecycle") or {}).get("preStop")
            if handler and container is not None and grace_s > 0:
                began = tools.clock.monotonic()
                target = Target(container.spec, kill.id, self._address)
                if message := await run_hook(tools.runner, tools.clock, target, handler, grace_s):
                    tools.recorder.event(pod, WARNING, "FailedPreStopHook", f"PreStopHook failed: {message}")
                grace_s = max(MINIMUM_GRACE_S, grace_s - (tools.clock.monotonic() - began))
        logger.info("stopping container", pod=self._name, container=kill.name, reason=kill.message)
        await tools.engine.stop(kill.id, grace_s=grace_s)

    async def _tear_down(self) -> None:
        """Release what only running pods need; containers stay for their logs until the pod is deleted."""
        await self._prober.stop()
        await self._tools.sandboxes.release(self.uid)
        self._tools.claimed.pop(self.uid, None)
        await self._tools.network.detach(self.uid)
        self._tools.host_ports.release(self.uid)
        self._tools.addresses.pop(self.uid, None)
        self._torn_down = True

    async def _end_orphan(self, observed: PodObservation) -> bool:
        """Steps to the end of a pod the API does not have; whether it is reached."""
        for action in orphan_actions(observed):
            match action:
                case KillContainer():
                    await self._kill(self._pod, action)
                case RemoveContainer():
                    await self._tools.engine.remove(action.id)
                case TearDown():
                    await self._tear_down()
                    self._tools.volumes.tear_down(self.uid)
                    self.finished = True
                    logger.info("pod removed", pod=self._name, node=self._tools.settings.node_name)
                case StartSandbox() | StartContainer():
                    pass
        return self.finished

    async def _confirm_deletion(self, pod: Obj) -> None:
        """Nothing runs any more: the API may forget the pod."""
        options = DeleteOptions(grace_period_s=0, uid=self.uid)
        try:
            await self._tools.transport.delete(PODS, key_of(pod), options)
        except (NotFound, Conflict):
            # Already gone, or another pod has the name: the cache will say so.
            self._look_again(RETRY_S)

    async def _report(
        self, pod: Obj, observed: PodObservation, verdicts: Verdicts, plan: PodPlan, *, stopped: bool
    ) -> None:
        facts = Facts(
            now=self._tools.clock.now(),
            host_ip=self._tools.facts().host_ip,
            address=self._address if observed.sandbox is not None else "",
            verdicts=verdicts,
            waiting=plan.waiting,
            messages=self._messages,
            ending=self._ending,
            stopped=stopped,
        )
        told = await self._tools.writer.write(pod, status_of(pod, observed, facts))
        if told is None:
            self._look_again(RETRY_S)
        elif self._pod is None or _is_as_new(told, self._pod):
            self._pod = told

    async def _collect_messages(self, pod: Obj, observed: PodObservation) -> None:
        known: dict[str, str] = {}
        for container in observed.containers:
            if container.exited:
                known[container.id] = (
                    self._messages[container.id]
                    if container.id in self._messages
                    else await self._message_of(pod, container)
                )
        self._messages = known

    async def _message_of(self, pod: Obj, ended: ObservedContainer) -> str:
        message = self._tools.starter.message_of(self.uid, ended.name, ended.attempt)
        container = container_named(pod, ended.name)
        policy = container.spec.get("terminationMessagePolicy") if container is not None else None
        if message or policy != "FallbackToLogsOnError" or ended.container.exit_code == 0:
            return message
        output = b""
        try:
            async for chunk in self._tools.streams.logs(
                ended.id, follow=False, since=None, tail_lines=LOG_LINES_MAX, timestamps=False
            ):
                output = (output + chunk.data)[-LOG_BYTES_MAX:]
        except EngineError:
            return ""
        return output.decode("utf-8", "replace")

    async def _keep_volumes_fresh(self, pod: Obj) -> None:
        """ConfigMaps, Secrets and tokens change under running pods."""
        now = self._tools.clock.monotonic()
        if now - self._volumes_at < VOLUME_REFRESH_S or not spec_of(pod).get("volumes"):
            return
        self._volumes_at = now
        await self._tools.starter.refresh_volumes(pod)

    def _look_again(self, delay_s: float) -> None:
        at = self._tools.clock.now() + timedelta(seconds=delay_s)
        self._again_at = at if self._again_at is None else min(self._again_at, at)

    @property
    def _address(self) -> str:
        return self._tools.addresses.get(self.uid, "")

    @property
    def _name(self) -> str:
        return str(key_of(self._pod)) if self._pod is not None else self.uid


_DEADLINE = "Pod was active on the node longer than the specified deadline"


def _is_as_new(pod: Obj, known: Obj) -> bool:
    """False for what the API had before our own last write: its events come late.  Foreign versions have no order."""
    revision, newest = (revision_of(resource_version_of(each)) for each in (pod, known))
    return not revision or revision >= newest


def _is_more_urgent(new: Obj, old: Obj) -> bool:
    """The pod began to be deleted, or got less time for it."""
    if not is_deleting(new):
        return False
    return not is_deleting(old) or grace_s_of(new) < grace_s_of(old)
