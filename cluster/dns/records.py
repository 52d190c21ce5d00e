"""The cluster's zone: which records a name has, decided from Services and EndpointSlices.  Pure.

Follows the Kubernetes DNS specification 1.1.0: Services, headless endpoints by hostname or dashed address, SRV for named
ports, CNAME for ExternalName, A for `a-b-c-d.NAMESPACE.pod`, PTR.  Names are lower-case without a trailing dot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address

from cluster.client.cache import Change
from cluster.machinery.objects import Key, Obj, field_of, labels_of, namespace_of
from cluster.resources.builtin import ENDPOINT_SLICES, SERVICES

TTL_S = 5
SERVICE_NAME_LABEL = "kubernetes.io/service-name"


class Kind(Enum):
    A = "A"
    CNAME = "CNAME"
    SRV = "SRV"
    PTR = "PTR"


@dataclass(frozen=True, slots=True, order=True)
class Record:
    """One record; `port` is used by SRV alone.  `target` is an address for A, else a name."""

    name: str
    target: str
    port: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """`exists` False is NXDOMAIN; existing without records of the kind is an empty answer.  `kind` is what was found."""

    exists: bool
    kind: Kind = Kind.A
    records: Sequence[Record] = ()


NO_SUCH_NAME = Answer(exists=False)


class Zone:
    """The Services and EndpointSlices known now, and what each name in `domain` and its reverse zone means."""

    def __init__(self, domain: str) -> None:
        self.domain = domain
        self._services: dict[Key, Obj] = {}
        self._slices: dict[Key, dict[Key, Obj]] = {}
        self._by_address: dict[str, Key] = {}

    def apply(self, change: Change) -> None:
        """Take in one change of a Service or an EndpointSlice."""
        if change.resource == SERVICES:
            self._apply_service(change)
        elif change.resource == ENDPOINT_SLICES:
            for obj in (change.old, change.new):
                if obj is not None and (service := labels_of(obj).get(SERVICE_NAME_LABEL)):
                    slices = self._slices.setdefault(Key(namespace_of(obj), service), {})
                    slices.pop(change.key, None)
                    if obj is change.new:
                        slices[change.key] = obj
                    if not slices:
                        del self._slices[Key(namespace_of(obj), service)]

    def _apply_service(self, change: Change) -> None:
        for obj in (change.old, change.new):
            if obj is not None:
                for address in _cluster_ips(obj):
                    self._by_address.pop(address, None)
        if change.new is None:
            self._services.pop(change.key, None)
            return
        self._services[change.key] = change.new
        for address in _cluster_ips(change.new):
            self._by_address[address] = change.key

    def covers(self, name: str) -> bool:
        """The zone is authoritative for `name`: nobody else is asked."""
        if name == self.domain or name.endswith(f".{self.domain}"):
            return True
        address = _reversed_address(name)
        return address is not None and self._name_of(address) is not None

    def look_up(self, name: str) -> Answer:
        """What the zone says of `name`."""
        if (address := _reversed_address(name)) is not None:
            owner = self._name_of(address)
            return Answer(True, Kind.PTR, (Record(name, owner),)) if owner else NO_SUCH_NAME
        labels = name.removesuffix(self.domain).rstrip(".").split(".") if name != self.domain else []
        match labels[::-1]:
            case [] | ["svc"] | ["pod"]:
                return Answer(True)
            case ["svc" | "pod", namespace]:
                known = any(key.namespace == namespace for key in self._services)
                return Answer(True) if known else NO_SUCH_NAME
            case ["svc", namespace, service]:
                return self._service(name, Key(namespace, service))
            case ["svc", namespace, service, endpoint] if not endpoint.startswith("_"):
                return self._endpoint(name, Key(namespace, service), endpoint)
            case ["svc", namespace, service, protocol, port]:
                return self._port(name, Key(namespace, service), port, protocol)
            case ["pod", _namespace, dashed] if (pod_address := _dashed_address(dashed)) is not None:
                return Answer(True, Kind.A, (Record(name, pod_address),))
        return NO_SUCH_NAME

    def _service(self, name: str, key: Key) -> Answer:
        service = self._services.get(key)
        if service is None:
            return NO_SUCH_NAME
        if field_of(service, "spec", "type") == "ExternalName":
            target = str(field_of(service, "spec", "externalName", default="")).rstrip(".").lower()
            return Answer(True, Kind.CNAME, (Record(name, target),))
        addresses = _cluster_ips(service) or [address for address, _host, _slice in self._endpoints(key)]
        return Answer(True, Kind.A, tuple(sorted({Record(name, address) for address in addresses})))

    def _endpoint(self, name: str, key: Key, endpoint: str) -> Answer:
        if key not in self._services or _cluster_ips(self._services[key]):
            return NO_SUCH_NAME
        records = {Record(name, address) for address, host, _slice in self._endpoints(key) if host == endpoint}
        return Answer(True, Kind.A, tuple(sorted(records))) if records else NO_SUCH_NAME

    def _port(self, name: str, key: Key, port_label: str, protocol_label: str) -> Answer:
        service = self._services.get(key)
        if service is None or not port_label.startswith("_") or not protocol_label.startswith("_"):
            return NO_SUCH_NAME
        wanted = (port_label[1:], protocol_label[1:])
        own_name = f"{key.name}.{key.namespace}.svc.{self.domain}"
        records: set[Record] = set()
        if _cluster_ips(service):
            for port in field_of(service, "spec", "ports", default=()):
                if (port.get("name", ""), port.get("protocol", "TCP").lower()) == wanted:
                    records.add(Record(name, own_name, int(port["port"])))
        else:
            for _address, host, endpoint_slice in self._endpoints(key):
                for port in endpoint_slice.get("ports") or ():
                    if (port.get("name", ""), port.get("protocol", "TCP").lower()) == wanted and port.get("port"):
                        records.add(Record(name, f"{host}.{own_name}", int(port["port"])))
        return Answer(True, Kind.SRV, tuple(sorted(records))) if records else NO_SUCH_NAME

    def _endpoints(self, key: Key) -> list[tuple[str, str, Obj]]:
        """Address, host label and slice of each endpoint to publish; the controller already decided what `ready` means."""
        found: list[tuple[str, str, Obj]] = []
        for endpoint_slice in (self._slices.get(key) or {}).values():
            for endpoint in endpoint_slice.get("endpoints") or ():
                if field_of(endpoint, "conditions", "ready", default=True):
                    for address in endpoint.get("addresses") or ():
                        found.append((address, endpoint.get("hostname") or address.replace(".", "-"), endpoint_slice))
        return found

    def _name_of(self, address: str) -> str | None:
        if (key := self._by_address.get(address)) is not None:
            return f"{key.name}.{key.namespace}.svc.{self.domain}"
        for key in self._slices:
            if key in self._services and not _cluster_ips(self._services[key]):
                for found, host, _slice in self._endpoints(key):
                    if found == address:
                        return f"{host}.{key.name}.{key.namespace}.svc.{self.domain}"
        return None


def _cluster_ips(service: Obj) -> list[str]:
    """The virtual addresses; none for headless Services and ExternalName."""
    addresses = field_of(service, "spec", "clusterIPs") or [field_of(service, "spec", "clusterIP", default="")]
    return [address for address in addresses if address and address != "None"]


def _reversed_address(name: str) -> str | None:
    if not name.endswith(".in-addr.arpa"):
        return None
    return _address(".".join(reversed(name.removesuffix(".in-addr.arpa").split("."))))


def _dashed_address(label: str) -> str | None:
    return _address(label.replace("-", "."))


def _address(text: str) -> str | None:
    try:
        return str(IPv4Address(text))
    except ValueError:
        return None
