"""What a pod's status says, from what was observed.  Pure.

One function per part of v1.PodStatus.  Conditions of others (readiness gates, DisruptionTarget) are kept as they are.
Upstream: pkg/kubelet/kubelet_pods.go (getPhase, convertToAPIContainerStatuses), status/generate.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cluster.kubelet.observe import ObservedContainer, PodObservation
from cluster.kubelet.plan import Verdicts, Waiting, is_initialized
from cluster.kubelet.podspec import (
    ContainerKind,
    PodContainer,
    containers_of,
    containers_of_kind,
    is_terminal,
    qos_class_of,
    restart_policy_of,
    spec_of,
)
from cluster.machinery.objects import Obj
from cluster.machinery.timestamps import format_time

CREATING = ("ContainerCreating", "PodInitializing")
"""Waiting reasons of a container that simply has its turn ahead."""

OURS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


@dataclass(frozen=True, slots=True)
class Ending:
    """Why the kubelet ends a pod: DeadlineExceeded, Evicted, or a refusal at admission."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What a status is made of besides the pod and what was observed.

    `messages` are termination messages by container id; `address` is empty until the pod has one.
    """

    now: datetime
    host_ip: str
    address: str = ""
    verdicts: Verdicts = field(default_factory=Verdicts)
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    messages: Mapping[str, str] = field(default_factory=dict)
    ending: Ending | None = None
    stopped: bool = False  # termination has finished: nothing runs nor will


def status_of(pod: Obj, observed: PodObservation, facts: Facts) -> dict[str, Any]:
    """The whole PodStatus.  A pod that ended keeps its phase; times of unchanged conditions are kept."""
    old = pod.get("status") or {}
    statuses = {c.name: _container_status(c, observed, facts) for c in containers_of(pod)}
    phase = _phase_of(pod, statuses, observed, facts)
    status: dict[str, Any] = {
        "phase": phase,
        "conditions": _conditions_of(pod, observed, facts, phase, statuses),
        "hostIP": facts.host_ip,
        "hostIPs": [{"ip": facts.host_ip}],
        "startTime": old.get("startTime") or format_time(facts.now),
        "qosClass": old.get("qosClass") or qos_class_of(pod),
        "containerStatuses": [statuses[c.name] for c in containers_of_kind(pod, ContainerKind.APP)],
    }
    inits = [statuses[c.name] for c in containers_of_kind(pod, ContainerKind.INIT, ContainerKind.SIDECAR)]
    if inits:
        status["initContainerStatuses"] = inits
    ephemerals = [statuses[c.name] for c in containers_of_kind(pod, ContainerKind.EPHEMERAL)]
    if ephemerals:
        status["ephemeralContainerStatuses"] = ephemerals
    address = facts.address or (str(old.get("podIP", "")) if phase in ("Succeeded", "Failed") else "")
    if address:
        status |= {"podIP": address, "podIPs": [{"ip": address}]}
    if facts.ending is not None:
        status |= {"reason": facts.ending.reason, "message": facts.ending.message}
    else:
        status |= {name: old[name] for name in ("reason", "message") if is_terminal(pod) and old.get(name)}
    return status


def _container_status(container: PodContainer, observed: PodObservation, facts: Facts) -> dict[str, Any]:
    latest, previous = observed.latest(container.name), observed.previous(container.name)
    status: dict[str, Any] = {
        "name": container.name,
        "image": container.spec.get("image", ""),
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "started": False,
        "state": {},
        "lastState": {},
    }
    waiting = facts.waiting.get(container.name)
    if latest is None:
        status["state"] = {"waiting": _waiting_obj(waiting or Waiting("ContainerCreating"))}
        return status
    status |= {
        "imageID": image_id_of(latest),
        "containerID": f"docker://{latest.id}",
        "restartCount": latest.attempt,
    }
    if previous is not None and previous.exited:
        status["lastState"] = {"terminated": _terminated(previous, facts)}
    if latest.running:
        status["state"] = {"running": {"startedAt": _time_or_none(latest.started_at)}}
        status["started"] = latest.id in facts.verdicts.started
        status["ready"] = latest.id in facts.verdicts.ready
    elif latest.exited and (waiting is None or waiting.reason in CREATING or facts.stopped):
        status["state"] = {"terminated": _terminated(latest, facts)}
        # An init container that succeeded is ready for good: the pod counts on it no further.
        status["ready"] = container.kind is ContainerKind.INIT and latest.container.exit_code == 0
    else:
        status["state"] = {"waiting": _waiting_obj(waiting or Waiting("ContainerCreating"))}
        if latest.exited:
            status["lastState"] = {"terminated": _terminated(latest, facts)}
    return status


def image_id_of(container: ObservedContainer) -> str:
    """`docker://sha256:...` for a local image id, as upstream's Docker runtime showed it."""
    image_id = container.container.image_id
    return f"docker://{image_id}" if image_id and "://" not in image_id else image_id


def _terminated(ended: ObservedContainer, facts: Facts) -> dict[str, Any]:
    container = ended.container
    message = facts.messages.get(ended.id, "")
    if container.oom_killed:
        reason = "OOMKilled"
    elif container.error:
        reason, message = "ContainerCannotRun", message or container.error
    else:
        reason = "Completed" if container.exit_code == 0 else "Error"
    state: dict[str, Any] = {
        "exitCode": container.exit_code,
        "reason": reason,
        "startedAt": _time_or_none(container.started_at),
        "finishedAt": _time_or_none(container.finished_at),
        "containerID": f"docker://{ended.id}",
    }
    if message:
        state["message"] = message
    return state


