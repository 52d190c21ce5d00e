"""Where Services lead: Endpoints and EndpointSlice.

Upstream: pkg/apis/core/validation ValidateEndpoints, pkg/apis/discovery/{v1/defaults,validation}.go, pkg/printers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import duplicate, invalid, not_supported, required, too_many
from cluster.machinery.names import label_errors, port_number_errors, subdomain_errors
from cluster.machinery.objects import GroupKind, Obj
from cluster.resources.container_validation import PROTOCOLS
from cluster.resources.defaulting import each, filled
from cluster.resources.kind import Kind
from cluster.resources.pod_validation import validate_reachable_ip
from cluster.resources.printing import AGE, NAME, NONE, UNSET, Column, field_cell
from cluster.resources.strategy import GenericStrategy

ADDRESS_TYPES = ("IPv4", "IPv6", "FQDN")
ENDPOINTS_MAX = 1000
PORTS_MAX = 20000
ADDRESSES_MAX = 100
SHOWN_MAX = 3


class EndpointsStrategy(GenericStrategy):
    allow_create_on_update = True

    def default(self, obj: Obj) -> Obj:
        made = filled(obj)
        each(made, "subsets", _default_subset)
        return made

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(
            cause
            for index, subset in enumerate(obj.get("subsets") or ())
            for cause in _validate_subset(subset, f"subsets[{index}]")
        )


def _default_subset(subset: Obj) -> Obj:
    made = filled(subset)
    each(made, "ports", lambda port: filled(port, {"protocol": "TCP"}))
    return made


def _validate_subset(subset: Obj, path: str) -> Iterator[Cause]:
    ready, waiting = subset.get("addresses") or (), subset.get("notReadyAddresses") or ()
    if not ready and not waiting:
        yield required(path, "must specify `addresses` or `notReadyAddresses`")
    for field, addresses in (("addresses", ready), ("notReadyAddresses", waiting)):
        for index, address in enumerate(addresses):
            yield from validate_reachable_ip(address.get("ip", ""), f"{path}.{field}[{index}].ip")
    ports = subset.get("ports") or ()
    for index, port in enumerate(ports):
        at = f"{path}.ports[{index}]"
        if name := port.get("name"):
            for why in label_errors(name):
                yield invalid(f"{at}.name", name, why)
        elif len(ports) > 1:
            yield required(f"{at}.name")
        for why in port_number_errors(port.get("port", 0)):
            yield invalid(f"{at}.port", port.get("port", 0), why)
        if port.get("protocol") not in PROTOCOLS:
            yield not_supported(f"{at}.protocol", port.get("protocol") or "", PROTOCOLS)


class EndpointSliceStrategy(GenericStrategy):
    has_generation = True

    def default(self, obj: Obj) -> Obj:
        made = filled(obj)
        each(made, "ports", lambda port: filled(port, {"protocol": "TCP"}, {"name": ""}))
        # Always there, as upstream's encoder writes them: readers iterate over both.
        made["endpoints"] = made.get("endpoints") or []
        made["ports"] = made.get("ports") or []
        return made

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(_validate_slice(obj))

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        found = self._validate(new)
        if new.get("addressType") != old.get("addressType"):
            return (*found, invalid("addressType", new.get("addressType"), "field is immutable"))
        return found


def _validate_slice(piece: Obj) -> Iterator[Cause]:
    kind = piece.get("addressType") or ""
    if not kind:
        yield required("addressType")
    elif kind not in ADDRESS_TYPES:
        yield not_supported("addressType", kind, ADDRESS_TYPES)
    endpoints, ports = piece.get("endpoints") or (), piece.get("ports") or ()
    if len(endpoints) > ENDPOINTS_MAX:
        yield too_many("endpoints", len(endpoints), ENDPOINTS_MAX)
        return
    for index, endpoint in enumerate(endpoints):
        addresses = endpoint.get("addresses") or ()
        path = f"endpoints[{index}].addresses"
        if not addresses:
            yield required(path, "must contain at least 1 address")
        elif len(addresses) > ADDRESSES_MAX:
            yield too_many(path, len(addresses), ADDRESSES_MAX)
        for position, address in enumerate(addresses):
            at = f"{path}[{position}]"
            if kind == "FQDN":
                for why in subdomain_errors(address):
                    yield invalid(at, address, why)
            else:
                yield from validate_reachable_ip(address, at)
    if len(ports) > PORTS_MAX:
        yield too_many("ports", len(ports), PORTS_MAX)
        return
    names: set[str] = set()
    for index, port in enumerate(ports):
        at, name = f"ports[{index}]", port.get("name") or ""
        if name in names:
            yield duplicate(f"{at}.name", name)
        names.add(name)
        for why in label_errors(name) if name else ():
            yield invalid(f"{at}.name", name, why)
        if port.get("protocol") not in PROTOCOLS:
            yield not_supported(f"{at}.protocol", port.get("protocol") or "", PROTOCOLS)


def _shortened(words: Sequence[str], separator: str = ",") -> str:
    if len(words) <= SHOWN_MAX:
        return separator.join(words)
    return f"{separator.join(words[:SHOWN_MAX])} + {len(words) - SHOWN_MAX} more..."


def _endpoints_cell(obj: Obj, now: datetime) -> str:
    words: list[str] = []
    for subset in obj.get("subsets") or ():
        ports = [f":{port.get('port')}" for port in subset.get("ports") or ()] or [""]
        words.extend(f"{address.get('ip')}{port}" for port in ports for address in subset.get("addresses") or ())
    return _shortened(words) or NONE


def _slice_addresses_cell(obj: Obj, now: datetime) -> str:
    words = [str(address) for endpoint in obj.get("endpoints") or () for address in endpoint.get("addresses") or ()]
    return _shortened(words) or UNSET


def _slice_ports_cell(obj: Obj, now: datetime) -> str:
    words = [str(port.get("port") or "*") for port in obj.get("ports") or ()]
    return _shortened(words) or UNSET


KINDS: Mapping[GroupKind, Kind] = {
    GroupKind("", "Endpoints"): Kind(EndpointsStrategy(), (NAME, Column("Endpoints", _endpoints_cell), AGE)),
    GroupKind("discovery.k8s.io", "EndpointSlice"): Kind(
        EndpointSliceStrategy(),
        (
            NAME,
            Column("AddressType", field_cell("addressType")),
            Column("Ports", _slice_ports_cell),
            Column("Endpoints", _slice_addresses_cell),
            AGE,
        ),
    ),
}
