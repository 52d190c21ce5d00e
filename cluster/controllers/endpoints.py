"""Endpoints: the older form of EndpointSlices, kept for clients that still read it.

Upstream: pkg/controller/endpoint/endpoints_controller.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from cluster.client.controller import DONE, Controller, Result, Wakeup
from cluster.client.writes import Create, Delete, Update, Write
from cluster.controllers.service_endpoints import (
    HEADLESS_LABEL,
    PodEndpoint,
    address_types,
    is_headless,
    pod_endpoints,
    selected_pods,
    selects,
    services_selecting,
)
from cluster.machinery.objects import Key, Obj, field_of, is_deleting, key_of, labels_of, name_of, namespace_of, uid_of
from cluster.resources.builtin import ENDPOINTS, PODS, SERVICES

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
ADDRESSES_MAX = 1000


def plan_endpoints(service: Obj, pods: Sequence[Obj], present: Obj | None) -> tuple[Write, ...]:
    """The write that makes `present` say which of `pods` serve `service`; none when it does."""
    family = address_types(service)[0]
    live = [
        endpoint
        for endpoint in pod_endpoints(service, pods, family)
        if not endpoint.terminating or field_of(service, "spec", "publishNotReadyAddresses")
    ]
    subsets = _subsets(service, live[:ADDRESSES_MAX])
    labels = {name: text for name, text in labels_of(service).items() if name != HEADLESS_LABEL}
    labels[MANAGED_BY] = MANAGER
    if is_headless(service):
        labels[HEADLESS_LABEL] = ""
    if present is None:
        metadata: dict[str, Any] = {
            "name": name_of(service),
            "namespace": namespace_of(service),
            "labels": labels,
        }
        if len(live) > ADDRESSES_MAX:
            metadata["annotations"] = {OVER_CAPACITY: "truncated"}
        obj = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets}
        return (Create(ENDPOINTS, obj, exists_ok=False),)
    if list(present.get("subsets") or ()) == subsets and labels_of(present) == labels:
        return ()
    return (Update(ENDPOINTS, {**present, "metadata": {**present["metadata"], "labels": labels}, "subsets": subsets}),)


def _subsets(service: Obj, endpoints: Sequence[PodEndpoint]) -> list[dict[str, Any]]:
    """Endpoints with the same ports together; ready and unready addresses apart; sorted throughout."""
    groups: dict[tuple[Any, ...], tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {}
    for endpoint in sorted(endpoints, key=lambda endpoint: endpoint.address):
        if not endpoint.ports and not is_headless(service):
            continue
        ready, unready = groups.setdefault(endpoint.ports, ([], []))
        (ready if endpoint.ready else unready).append(_address(service, endpoint))
    subsets: list[dict[str, Any]] = []
    for ports in sorted(groups):
        ready, unready = groups[ports]
        subset: dict[str, Any] = {}
        if ready:
            subset["addresses"] = ready
        if unready:
            subset["notReadyAddresses"] = unready
        if ports:
            subset["ports"] = [{name: value for name, value in port if value != ""} for port in ports]
        subsets.append(subset)
    return subsets


def _address(service: Obj, endpoint: PodEndpoint) -> dict[str, Any]:
    address: dict[str, Any] = {"ip": endpoint.address, "targetRef": endpoint.target}
    if node := field_of(endpoint.pod, "spec", "nodeName", default=""):
        address["nodeName"] = node
    if endpoint.hostname and field_of(endpoint.pod, "spec", "subdomain") == name_of(service):
        address["hostname"] = endpoint.hostname
    return address


class EndpointsController(Controller):
    name: ClassVar = "endpoint"
    account: ClassVar = "endpoint-controller"
    primary: ClassVar = SERVICES
    wakes: ClassVar = (
        Wakeup(PODS, services_selecting),
        Wakeup(ENDPOINTS, lambda obj, _, __: (key_of(obj),)),
    )

    async def reconcile(self, key: Key) -> Result:
        service = self.cache.get(SERVICES, key)
        present = self.cache.get(ENDPOINTS, key)
        if service is None:
            if present is not None and labels_of(present).get(MANAGED_BY) == MANAGER:
                await self.commit([Delete(ENDPOINTS, key, uid=uid_of(present))])
            return DONE
        if is_deleting(service) or not selects(service):
            return DONE
        await self.commit(plan_endpoints(service, selected_pods(service, PODS, self.cache), present))
        return DONE