def _phase_of(pod: Obj, statuses: Mapping[str, Obj], observed: PodObservation, facts: Facts) -> str:
    if is_terminal(pod):
        return str(pod["status"]["phase"])
    if facts.ending is not None:
        return "Failed"
    policy = restart_policy_of(pod)
    initialized = is_initialized(pod, observed, facts.verdicts.started)
    for init in containers_of_kind(pod, ContainerKind.INIT):
        ended = statuses[init.name]["state"].get("terminated")
        if ended and ended["exitCode"] != 0 and policy == "Never":
            return "Failed"
    running = waiting = stopped = succeeded = 0
    for app in containers_of_kind(pod, ContainerKind.APP):
        state, last = statuses[app.name]["state"], statuses[app.name]["lastState"]
        if "running" in state:
            running += 1
        elif ended := state.get("terminated") or last.get("terminated"):
            stopped += 1
            succeeded += "terminated" in state and ended["exitCode"] == 0
        else:
            waiting += 1
    if not (initialized or running or stopped) or (waiting and not (running or stopped)):
        return "Pending"
    if running or waiting or policy == "Always":
        return "Running"
    if stopped == succeeded:
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def _conditions_of(
    pod: Obj, observed: PodObservation, facts: Facts, phase: str, statuses: Mapping[str, Obj]
) -> list[dict[str, Any]]:
    old = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or ()}
    has_network = observed.sandbox is not None and bool(facts.address)
    new = {
        "PodReadyToStartContainers": _Condition(has_network),
        "Initialized": _initialized(pod, observed, facts, phase, statuses),
        "ContainersReady": _containers_ready(pod, facts, phase, statuses),
    }
    new["Ready"] = _ready(pod, old, new["ContainersReady"])
    if "PodScheduled" not in old:
        new["PodScheduled"] = _Condition(True)
    merged = dict(old)
    for kind, condition in new.items():
        merged[kind] = condition.to_obj(kind, old.get(kind), facts.now)
    order = {kind: place for place, kind in enumerate(OURS)}
    return [dict(merged[kind]) for kind in sorted(merged, key=lambda kind: (order.get(kind, len(order)), kind))]


@dataclass(frozen=True, slots=True)
class _Condition:
    true: bool
    reason: str = ""
    message: str = ""

    def to_obj(self, kind: str, old: Obj | None, now: datetime) -> dict[str, Any]:
        status = "True" if self.true else "False"
        unchanged = old is not None and old.get("status") == status
        changed_at = (
            old["lastTransitionTime"] if unchanged and old and "lastTransitionTime" in old else format_time(now)
        )
        obj: dict[str, Any] = {
            "type": kind,
            "status": status,
            "lastProbeTime": None,
            "lastTransitionTime": changed_at,
        }
        named = {"reason": self.reason, "message": self.message}
        return obj | {name: text for name, text in named.items() if text}


def _initialized(
    pod: Obj, observed: PodObservation, facts: Facts, phase: str, statuses: Mapping[str, Obj]
) -> _Condition:
    if phase == "Succeeded":
        return _Condition(True, "PodCompleted")
    if is_initialized(pod, observed, facts.verdicts.started):
        return _Condition(True)
    names: list[str] = []
    for init in containers_of_kind(pod, ContainerKind.INIT, ContainerKind.SIDECAR):
        done = "started" if init.kind is ContainerKind.SIDECAR else "ready"
        if not statuses[init.name][done]:
            names.append(init.name)
    if not names:
        return _Condition(True)
    return _Condition(False, "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(names)}]")


def _containers_ready(pod: Obj, facts: Facts, phase: str, statuses: Mapping[str, Obj]) -> _Condition:
    if phase == "Succeeded":
        return _Condition(False, "PodCompleted")
    if phase == "Failed":
        return _Condition(False, "PodFailed")
    unready = _unready(containers_of_kind(pod, ContainerKind.SIDECAR, ContainerKind.APP), statuses)
    if unready:
        return _Condition(False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    return _Condition(True)


def _unready(containers: Sequence[PodContainer], statuses: Mapping[str, Obj]) -> list[str]:
    return [container.name for container in containers if not statuses[container.name]["ready"]]


def _ready(pod: Obj, old: Mapping[str, Obj], containers_ready: _Condition) -> _Condition:
    if not containers_ready.true:
        return containers_ready
    complaints: list[str] = []
    for gate in spec_of(pod).get("readinessGates") or ():
        kind = gate.get("conditionType", "")
        condition = old.get(kind)
        if condition is None:
            complaints.append(f'corresponding condition of pod readiness gate "{kind}" does not exist.')
        elif condition.get("status") != "True":
            complaints.append(f'the status of pod readiness gate "{kind}" is not "True", but {condition.get("status")}')
    if complaints:
        return _Condition(False, "ReadinessGatesNotReady", ", ".join(complaints))
    return _Condition(True)


def _waiting_obj(waiting: Waiting) -> dict[str, str]:
    return {"reason": waiting.reason} | ({"message": waiting.message} if waiting.message else {})


def _time_or_none(instant: datetime | None) -> str | None:
    return None if instant is None else format_time(instant)
