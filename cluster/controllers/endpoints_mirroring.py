"""Endpoints that somebody writes by hand, for a Service without a selector, as EndpointSlices: those are what is served.

Upstream: pkg/controller/endpointslicemirroring.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Any, ClassVar

from cluster.client.cache import Cache
from cluster.client.controller import DONE, Controller, Result, Wakeup
from cluster.client.writes import Create, Delete, Update, Write
from cluster.controllers.endpointslice import MANAGED_BY, SERVICE_LABEL, same_ports
from cluster.controllers.service_endpoints import selects
from cluster.machinery.objects import (
    Key,
    Obj,
    annotations_of,
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
from cluster.resources.builtin import ENDPOINT_SLICES, ENDPOINTS, SERVICES

MIRROR = "endpointslicemirroring-controller.k8s.io"
SKIP_LABEL = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"
NOT_COPIED = frozenset(
    {"kubectl.kubernetes.io/last-applied-configuration", "endpoints.kubernetes.io/last-change-trigger-time"}
)
ADDRESSES_MAX = 1000
"""Addresses of a subset that are mirrored, as upstream's --mirroring-max-endpoints-per-subset."""


def is_mirrored(endpoints: Obj | None, service: Obj | None) -> bool:
    """It is written by hand, for a Service that selects nothing, and does not ask to be left out."""
    return (
        endpoints is not None
        and service is not None
        and not is_deleting(endpoints)
        and not selects(service)
        and labels_of(endpoints).get(SKIP_LABEL) != "true"
        and LEADER not in annotations_of(endpoints)
    )


def plan_mirror(endpoints: Obj, slices: Sequence[Obj]) -> tuple[Write, ...]:
    """The writes that make our `slices` say what `endpoints` does: one slice for each set of ports and address family."""
    writes: list[Write] = []
    left = sorted(slices, key=name_of)
    labels = {**labels_of(endpoints), SERVICE_LABEL: name_of(endpoints), MANAGED_BY: MIRROR}
    annotations = {name: text for name, text in annotations_of(endpoints).items() if name not in NOT_COPIED}
    for wanted in _slices_of(endpoints):
        present = next(
            (
                each
                for each in left
                if each.get("addressType") == wanted["addressType"] and same_ports(each, wanted["ports"])
            ),
            None,
        )
        if present is None:
            metadata: dict[str, Any] = {
                "generateName": f"{name_of(endpoints)}-",
                "namespace": namespace_of(endpoints),
                "labels": labels,
                "annotations": annotations,
                "ownerReferences": [owner_reference_to(endpoints)],
            }
            kind = {"apiVersion": ENDPOINT_SLICES.api_version, "kind": ENDPOINT_SLICES.kind}
            writes.append(Create(ENDPOINT_SLICES, {**kind, "metadata": metadata, **wanted}))
            continue
        left.remove(present)
        same = labels_of(present) == labels and annotations_of(present) == annotations
        if not same or list(present.get("endpoints") or ()) != wanted["endpoints"]:
            metadata = {**present["metadata"], "labels": labels, "annotations": annotations}
            writes.append(Update(ENDPOINT_SLICES, {**present, "metadata": metadata, "endpoints": wanted["endpoints"]}))
    return (*writes, *(_delete(slice_) for slice_ in left))


def _slices_of(endpoints: Obj) -> list[dict[str, Any]]:
    made: dict[tuple[Any, ...], dict[str, Any]] = {}
    for subset in endpoints.get("subsets") or ():
        ports = [dict(port) for port in subset.get("ports") or ()]
        addresses = [
            *((address, True) for address in subset.get("addresses") or ()),
            *((address, False) for address in subset.get("notReadyAddresses") or ()),
        ]
        for address, ready in addresses[:ADDRESSES_MAX]:
            family = f"IPv{ip_address(address['ip']).version}"
            key = (family, tuple(sorted(tuple(sorted(port.items())) for port in ports)))
            slice_ = made.setdefault(key, {"addressType": family, "endpoints": [], "ports": ports})
            slice_["endpoints"].append(_entry(address, ready=ready))
    return [made[key] for key in sorted(made)]


def _entry(address: Obj, *, ready: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
    for field in ("hostname", "nodeName", "targetRef"):
        if address.get(field):
            entry[field] = address[field]
    return entry


def _delete(slice_: Obj) -> Delete:
    return Delete(ENDPOINT_SLICES, key_of(slice_), uid=uid_of(slice_))


def _endpoints_of_slice(slice_: Obj, _: Resource, __: Cache) -> Iterable[Key]:
    labels = labels_of(slice_)
    if labels.get(MANAGED_BY) != MIRROR or not labels.get(SERVICE_LABEL):
        return ()
    return (Key(namespace_of(slice_), labels[SERVICE_LABEL]),)


class EndpointsMirroringController(Controller):
    name: ClassVar = "endpointslicemirroring"
    account: ClassVar = "endpointslicemirroring-controller"
    primary: ClassVar = ENDPOINTS
    wakes: ClassVar = (
        Wakeup(SERVICES, lambda service, _, __: (key_of(service),)),
        Wakeup(ENDPOINT_SLICES, _endpoints_of_slice),
    )

    async def reconcile(self, key: Key) -> Result:
        endpoints, service = self.cache.get(ENDPOINTS, key), self.cache.get(SERVICES, key)
        mine = selector_of_map({SERVICE_LABEL: key.name, MANAGED_BY: MIRROR})
        slices = self.cache.list(ENDPOINT_SLICES, namespace=key.namespace, selector=mine)
        if endpoints is not None and is_mirrored(endpoints, service):
            await self.commit(plan_mirror(endpoints, slices))
        else:
            await self.commit([_delete(slice_) for slice_ in slices])
        return DONE
