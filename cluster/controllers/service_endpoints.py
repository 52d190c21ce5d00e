"""The pods behind a Service, as endpoints with resolved ports: what EndpointSlices and Endpoints are made from.

Pure.  Upstream: staging/src/k8s.io/endpointslice/utils.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from cluster.client.cache import Cache
from cluster.controllers.pods import is_finished, is_ready
from cluster.machinery.numbers import whole_number
from cluster.machinery.objects import Key, Obj, field_of, is_deleting, key_of, labels_of, name_of, namespace_of, uid_of
from cluster.machinery.resource import Resource
from cluster.machinery.selectors import selector_of_map

HEADLESS_LABEL = "service.kubernetes.io/headless"


@dataclass(frozen=True, slots=True)
class PodEndpoint:
    """A pod's address of one family, with the Service's ports as this pod names them."""

    pod: Obj
    address: str
    ports: tuple[tuple[tuple[str, Any], ...], ...]
    ready: bool
    serving: bool
    terminating: bool

    @property
    def port_list(self) -> list[dict[str, Any]]:
        return [dict(port) for port in self.ports]

    @property
    def target(self) -> dict[str, str]:
        return {
            "kind": "Pod",
            "namespace": namespace_of(self.pod),
            "name": name_of(self.pod),
            "uid": uid_of(self.pod),
        }

    @property
    def hostname(self) -> str:
        return str(field_of(self.pod, "spec", "hostname", default=""))


def selects(service: Obj) -> bool:
    """It has a selector and is not a mere alias; endpoints of others are their owner's affair."""
    return bool(field_of(service, "spec", "selector")) and bool(field_of(service, "spec", "type") != "ExternalName")


def is_headless(service: Obj) -> bool:
    return bool(field_of(service, "spec", "clusterIP") == "None")


def address_types(service: Obj) -> Sequence[str]:
    """`IPv4`, `IPv6`: the families the Service has addresses of."""
    families: Sequence[str] = field_of(service, "spec", "ipFamilies", default=())
    return tuple(families) or ("IPv4",)


def pod_endpoints(service: Obj, pods: Iterable[Obj], address_type: str) -> list[PodEndpoint]:
    """Selected pods that have an address of the family and have not finished, by name."""
    publish = bool(field_of(service, "spec", "publishNotReadyAddresses", default=False))
    found: list[PodEndpoint] = []
    for pod in sorted(pods, key=key_of):
        address = _address(pod, address_type)
        if address is None or is_finished(pod):
            continue
        serving, terminating = is_ready(pod), is_deleting(pod)
        found.append(
            PodEndpoint(
                pod=pod,
                address=address,
                ports=_ports(service, pod),
                ready=publish or (serving and not terminating),
                serving=serving,
                terminating=terminating,
            )
        )
    return found


def services_selecting(pod: Obj, primary: Resource, cache: Cache) -> Iterable[Key]:
    """The Services whose selector matches the pod's labels."""
    labels = labels_of(pod)
    return [
        key_of(service)
        for service in cache.list(primary, namespace=namespace_of(pod))
        if _matches(field_of(service, "spec", "selector", default={}), labels)
    ]


def selected_pods(service: Obj, pods: Resource, cache: Cache) -> Sequence[Obj]:
    selector = selector_of_map(field_of(service, "spec", "selector"))
    return cache.list(pods, namespace=namespace_of(service), selector=selector)


def _matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return bool(selector) and selector.items() <= labels.items()


def _address(pod: Obj, address_type: str) -> str | None:
    wanted = 6 if address_type == "IPv6" else 4
    listed = [entry.get("ip", "") for entry in field_of(pod, "status", "podIPs", default=())]
    for text in listed or [field_of(pod, "status", "podIP", default="")]:
        try:
            if ip_address(text).version == wanted:
                return str(text)
        except ValueError:
            continue
    return None


def _ports(service: Obj, pod: Obj) -> tuple[tuple[tuple[str, Any], ...], ...]:
    """The Service's ports with the numbers they have in this pod; a name the pod does not know is left out."""
    ports: list[tuple[tuple[str, Any], ...]] = []
    for port in field_of(service, "spec", "ports", default=()):
        protocol = port.get("protocol") or "TCP"
        number = _number_in(pod, port.get("targetPort") or port.get("port"), protocol)
        if number is None:
            continue
        entry: dict[str, Any] = {"name": port.get("name") or "", "port": number, "protocol": protocol}
        if port.get("appProtocol"):
            entry["appProtocol"] = port["appProtocol"]
        ports.append(tuple(sorted(entry.items())))
    return tuple(ports)


def _number_in(pod: Obj, target: int | str | None, protocol: str) -> int | None:
    if isinstance(target, int):
        return target
    sidecars = [
        container
        for container in field_of(pod, "spec", "initContainers", default=())
        if container.get("restartPolicy") == "Always"
    ]
    for container in (*field_of(pod, "spec", "containers", default=()), *sidecars):
        for port in container.get("ports") or ():
            if port.get("name") == target and (port.get("protocol") or "TCP") == protocol:
                return int(port["containerPort"])
    return whole_number(target) if target else None
