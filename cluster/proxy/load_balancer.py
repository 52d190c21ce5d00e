"""Services of type LoadBalancer get the nodes' own addresses; on those, every node's proxy answers the Service's ports.

A node has each port once: of two Services that want one, the one that has it keeps it, else the older gets it; a port that
a program of the host listens on is not taken.  Who gets none stays pending, and an Event says why.
Upstream's place for this is a cloud's controller (staging/src/k8s.io/cloud-provider/controllers/service).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Any, ClassVar

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.client.cache import Cache
from cluster.client.controller import DONE, Controller, Recorder, Result, Wakeup
from cluster.client.transport import Transport
from cluster.client.writes import SetStatus, Write
from cluster.machinery.conditions import is_condition_true
from cluster.machinery.objects import Key, Obj, field_of, is_deleting, key_of, labels_of, meta_of
from cluster.machinery.resource import Resource
from cluster.proxy.host_ports import Port
from cluster.proxy.services import PROTOCOLS, is_ipv4
from cluster.resources.builtin import NODES, SERVICES

EXCLUDE_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"
PENDING_RETRY_S = 30.0
"""Nothing tells when a program of the host gives up its port."""


@dataclass(frozen=True, slots=True)
class BalancerPlan:
    """`pending` says, for people, why there is no address; empty: there is one, or none is wanted."""

    writes: tuple[Write, ...] = ()
    pending: str = ""


def plan_load_balancer(service: Obj, others: Iterable[Obj], nodes: Iterable[Obj], listening: Set[Port]) -> BalancerPlan:
    """What gives `service` its addresses.  `others` are all Services (it may be among them)."""
    if not _is_ours(service):
        if _ingress(service) and field_of(service, "spec", "type") != "LoadBalancer":
            return BalancerPlan((_with_ingress(service, ()),))
        return BalancerPlan()
    pending = _why_not(service, others, listening)
    addresses = () if pending else balancer_addresses(nodes)
    if not addresses and not pending:
        pending = "no node has an address to serve it on"
    if [one.get("ip") for one in _ingress(service)] == list(addresses):
        return BalancerPlan(pending=pending)
    return BalancerPlan((_with_ingress(service, addresses),), pending)


def balancer_addresses(nodes: Iterable[Obj]) -> Sequence[str]:
    """The internal addresses of ready nodes; of all, while none is ready: then nothing better is known."""
    eligible = [one for one in nodes if not is_deleting(one) and EXCLUDE_LABEL not in labels_of(one)]
    ready = [one for one in eligible if is_condition_true(one, "Ready")]
    return sorted(
        {
            address["address"]
            for node in ready or eligible
            for address in field_of(node, "status", "addresses", default=())
            if address.get("type") == "InternalIP" and is_ipv4(address.get("address", ""))
        }
    )


class LoadBalancerController(Controller):
    """`listening` tells the ports in use on the host of the control plane."""

    name: ClassVar = "load-balancer"
    account: ClassVar = "service-controller"
    primary: ClassVar = SERVICES
    workers: ClassVar = 1  # a port is given to one Service only: decide them one after another

    def __init__(
        self,
        *,
        transport: Transport,
        cache: Cache,
        clock: Clock,
        entropy: Entropy,
        recorder: Recorder,
        listening: Callable[[], Set[Port]],
    ) -> None:
        super().__init__(transport=transport, cache=cache, clock=clock, entropy=entropy, recorder=recorder)
        self._listening = listening
        self._told: dict[Key, str] = {}

    async def reconcile(self, key: Key) -> Result:
        service = self.cache.get(SERVICES, key)
        if service is None or is_deleting(service) or not (_is_ours(service) or _ingress(service)):
            self._told.pop(key, None)
            return DONE
        listening = set() if _ingress(service) else self._listening()
        plan = plan_load_balancer(service, self.cache.list(SERVICES), self.cache.list(NODES), listening)
        await self.commit(plan.writes)
        if plan.pending:
            if self._told.get(key) != plan.pending:
                self.recorder.event(service, "Warning", "LoadBalancerPending", plan.pending)
            self._told[key] = plan.pending
            return Result(again_after_s=PENDING_RETRY_S)
        self._told.pop(key, None)
        return DONE


def _balancers(changed: Obj, primary: Resource, cache: Cache) -> Iterable[Key]:
    """Every load balancer: addresses are the nodes', and a port may have become free."""
    return [key_of(one) for one in cache.list(primary) if _is_ours(one)]


def _balancers_beside(changed: Obj, primary: Resource, cache: Cache) -> Iterable[Key]:
    return _balancers(changed, primary, cache) if _is_ours(changed) else ()


LoadBalancerController.wakes = (Wakeup(NODES, _balancers), Wakeup(SERVICES, _balancers_beside))


def _is_ours(service: Obj) -> bool:
    """With a class it is another implementation's (KEP-1959)."""
    spec = service.get("spec") or {}
    return spec.get("type") == "LoadBalancer" and not spec.get("loadBalancerClass")


def _ingress(service: Obj) -> Sequence[Any]:
    found: Sequence[Any] = field_of(service, "status", "loadBalancer", "ingress", default=())
    return found


def _with_ingress(service: Obj, addresses: Sequence[str]) -> SetStatus:
    balancer = {"ingress": [{"ip": address, "ipMode": "VIP"} for address in addresses]} if addresses else {}
    return SetStatus(SERVICES, service, {**(service.get("status") or {}), "loadBalancer": balancer})


def _ports(service: Obj) -> Set[Port]:
    return {
        (port.get("protocol") or "TCP", int(port["port"])) for port in field_of(service, "spec", "ports", default=())
    }


def _why_not(service: Obj, others: Iterable[Obj], listening: Set[Port]) -> str:
    if field_of(service, "spec", "loadBalancerSourceRanges"):
        return "loadBalancerSourceRanges is not enforced by this cluster, so the Service is not exposed"
    wanted = _ports(service)
    for protocol, port in sorted(wanted):
        if protocol not in PROTOCOLS:
            return f"port {port}: protocol {protocol} is not served by this cluster"
    if not _ingress(service) and (used := sorted(wanted & listening)):
        return f"port {used[0][1]}/{used[0][0]} is in use by a program of the host"
    mine = _precedence(service)
    before = [one for one in others if key_of(one) != key_of(service) and _is_ours(one) and _precedence(one) < mine]
    for other in sorted(before, key=_precedence):
        if shared := sorted(wanted & _ports(other)):
            return f"port {shared[0][1]}/{shared[0][0]} is taken by Service {key_of(other)}"
    return ""


def _precedence(service: Obj) -> tuple[bool, str, Key]:
    return (not _ingress(service), str(meta_of(service).get("creationTimestamp") or ""), key_of(service))
