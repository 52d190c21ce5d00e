"""Which addresses are behind a Service's port, for connections that the API server itself opens.  No I/O.

Upstream: apiserver/pkg/util/proxy/proxy.go (ResolveEndpoint, ResolveCluster).  Deliberate difference: endpoints are dialled
themselves, never the ClusterIP, so that the server needs no packet rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from cluster.apiserver.state import State, TableId
from cluster.client.node_channel import ContainerRef
from cluster.machinery.numbers import whole_number
from cluster.machinery.objects import Key, Obj, field_of

SERVICE_LABEL = "kubernetes.io/service-name"
_SERVICES = TableId("", "services")
_SLICES = TableId("discovery.k8s.io", "endpointslices")


class Endpoint(NamedTuple):
    """An address (or, of an ExternalName Service, a host name) and port; `pod` when one is known to be behind it.

    The pod's container is left empty; `node` is where it runs.
    """

    address: str
    port: int
    pod: ContainerRef | None = None
    node: str = ""


class ServiceUnresolved(Exception):
    """The Service has no such port, no endpoint that is ready, or is not there; the message says which.

    `reason` is upstream's word for it in conditions.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class ServiceResolver:
    """Reads Services and EndpointSlices of the server's own state."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._turn = 0

    def endpoints(self, namespace: str, name: str, port: str | int) -> Sequence[Endpoint]:
        """The ready endpoints of a port, by number or name (empty: the only one), each call beginning with another.

        Raises ServiceUnresolved.
        """
        row = self._state.table(_SERVICES).get(Key(namespace, name))
        if row is None:
            raise ServiceUnresolved(f'service "{name}" not found', "ServiceNotFound")
        spec = self._state.obj(row).get("spec") or {}
        if spec.get("type") == "ExternalName":
            number = whole_number(str(port))
            if number is None or not spec.get("externalName"):
                raise ServiceUnresolved(f'no service port {port} found for service "{name}"', "ServicePortError")
            return (Endpoint(str(spec["externalName"]), number),)
        port_name = _port_name(spec, name, port)
        by_address = {(one.address, one.port): one for one in self._ready(namespace, name, port_name)}
        found = [by_address[at] for at in sorted(by_address)]
        if not found:
            slices = self._state.table(_SLICES).by_namespace.get(namespace, {}).values()
            known = any(row.labels.get(SERVICE_LABEL) == name for row in slices)
            reason = "MissingEndpoints" if known else "EndpointsNotFound"
            raise ServiceUnresolved(f'no endpoints available for service "{name}"', reason)
        self._turn += 1
        first = self._turn % len(found)
        return (*found[first:], *found[:first])

    def _ready(self, namespace: str, name: str, port_name: str) -> Iterator[Endpoint]:
        for row in self._state.table(_SLICES).by_namespace.get(namespace, {}).values():
            if row.labels.get(SERVICE_LABEL) != name:
                continue
            slice_ = self._state.obj(row)
            numbers = [
                int(port["port"])
                for port in slice_.get("ports") or ()
                if (port.get("name") or "") == port_name and port.get("port") and port.get("protocol", "TCP") == "TCP"
            ]
            for endpoint in slice_.get("endpoints") or ():
                # Absent means ready: whoever writes slices by hand may leave conditions out.
                if field_of(endpoint, "conditions", "ready", default=None) is False or not endpoint.get("addresses"):
                    continue
                for number in numbers:
                    yield _endpoint(endpoint, number)


def _endpoint(endpoint: Obj, port: int) -> Endpoint:
    address = str(endpoint["addresses"][0])
    target: Any = endpoint.get("targetRef") or {}
    if target.get("kind") != "Pod" or not target.get("uid"):
        return Endpoint(address, port)
    pod = ContainerRef(target.get("namespace", ""), target.get("name", ""), target["uid"], "")
    return Endpoint(address, port, pod, str(endpoint.get("nodeName") or ""))


def _port_name(spec: Obj, service: str, port: str | int) -> str:
    ports = spec.get("ports") or ()
    wanted = str(port)
    for one in ports:
        if wanted in (str(one.get("port")), one.get("name") or "") if wanted else len(ports) == 1:
            return str(one.get("name") or "")
    raise ServiceUnresolved(
        f'no service port {wanted or "without a name"} found for service "{service}"', "ServicePortError"
    )
