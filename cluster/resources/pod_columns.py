"""A pod's row in a table: how many containers are ready, one word for its state, restarts.

Upstream: pkg/printers/internalversion/printers.go printPod.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cluster.machinery.conditions import conditions_of, get_condition, is_condition_true
from cluster.machinery.objects import Obj, field_of, is_deleting
from cluster.machinery.timestamps import human_duration, parse_time
from cluster.resources.printing import AGE, NAME, NONE, Column, field_cell


def pod_state_of(pod: Obj) -> str:
    """The STATUS column: `Running`, `CrashLoopBackOff`, `Init:0/1`, `Completed`, `Terminating`…"""
    status = pod.get("status") or {}
    state = str(status.get("reason") or status.get("phase") or "")
    scheduled = get_condition(conditions_of(pod), "PodScheduled")
    if scheduled is not None and scheduled.get("reason") == "SchedulingGated":
        state = "SchedulingGated"
    initializing = _init_state_of(pod)
    if initializing is not None:
        state = initializing
    if initializing is None or is_condition_true(pod, "Initialized"):
        state = _main_state_of(pod, state)
    if is_deleting(pod):
        if status.get("reason") == "NodeLost":
            return "Unknown"
        if status.get("phase") not in ("Succeeded", "Failed"):
            return "Terminating"
    return state


def _terminated_word(terminated: Obj) -> str:
    if reason := terminated.get("reason"):
        return str(reason)
    if signal := terminated.get("signal"):
        return f"Signal:{signal}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _init_state_of(pod: Obj) -> str | None:
    """`Init:…` of the first init container that has not done its part; None when all have."""
    containers = field_of(pod, "spec", "initContainers", default=())
    sidecars = {c["name"] for c in containers if c.get("restartPolicy") == "Always"}
    for index, status in enumerate(field_of(pod, "status", "initContainerStatuses", default=())):
        state = status.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting")
        if terminated is not None and terminated.get("exitCode") == 0:
            continue
        if status.get("name") in sidecars and status.get("started"):
            continue
        if terminated is not None:
            return f"Init:{_terminated_word(terminated)}"
        if waiting is not None and waiting.get("reason") not in (None, "", "PodInitializing"):
            return f"Init:{waiting['reason']}"
        return f"Init:{index}/{len(containers)}"
    return None


def _main_state_of(pod: Obj, state: str) -> str:
    running = False
    for status in reversed(field_of(pod, "status", "containerStatuses", default=())):
        now = status.get("state") or {}
        waiting, terminated = now.get("waiting"), now.get("terminated")
        if waiting is not None and waiting.get("reason"):
            state = str(waiting["reason"])
        elif terminated is not None:
            state = _terminated_word(terminated)
        elif status.get("ready") and now.get("running") is not None:
            running = True
    if state == "Completed" and running:
        # One container ended well and others run on: the pod is not done.
        return "Running" if is_condition_true(pod, "Ready") else "NotReady"
    return state


def _counted(pod: Obj) -> Sequence[Obj]:
    """The containers that the Ready and Restarts columns count: the application's and started sidecars."""
    sidecars = {
        c["name"] for c in field_of(pod, "spec", "initContainers", default=()) if c.get("restartPolicy") == "Always"
    }
    statuses = field_of(pod, "status", "initContainerStatuses", default=())
    return [
        *(status for status in statuses if status.get("name") in sidecars),
        *field_of(pod, "status", "containerStatuses", default=()),
    ]


def ready_cell(pod: Obj, now: datetime) -> str:
    total = len(field_of(pod, "spec", "containers", default=())) + sum(
        1 for c in field_of(pod, "spec", "initContainers", default=()) if c.get("restartPolicy") == "Always"
    )
    ready = sum(1 for s in _counted(pod) if s.get("ready") and (s.get("state") or {}).get("running") is not None)
    return f"{ready}/{total}"


def restarts_cell(pod: Obj, now: datetime) -> str:
    statuses = field_of(pod, "status", "initContainerStatuses", default=()) if _init_state_of(pod) else _counted(pod)
    count = sum(int(status.get("restartCount", 0)) for status in statuses)
    ends = [field_of(status, "lastState", "terminated", "finishedAt") for status in statuses]
    known = [parse_time(end) for end in ends if end]
    if not count or not known:
        return str(count)
    return f"{count} ({human_duration((now - max(known)).total_seconds())} ago)"


def _ip_cell(pod: Obj, now: datetime) -> str:
    addresses = field_of(pod, "status", "podIPs", default=())
    return str(addresses[0].get("ip") or NONE) if addresses else str(field_of(pod, "status", "podIP", default=NONE))


def _gates_cell(pod: Obj, now: datetime) -> str:
    gates = field_of(pod, "spec", "readinessGates", default=())
    if not gates:
        return NONE
    met = sum(is_condition_true(pod, gate.get("conditionType", "")) for gate in gates)
    return f"{met}/{len(gates)}"


POD_COLUMNS = (
    NAME,
    Column("Ready", ready_cell, description="The aggregate readiness state of this pod for accepting traffic."),
    Column(
        "Status", lambda pod, now: pod_state_of(pod), description="The aggregate status of the containers in this pod."
    ),
    Column(
        "Restarts", restarts_cell, description="The number of times the containers in this pod have been restarted."
    ),
    AGE,
    Column("IP", _ip_cell, wide=True),
    Column("Node", field_cell("spec", "nodeName", default=NONE), wide=True),
    Column("Nominated Node", field_cell("status", "nominatedNodeName", default=NONE), wide=True),
    Column("Readiness Gates", _gates_cell, wide=True),
)
