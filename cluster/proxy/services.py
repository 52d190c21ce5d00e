"""Services, EndpointSlices and this node's pods to frontends: which address and port is answered by which endpoints.

Pure; knows nothing of nftables.  Upstream: pkg/proxy/serviceport.go, pkg/proxy/topology.go (CategorizeEndpoints),
pkg/proxy/endpointslicecache.go.  Deliberate differences: a Service whose traffic policy is Local and that has no endpoint
here refuses connections (upstream drops them); `externalIPs`, SCTP and load balancers with source ranges are not served,
and `ServiceMap.refused` says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import NamedTuple

from cluster.machinery.objects import Key, Obj, field_of, is_deleting, key_of, labels_of, namespace_of

SERVICE_LABEL = "kubernetes.io/service-name"
PROTOCOLS = ("TCP", "UDP")
_FINISHED = ("Succeeded", "Failed")


class Endpoint(NamedTuple):
    """Where a connection ends up.  Ordered by address as text, then port."""

    address: str
    port: int


@dataclass(frozen=True, slots=True, order=True)
class Frontend:
    """An address and port that answers.  An empty `address` is every address of this node, loopback included.

    No endpoints: connections are refused.  `affinity`: a client keeps its endpoint.  `masquerade`: endpoints see the
    node's address instead of the client's, so that answers come back through this node.
    """

    address: str
    protocol: str
    port: int
    endpoints: tuple[Endpoint, ...] = ()
    affinity: bool = False
    masquerade: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """Something asked for that the proxy does not do; `reason` is for people."""

    key: Key
    reason: str


@dataclass(frozen=True, slots=True)
class ServiceRules:
    """What one Service, or one pod with host ports, asks of this node."""

    frontends: tuple[Frontend, ...] = ()
    cluster_ips: tuple[str, ...] = ()
    refused: tuple[Refused, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceMap:
    """Everything this node answers, sorted.  A frontend that two ask for is the first one's, by Service name."""

    frontends: tuple[Frontend, ...] = ()
    cluster_ips: tuple[str, ...] = ()
    refused: tuple[Refused, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """This node: `addresses` are those a load balancer's status may name."""

    name: str
    addresses: tuple[str, ...] = ()


NO_RULES = ServiceRules()


def service_key_of(slice_: Obj) -> Key | None:
    """The Service an EndpointSlice speaks for."""
    name = labels_of(slice_).get(SERVICE_LABEL, "")
    return Key(namespace_of(slice_), name) if name else None


def service_rules(service: Obj, slices: Iterable[Obj], node: NodeFacts) -> ServiceRules:
    """The frontends of one Service on this node.  `slices` are the Service's own."""
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName" or spec.get("clusterIP") in (None, "", "None"):
        return NO_RULES
    own = sorted((one for one in slices if one.get("addressType") == "IPv4"), key=key_of)
    key = key_of(service)
    cluster_ips = tuple(sorted(one for one in spec.get("clusterIPs") or (spec["clusterIP"],) if is_ipv4(one)))
    frontends: list[Frontend] = []
    refused = [Refused(key, "spec.externalIPs are not served")] if spec.get("externalIPs") else []
    balanced = _balancer_addresses(service, node)
    if balanced and spec.get("loadBalancerSourceRanges"):
        refused.append(Refused(key, "spec.loadBalancerSourceRanges: not enforced, so the load balancer is not served"))
        balanced = ()
    for port in spec.get("ports") or ():
        protocol = port.get("protocol") or "TCP"
        if protocol not in PROTOCOLS:
            refused.append(Refused(key, f"port {port.get('port')}: protocol {protocol} is not served"))
            continue
        candidates = _candidates(own, port.get("name") or "", protocol)
        affinity = spec.get("sessionAffinity") == "ClientIP"
        inside = _chosen(candidates, node.name if spec.get("internalTrafficPolicy") == "Local" else "")
        for address in cluster_ips:
            frontends.append(Frontend(address, protocol, int(port["port"]), inside, affinity))
        is_local = spec.get("externalTrafficPolicy") == "Local"
        outside = _chosen(candidates, node.name if is_local else "")
        if port.get("nodePort"):
            frontends.append(Frontend("", protocol, int(port["nodePort"]), outside, affinity, not is_local))
        for address in balanced:
            frontends.append(Frontend(address, protocol, int(port["port"]), outside, affinity, not is_local))
    return ServiceRules(tuple(sorted(frontends)), cluster_ips, tuple(refused))


def host_port_rules(pod: Obj) -> ServiceRules:
    """The host ports of a pod on this node.  None once it has finished or while it has no address of its own."""
    status = pod.get("status") or {}
    address = str(status.get("podIP") or "")
    if field_of(pod, "spec", "hostNetwork") or not is_endpoint_address(address):
        return NO_RULES
    if status.get("phase") in _FINISHED or is_deleting(pod):
        return NO_RULES
    frontends: list[Frontend] = []
    refused: list[Refused] = []
    sidecars = (
        one for one in field_of(pod, "spec", "initContainers", default=()) if one.get("restartPolicy") == "Always"
    )
    for container in (*field_of(pod, "spec", "containers", default=()), *sidecars):
        for port in container.get("ports") or ():
            if not port.get("hostPort"):
                continue
            protocol, host_ip = port.get("protocol") or "TCP", str(port.get("hostIP") or "")
            if protocol not in PROTOCOLS:
                refused.append(Refused(key_of(pod), f"host port {port['hostPort']}: protocol {protocol} is not served"))
            elif host_ip not in ("", "0.0.0.0") and not is_ipv4(host_ip):
                refused.append(Refused(key_of(pod), f"host port {port['hostPort']}: {host_ip} is not an IPv4 address"))
            else:
                front = "" if host_ip == "0.0.0.0" else host_ip
                endpoint = Endpoint(address, int(port["containerPort"]))
                frontends.append(Frontend(front, protocol, int(port["hostPort"]), (endpoint,)))
    return ServiceRules(tuple(sorted(frontends)), (), tuple(refused))


def merged(parts: Iterable[ServiceRules]) -> ServiceMap:
    """One map of all; of two that want one frontend, the earlier part has it."""
    taken: dict[tuple[str, str, int], Frontend] = {}
    cluster_ips: set[str] = set()
    refused: list[Refused] = []
    for part in parts:
        refused += part.refused
        cluster_ips.update(part.cluster_ips)
        for frontend in part.frontends:
            taken.setdefault((frontend.address, frontend.protocol, frontend.port), frontend)
    return ServiceMap(tuple(taken[one] for one in sorted(taken)), tuple(sorted(cluster_ips)), tuple(refused))


def service_map(services: Iterable[Obj], slices: Iterable[Obj], pods: Iterable[Obj], node: NodeFacts) -> ServiceMap:
    """The whole decision; `pods` are those of this node."""
    by_service: dict[Key, list[Obj]] = {}
    for slice_ in slices:
        if (key := service_key_of(slice_)) is not None:
            by_service.setdefault(key, []).append(slice_)
    ordered = sorted(services, key=key_of)
    return merged(
        [
            *(service_rules(service, by_service.get(key_of(service), ()), node) for service in ordered),
            *(host_port_rules(pod) for pod in sorted(pods, key=key_of)),
        ]
    )


def is_ipv4(text: str) -> bool:
    """A canonical dotted quad: what may stand in a rule."""
    try:
        return str(IPv4Address(text)) == text
    except AddressValueError:
        return False


def is_endpoint_address(text: str) -> bool:
    """An IPv4 address that may serve: never loopback, link-local, multicast or unspecified.

    Whoever may write EndpointSlices must not reach the node's own loopback or a cloud's metadata through it
    (CVE-2020-8554, CVE-2021-25737).
    """
    if not is_ipv4(text):
        return False
    address = IPv4Address(text)
    return not (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address.is_reserved
    )


@dataclass(frozen=True, slots=True)
class _Candidate:
    endpoint: Endpoint
    node: str
    ready: bool
    serving_terminating: bool


def _candidates(slices: Sequence[Obj], port_name: str, protocol: str) -> Sequence[_Candidate]:
    return [
        _Candidate(
            Endpoint(address, number),
            endpoint.get("nodeName") or "",
            # An unknown condition counts as ready, and as serving (EndpointConditions).
            ready=conditions.get("ready") is not False,
            serving_terminating=conditions.get("serving") is not False and bool(conditions.get("terminating")),
        )
        for slice_ in slices
        for number in _numbers(slice_, port_name, protocol)
        for endpoint in slice_.get("endpoints") or ()
        for conditions in (endpoint.get("conditions") or {},)
        for address in (endpoint.get("addresses") or ())[:1]  # the rest are not to be used (Endpoint.addresses)
        if is_endpoint_address(address)
    ]


def _numbers(slice_: Obj, port_name: str, protocol: str) -> Iterator[int]:
    for port in slice_.get("ports") or ():
        if (port.get("name") or "") == port_name and (port.get("protocol") or "TCP") == protocol and port.get("port"):
            yield int(port["port"])


def _chosen(candidates: Sequence[_Candidate], only_node: str) -> tuple[Endpoint, ...]:
    """The ready ones; if there are none, those that end but still serve (KEP-1669)."""
    eligible = [one for one in candidates if not only_node or one.node == only_node]
    ready = {one.endpoint for one in eligible if one.ready}
    return tuple(sorted(ready or {one.endpoint for one in eligible if one.serving_terminating}))


def _balancer_addresses(service: Obj, node: NodeFacts) -> tuple[str, ...]:
    """Which of this node's addresses the load balancer has; a status can name no other into the rules."""
    if field_of(service, "spec", "type") != "LoadBalancer":
        return ()
    named = {str(one.get("ip") or "") for one in field_of(service, "status", "loadBalancer", "ingress", default=())}
    return tuple(sorted(named & set(node.addresses)))
