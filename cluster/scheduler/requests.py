"""What a pod asks of a node: resources, host ports, priority.  Pure; computed once per pod.

Units: `cpu` in millicores, everything else in whole units (bytes, counts).  Upstream: component-helpers/resource,
pkg/scheduler/framework/types.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from cluster.machinery.objects import Key, Obj, field_of, is_deleting, key_of, labels_of, uid_of
from cluster.machinery.quantity import QuantityError, millicores_of, parse_quantity
from cluster.resources.pod_resources import add_amounts, pod_amounts
from cluster.scheduler.terms import NO_TERMS, AffinityTerms, affinity_terms

DEFAULT_CPU_MILLICORES = 100
DEFAULT_MEMORY_BYTES = 200 * 1024 * 1024
"""What a container that states nothing counts for in scores, so that such pods spread too; never in filters."""


class HostPort(NamedTuple):
    ip: str
    protocol: str
    port: int

    def conflicts(self, other: HostPort) -> bool:
        """Both want the same port: on one address, or on all of them."""
        same = self.protocol == other.protocol and self.port == other.port
        return same and (self.ip == other.ip or "0.0.0.0" in (self.ip, other.ip))


@dataclass(frozen=True, slots=True)
class PodInfo:
    """A pod as the scheduler sees it.  `scored` are the requests with defaults for what is not stated.

    Pods with one `shape` (and neither claims nor a nominated node) get the same answer about every node.
    """

    pod: Obj
    key: Key
    uid: str
    priority: int
    requests: Mapping[str, int]
    scored: Mapping[str, int]
    host_ports: tuple[HostPort, ...]
    labels: Mapping[str, str]
    terms: AffinityTerms
    deleting: bool
    shape: bytes


def pod_info(pod: Obj) -> PodInfo:
    """Quantities that cannot be read count as nothing: the API server refuses them at creation."""
    spec = pod.get("spec") or {}
    requests = requests_of(spec)
    scored = dict(requests)
    containers = len(spec.get("containers") or ())
    scored["cpu"] = requests.get("cpu") or DEFAULT_CPU_MILLICORES * containers
    scored["memory"] = requests.get("memory") or DEFAULT_MEMORY_BYTES * containers
    key = key_of(pod)
    labels = labels_of(pod)
    affinity = spec.get("affinity")
    host_ports = tuple(_host_ports(spec))
    priority = int(spec.get("priority") or 0)
    shape = [
        key.namespace, labels, priority, requests, scored, spec.get("nodeSelector"), affinity,
        [tuple(port) for port in host_ports],
        spec.get("tolerations"), spec.get("topologySpreadConstraints"), spec.get("nodeName"),
        [container.get("image") for container in spec.get("containers") or ()],
    ]  # fmt: skip
    return PodInfo(
        pod=pod,
        key=key,
        uid=uid_of(pod),
        priority=priority,
        requests=requests,
        scored=scored,
        host_ports=host_ports,
        labels=labels,
        terms=affinity_terms(affinity, key.namespace, labels) if affinity else NO_TERMS,
        deleting=is_deleting(pod),
        shape=orjson.dumps(shape, option=orjson.OPT_SORT_KEYS),
    )


def requests_of(spec: Obj) -> dict[str, int]:
    """What running the pod takes at most, overhead included."""
    running = pod_amounts(spec, _requests)
    add_amounts(running, amounts_of(spec.get("overhead") or {}))
    return running


def amounts_of(quantities: Mapping[str, object]) -> dict[str, int]:
    """A ResourceList in our units, rounded up."""
    amounts: dict[str, int] = {}
    for name, text in quantities.items():
        if not isinstance(text, str | int | float):
            continue
        try:
            amounts[name] = millicores_of(text) if name == "cpu" else parse_quantity(text).value
        except QuantityError:
            continue
    return amounts


def _requests(holder: Obj) -> dict[str, int]:
    return amounts_of(field_of(holder, "resources", "requests", default={}))


def _host_ports(spec: Obj) -> Iterable[HostPort]:
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        for port in container.get("ports") or ():
            number = port.get("hostPort") or (port.get("containerPort") if spec.get("hostNetwork") else 0)
            if number:
                yield HostPort(port.get("hostIP") or "0.0.0.0", port.get("protocol") or "TCP", int(number))
