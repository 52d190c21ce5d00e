"""Reading a pod: its containers in their kinds, and the few rules that hang on them.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from cluster.machinery.objects import Obj, meta_of
from cluster.machinery.quantity import Quantity, parse_quantity


class ContainerKind(Enum):
    INIT = "init"  # runs to its end before the next starts
    SIDECAR = "sidecar"  # an init container that keeps running (restartPolicy: Always)
    APP = "app"
    EPHEMERAL = "ephemeral"  # added to debug; never restarted


@dataclass(frozen=True, slots=True)
class PodContainer:
    """One container of a pod's spec."""

    name: str
    kind: ContainerKind
    spec: Obj


def spec_of(pod: Obj) -> Obj:
    spec: Obj = pod.get("spec") or {}
    return spec


def containers_of(pod: Obj) -> tuple[PodContainer, ...]:
    """Every container in start order: init containers and sidecars, then apps, then ephemeral ones."""
    spec = spec_of(pod)
    found: list[PodContainer] = []
    for init in spec.get("initContainers") or ():
        kind = ContainerKind.SIDECAR if init.get("restartPolicy") == "Always" else ContainerKind.INIT
        found.append(PodContainer(init["name"], kind, init))
    found += [PodContainer(c["name"], ContainerKind.APP, c) for c in spec.get("containers") or ()]
    found += [PodContainer(c["name"], ContainerKind.EPHEMERAL, c) for c in spec.get("ephemeralContainers") or ()]
    return tuple(found)


def containers_of_kind(pod: Obj, *kinds: ContainerKind) -> tuple[PodContainer, ...]:
    return tuple(container for container in containers_of(pod) if container.kind in kinds)


def container_named(pod: Obj, name: str) -> PodContainer | None:
    return next((container for container in containers_of(pod) if container.name == name), None)


def restart_policy_of(pod: Obj) -> str:
    return str(spec_of(pod).get("restartPolicy") or "Always")


def restarts(policy: str, kind: ContainerKind, exit_code: int) -> bool:
    """Whether a container of `kind` that ended with `exit_code` is started again under the pod's `policy`."""
    match kind:
        case ContainerKind.SIDECAR:
            return True
        case ContainerKind.EPHEMERAL:
            return False
        case ContainerKind.INIT:
            # A finished init container is done under every policy; a failed one only fails the pod under Never.
            return exit_code != 0 and policy != "Never"
        case ContainerKind.APP:
            return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def grace_s_of(pod: Obj) -> int:
    """The seconds a container gets between its stop signal and the kill; a deletion's own value comes first."""
    granted = meta_of(pod).get("deletionGracePeriodSeconds")
    if granted is None:
        granted = spec_of(pod).get("terminationGracePeriodSeconds")
    return 30 if granted is None else int(granted)


def is_terminal(pod: Obj) -> bool:
    """The pod ended for good: nothing of it is ever started again."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def is_host_network(pod: Obj) -> bool:
    return bool(spec_of(pod).get("hostNetwork"))


def hostname_of(pod: Obj) -> str:
    """The host name its containers see: `spec.hostname` or the pod's name, cut to 63 characters (upstream: util/hostname)."""
    name = str(spec_of(pod).get("hostname") or meta_of(pod).get("name", ""))
    return name[:63].rstrip("-.")


def qos_class_of(pod: Obj) -> str:
    """Guaranteed, Burstable or BestEffort from cpu and memory of all containers (upstream: qos.ComputePodQOS)."""
    requested = limited = False
    guaranteed = True
    containers: Sequence[PodContainer] = containers_of_kind(
        pod, ContainerKind.INIT, ContainerKind.SIDECAR, ContainerKind.APP
    )
    for container in containers:
        resources = container.spec.get("resources") or {}
        requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
        for name in ("cpu", "memory"):
            request, limit = _amount(requests.get(name)), _amount(limits.get(name))
            requested |= request is not None
            limited |= limit is not None
            if limit is None or (request is not None and request != limit):
                guaranteed = False
    if not requested and not limited:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _amount(quantity: str | int | float | None) -> Quantity | None:
    """A quantity worth counting; zero counts as absent."""
    amount = None if quantity is None else parse_quantity(quantity)
    return amount if amount is not None and amount.nanos else None
