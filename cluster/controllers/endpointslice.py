"""EndpointSlices: which addresses serve a Service.  Upstream: staging/src/k8s.io/endpointslice/reconciler.go.

Endpoints stay in the slice they are in, so that one pod's change rewrites one slice; slices without endpoints go, except
one that stands for a Service that has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from cluster.client.cache import Cache
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
from cluster.machinery.objects import (
    Key,
    Obj,
    field_of,
    is_deleting,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    owner_reference_to,
    uid_of,
)
from cluster.machinery.resource import Resource
from cluster.machinery.selectors import selector_of_map
from cluster.resources.builtin import ENDPOINT_SLICES, NODES, PODS, SERVICES

SERVICE_LABEL = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
ENDPOINTS_MAX = 100
"""Endpoints in one slice."""
ZONE_LABEL = "topology.kubernetes.io/zone"


def plan_endpoint_slices(
    service: Obj, pods: Sequence[Obj], slices: Sequence[Obj], zones: dict[str, str] | None = None
) -> tuple[Write, ...]:
    """The writes that make our `slices` say which of `pods` serve `service`.  `zones` maps nodes to their zone."""
    writes: list[Write] = []
    wanted_types = address_types(service)
    for slice_ in slices:
        if slice_.get("addressType") not in wanted_types:
            writes.append(_delete(slice_))
    for address_type in wanted_types:
        present = [slice_ for slice_ in slices if slice_.get("addressType") == address_type]
        writes += _plan_family(service, pods, present, address_type, zones or {})
    return tuple(writes)


def _plan_family(
    service: Obj, pods: Sequence[Obj], slices: Sequence[Obj], address_type: str, zones: dict[str, str]
) -> list[Write]:
    groups: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for endpoint in pod_endpoints(service, pods, address_type):
        entry = _entry(service, endpoint, zones)
        groups.setdefault(endpoint.ports, {})[entry["targetRef"]["uid"]] = entry
    if not groups:
        groups[()] = {}  # One empty slice tells an unserved Service from an unseen one.
    writes: list[Write] = []
    left = sorted(slices, key=name_of)
    for ports in sorted(groups):
        port_list = [dict(port) for port in ports]
        mine = [slice_ for slice_ in left if same_ports(slice_, port_list)]
        left = [slice_ for slice_ in left if slice_ not in mine]
        writes += _plan_group(service, groups[ports], port_list, mine, address_type)
    return writes + [_delete(slice_) for slice_ in left]


def _plan_group(
    service: Obj,
    entries: dict[str, dict[str, Any]],
    ports: list[dict[str, Any]],
    slices: Sequence[Obj],
    address_type: str,
) -> list[Write]:
    unplaced = dict(entries)
    kept: list[tuple[Obj, list[dict[str, Any]]]] = []
    for slice_ in slices:
        uids = [field_of(entry, "targetRef", "uid", default="") for entry in slice_.get("endpoints") or ()]
        kept.append((slice_, [unplaced.pop(uid) for uid in uids if uid in unplaced]))
    for _, held in kept:
        room = ENDPOINTS_MAX - len(held)
        for uid in sorted(unplaced)[:room]:
            held.append(unplaced.pop(uid))
    writes: list[Write] = []
    placed = 0
    for number, (slice_, held) in enumerate(kept):
        if not held and (entries or number):
            writes.append(_delete(slice_))
            continue
        placed += 1
        updated = _filled(service, slice_, held)
        if updated != slice_:
            writes.append(Update(ENDPOINT_SLICES, updated))
    rest = [unplaced[uid] for uid in sorted(unplaced)]
    while rest or not placed:
        writes.append(Create(ENDPOINT_SLICES, _new_slice(service, rest[:ENDPOINTS_MAX], ports, address_type)))
        rest = rest[ENDPOINTS_MAX:]
        placed += 1
    return writes


def _entry(service: Obj, endpoint: PodEndpoint, zones: dict[str, str]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "addresses": [endpoint.address],
        "conditions": {
            "ready": endpoint.ready,
            "serving": endpoint.serving,
            "terminating": endpoint.terminating,
        },
        "targetRef": endpoint.target,
    }
    node = field_of(endpoint.pod, "spec", "nodeName", default="")
    if node:
        entry["nodeName"] = node
    if zone := zones.get(node):
        entry["zone"] = zone
    if endpoint.hostname and field_of(endpoint.pod, "spec", "subdomain") == name_of(service):
        entry["hostname"] = endpoint.hostname
    return entry


def _labels(service: Obj) -> dict[str, str]:
    labels = {name: text for name, text in labels_of(service).items() if name != HEADLESS_LABEL}
    if is_headless(service):
        labels[HEADLESS_LABEL] = ""
    return labels | {SERVICE_LABEL: name_of(service), MANAGED_BY: MANAGER}


def _filled(service: Obj, slice_: Obj, endpoints: list[dict[str, Any]]) -> Obj:
    labels = _labels(service)
    updated: dict[str, Any] = {**slice_}
    if labels_of(slice_) != labels:
        updated["metadata"] = {**slice_["metadata"], "labels": labels}
    if list(slice_.get("endpoints") or ()) != endpoints:
        updated["endpoints"] = endpoints
    return updated


def _new_slice(
    service: Obj, endpoints: list[dict[str, Any]], ports: list[dict[str, Any]], address_type: str
) -> dict[str, Any]:
    return {
        "apiVersion": ENDPOINT_SLICES.api_version,
        "kind": ENDPOINT_SLICES.kind,
        "metadata": {
            "generateName": f"{name_of(service)}-",
            "namespace": namespace_of(service),
            "labels": _labels(service),
            "ownerReferences": [owner_reference_to(service)],
        },
        "addressType": address_type,
        "endpoints": endpoints,
        "ports": ports,
    }


def same_ports(slice_: Obj, ports: list[dict[str, Any]]) -> bool:
    return _sorted_ports(slice_.get("ports") or ()) == _sorted_ports(ports)


def _sorted_ports(ports: Iterable[Obj]) -> list[tuple[str, str, int, str]]:
    return sorted(
        (port.get("name") or "", port.get("protocol") or "TCP", port.get("port") or 0, port.get("appProtocol") or "")
        for port in ports
    )


def _delete(slice_: Obj) -> Delete:
    return Delete(ENDPOINT_SLICES, key_of(slice_), uid=uid_of(slice_))


def _service_of_slice(slice_: Obj, _: Resource, __: Cache) -> Iterable[Key]:
    labels = labels_of(slice_)
    if labels.get(MANAGED_BY) != MANAGER or not labels.get(SERVICE_LABEL):
        return ()
    return (Key(namespace_of(slice_), labels[SERVICE_LABEL]),)


class EndpointSliceController(Controller):
    name: ClassVar = "endpointslice"
    account: ClassVar = "endpointslice-controller"
    primary: ClassVar = SERVICES
    wakes: ClassVar = (Wakeup(PODS, services_selecting), Wakeup(ENDPOINT_SLICES, _service_of_slice))
    reads: ClassVar = (NODES,)

    async def reconcile(self, key: Key) -> Result:
        service = self.cache.get(SERVICES, key)
        mine = selector_of_map({SERVICE_LABEL: key.name, MANAGED_BY: MANAGER})
        slices = self.cache.list(ENDPOINT_SLICES, namespace=key.namespace, selector=mine)
        if service is None:
            await self.commit([_delete(slice_) for slice_ in slices])
            return DONE
        if is_deleting(service) or not selects(service):
            return DONE
        zones = {
            name_of(node): labels_of(node)[ZONE_LABEL]
            for node in self.cache.list(NODES)
            if ZONE_LABEL in labels_of(node)
        }
        pods = selected_pods(service, PODS, self.cache)
        await self.commit(plan_endpoint_slices(service, pods, slices, zones))
        return DONE
